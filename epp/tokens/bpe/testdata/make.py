"""Writes the tokenizer files and golden.json of this folder.

usage: make.py      (needs the Python package tokenizers)

The tokenizers are trained on the text below. golden.json says what the library
makes of each of its texts, and how each pattern splits it.
"""
import json
import pathlib
import random

from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

HERE = pathlib.Path(__file__).parent
TEXT = """
A gateway stands before many servers and chooses one for each request. What a server
has computed for the beginning of a prompt, it need not compute again: that's why the
same conversation should go to the same server, if it isn't too busy. We've measured
it, they'll measure it, I'm sure you'd measure it too. Numbers: 1, 22, 333, 4444, 55555.

func main() {
    for i := 0; i < 10; i++ {
        fmt.Println("i =", i)
    }
}

Ein Gateway steht vor vielen Servern und wählt für jede Anfrage einen. Größe, Maß, Öl.
Шлюз стоит перед многими серверами и выбирает один. 网关在许多服务器之前，为每个请求选择一个。
サーバーを選ぶ。서버를 선택합니다. بوابة أمام الخوادم. 🚀🚀 ✓ ✗ → ←
""".strip().split("\n")

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
NEWER = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


def split(pattern):
    return pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(pattern), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ])


def train(pre, size, specials, normalizer=None, whole=False):
    t = Tokenizer(models.BPE(ignore_merges=whole))
    t.pre_tokenizer = pre
    if normalizer:
        t.normalizer = normalizer
    t.train_from_iterator(TEXT * 3, trainers.BpeTrainer(
        vocab_size=size, special_tokens=specials, show_progress=False, min_frequency=2,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    return t


def tokenizers():
    gpt2 = train(pre_tokenizers.ByteLevel(add_prefix_space=False), 420, ["<|endoftext|>"])
    gpt2.post_processor = processors.ByteLevel(trim_offsets=False)
    llama3 = train(split(NEWER % "{1,3}"), 450, ["<|begin_of_text|>", "<|eot_id|>", "<|eot|>"], whole=True)
    llama3.post_processor = processors.Sequence([
        processors.ByteLevel(trim_offsets=False),
        processors.TemplateProcessing(single="<|begin_of_text|> $A <|eot|>", special_tokens=[
            ("<|begin_of_text|>", llama3.token_to_id("<|begin_of_text|>")), ("<|eot|>", llama3.token_to_id("<|eot|>"))]),
    ])
    qwen2 = train(split(NEWER % ""), 440, ["<|im_start|>", "<|im_end|>"], normalizer=normalizers.NFC())
    qwen2.add_tokens([AddedToken("<tool_call>", normalized=False), AddedToken("caf\u00e9!", normalized=True)])
    return {"gpt2": gpt2, "llama3": llama3, "qwen2": qwen2}


def texts():
    fixed = TEXT + [
        "", " ", "  ", "\n", " \n", "\n ", "a", " a", "  a", "\ta", "\t\ta", "a  ", "a \n\n b", "\r\n\r\n x", " \n \n  x", "x\n\n\n",
        "It's IT'S we'RE They'Ll 'd 'x ''s '", "'\u017f '\u017ft 'S 'M", "don't can't I'd", "1234567 12 3.14 1,000 a1b2", "\u00bd \u0663\u0664 \u2167",
        "e\u0301 cafe\u0301! caf\u00e9! \u1100\u1161\u11a8", "...\n\nnext", "!!\r\n??", " !x", " 1", "  1", "\u00a0a\u00a0\u3000b\u2028c", "\u200ba", "_a_b",
        "<|endoftext|>x<|begin_of_text|> <|eot_id|><|eot|><|eot", "<|im_start|>user\nhi<|im_end|>\n", "<tool_call>{}</tool_call>", "\u0000\u0001\u007f",
        "a" * 300, "ab" * 200, " " * 100 + "x", "\n" * 50, "\U0001f680\U0001f468\u200d\U0001f469\u200d\U0001f467", "\u0301a", "\u0930\u094d\u0926",
    ]
    r = random.Random(1)
    pieces = [" ", "  ", "\n", "\r\n", "\t", "'", "'s", "'LL", "the", "Server", "1", "22", "\u0665", ".", "!?", "\u00fc", "u\u0308", "\u0130", "\u7f51", "\u00a0", "\U0001f680",
              "<|eot|>", "<|im_end|>", "<tool_call>", "caf\u00e9!", "e\u0301", "\u017f", "_", "\u200d", "\u2028", "\u0085", "measure"]
    return fixed + ["".join(r.choices(pieces, k=r.randint(2, 24))) for _ in range(150)]


golden = []
every = texts()
for name, t in tokenizers().items():
    (HERE / f"{name}.json").write_text(t.to_str(pretty=False) + "\n")
    golden.append({"tokenizer": name, "special": [t.encode(x).ids for x in every],
                   "plain": [t.encode(x, add_special_tokens=False).ids for x in every]})
patterns = [{"pattern": p, "pieces": [[x for x, _ in pre_tokenizers.Split(Regex(p), "isolated").pre_tokenize_str(t)] for t in every]}
            for p in (GPT2, NEWER % "{1,3}", NEWER % "")]
out = {"texts": every, "golden": golden, "patterns": patterns}
(HERE / "golden.json").write_text(json.dumps(out, separators=(",", ":")) + "\n")
