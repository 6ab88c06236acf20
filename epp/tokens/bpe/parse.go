package bpe

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/text/unicode/norm"
)

// MaxFile bounds a tokenizer file, in bytes.
const MaxFile = 64 << 20

// maxID bounds the ids of a vocabulary.
const maxID = 1 << 24

// file is the part of tokenizer.json that matters.
type file struct {
	Added []struct {
		ID         uint32 `json:"id"`
		Content    string `json:"content"`
		SingleWord bool   `json:"single_word"`
		Left       bool   `json:"lstrip"`
		Right      bool   `json:"rstrip"`
		Normalized bool   `json:"normalized"`
	} `json:"added_tokens"`
	Normalizer    *part `json:"normalizer"`
	PreTokenizer  *part `json:"pre_tokenizer"`
	PostProcessor *part `json:"post_processor"`
	Model         struct {
		Type         string            `json:"type"`
		Dropout      float64           `json:"dropout"`
		Prefix       string            `json:"continuing_subword_prefix"`
		Suffix       string            `json:"end_of_word_suffix"`
		IgnoreMerges bool              `json:"ignore_merges"`
		Vocab        map[string]uint32 `json:"vocab"`
		Merges       []merge           `json:"merges"`
	} `json:"model"`
}

// part is a normalizer, pre-tokenizer or post-processor of any kind.
type part struct {
	Type           string  `json:"type"`
	Normalizers    []*part `json:"normalizers"`
	PreTokenizers  []*part `json:"pretokenizers"`
	Processors     []*part `json:"processors"`
	AddPrefixSpace bool    `json:"add_prefix_space"`
	UseRegex       *bool   `json:"use_regex"`
	Pattern        struct {
		Regex string `json:"Regex"`
	} `json:"pattern"`
	Behavior string `json:"behavior"`
	Invert   bool   `json:"invert"`
	Single   []struct {
		Special *struct {
			ID string `json:"id"`
		} `json:"SpecialToken"`
		Sequence *struct{} `json:"Sequence"`
	} `json:"single"`
	Specials map[string]struct {
		IDs []uint32 `json:"ids"`
	} `json:"special_tokens"`
}

// flat returns the parts of a sequence, or p itself.
func (p *part) flat(inner func(*part) []*part) []*part {
	switch {
	case p == nil:
		return nil
	case p.Type != "Sequence":
		return []*part{p}
	}
	parts := inner(p)
	for i := range parts {
		if parts[i] == nil {
			parts[i] = &part{} // of no known type
		}
	}
	return parts
}

// merge is two tokens that become one, as "a b" or as ["a", "b"].
type merge [2]string

// UnmarshalJSON implements json.Unmarshaler.
func (m *merge) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '[' {
		var list []string
		if err := json.Unmarshal(b, &list); err != nil {
			return err
		}
		if len(list) != 2 {
			return errors.New("a merge must have two tokens")
		}
		*m = merge(list)
		return nil
	}
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return err
	}
	left, right, ok := strings.Cut(s, " ")
	if !ok || strings.Contains(right, " ") {
		return errors.New("a merge must have two tokens")
	}
	*m = merge{left, right}
	return nil
}

// Parse reads a tokenizer.json of at most [MaxFile] bytes. An error says what in it
// is malformed or not known here.
func Parse(data []byte) (*Tokenizer, error) {
	if len(data) > MaxFile {
		return nil, fmt.Errorf("tokenizer: larger than %d bytes", MaxFile)
	}
	var f file
	if err := json.Unmarshal(data, &f); err != nil {
		return nil, fmt.Errorf("tokenizer: %w", err)
	}
	t := &Tokenizer{whole: f.Model.IgnoreMerges}
	for _, step := range []func(*file) error{t.readModel, t.readNormalizer, t.readSplit, t.readTemplate, t.readAdded} {
		if err := step(&f); err != nil {
			return nil, fmt.Errorf("tokenizer: %w", err)
		}
	}
	return t, nil
}

func (t *Tokenizer) readModel(f *file) error {
	m := &f.Model
	switch {
	case m.Type != "BPE":
		return fmt.Errorf("model.type %q: only BPE is known", m.Type)
	case m.Dropout != 0:
		return errors.New("model.dropout: is not known")
	case m.Prefix != "" || m.Suffix != "":
		return errors.New("model.continuing_subword_prefix and end_of_word_suffix: are not known")
	}
	bytesOf := byteAlphabet()
	t.vocab = make(map[string]uint32, len(m.Vocab))
	for token, id := range m.Vocab {
		if id >= maxID {
			return fmt.Errorf("model.vocab: id %d: must be less than %d", id, maxID)
		}
		if raw, ok := rawBytes(token, bytesOf); ok {
			t.vocab[raw] = id // what is no sequence of bytes can only be an added token
		}
	}
	for b := range 256 {
		id, ok := t.vocab[string([]byte{byte(b)})]
		if !ok {
			return fmt.Errorf("model.vocab: byte %d has no token: only byte-level vocabularies are known", b)
		}
		t.bytes[b] = id
	}
	t.merges = make(map[pair]merged, len(m.Merges))
	for rank, pieces := range m.Merges {
		left, okLeft := rawBytes(pieces[0], bytesOf)
		right, okRight := rawBytes(pieces[1], bytesOf)
		a, hasLeft := t.vocab[left]
		b, hasRight := t.vocab[right]
		id, hasBoth := t.vocab[left+right]
		if !okLeft || !okRight || !hasLeft || !hasRight || !hasBoth {
			return fmt.Errorf("model.merges[%d]: a token is not in the vocabulary", rank)
		}
		t.merges[pair{a, b}] = merged{uint32(rank), id}
	}
	return nil
}

func (t *Tokenizer) readNormalizer(f *file) error {
	for _, p := range f.Normalizer.flat(func(p *part) []*part { return p.Normalizers }) {
		if p.Type != "NFC" {
			return fmt.Errorf("normalizer %q: only NFC is known", p.Type)
		}
		t.nfc = true
	}
	return nil
}

func (t *Tokenizer) readSplit(f *file) error {
	level := false
	for _, p := range f.PreTokenizer.flat(func(p *part) []*part { return p.PreTokenizers }) {
		switch {
		case p.Type == "Split" && t.split == nil && !level:
			if t.split = patterns()[p.Pattern.Regex]; t.split == nil {
				return errors.New("pre_tokenizer: the pattern is none of GPT-2, Llama 3 and Qwen 2")
			}
			if (p.Behavior != "Isolated" || p.Invert) && (p.Behavior != "Removed" || !p.Invert) {
				return fmt.Errorf("pre_tokenizer: Split with behavior %q and invert %v is not known", p.Behavior, p.Invert)
			}
		case p.Type == "ByteLevel" && !level && !p.AddPrefixSpace:
			level = true
			if p.UseRegex == nil || *p.UseRegex {
				if t.split != nil {
					return errors.New("pre_tokenizer: two patterns are not known")
				}
				t.split = splitGPT2
			}
		default:
			return fmt.Errorf("pre_tokenizer %q: its place or options are not known", p.Type)
		}
	}
	if !level || t.split == nil {
		return errors.New("pre_tokenizer: only ByteLevel with a pattern is known")
	}
	return nil
}

func (t *Tokenizer) readTemplate(f *file) error {
	found := false
	for _, p := range f.PostProcessor.flat(func(p *part) []*part { return p.Processors }) {
		switch {
		case p.Type == "ByteLevel": // concerns offsets only
		case p.Type == "TemplateProcessing" && !found:
			text := 0
			for _, piece := range p.Single {
				switch {
				case piece.Sequence != nil:
					text++
				case piece.Special == nil || p.Specials[piece.Special.ID].IDs == nil:
					return errors.New("post_processor: a piece of the template is not known")
				case text == 0:
					t.before = append(t.before, p.Specials[piece.Special.ID].IDs...)
				default:
					t.after = append(t.after, p.Specials[piece.Special.ID].IDs...)
				}
			}
			if found = true; text != 1 {
				return errors.New("post_processor: the template must have the text once")
			}
		default:
			return fmt.Errorf("post_processor %q: is not known", p.Type)
		}
	}
	return nil
}

func (t *Tokenizer) readAdded(f *file) error {
	for _, a := range f.Added {
		switch {
		case a.Content == "" || a.ID >= maxID:
			return fmt.Errorf("added_tokens: id %d is out of range or has no content", a.ID)
		case a.SingleWord || a.Left || a.Right:
			return fmt.Errorf("added_tokens: single_word, lstrip and rstrip of id %d are not known", a.ID)
		case a.Normalized && t.nfc:
			t.late.add(norm.NFC.String(a.Content), a.ID)
		case a.Normalized:
			t.late.add(a.Content, a.ID)
		default:
			t.early.add(a.Content, a.ID)
		}
	}
	return nil
}

// byteAlphabet maps the characters that stand for bytes in a vocabulary to them:
// printable ones of Latin-1 stand for themselves, the other bytes follow from U+0100.
func byteAlphabet() map[rune]byte {
	of := make(map[rune]byte, 256)
	next := rune(256)
	for b := range rune(256) {
		if b >= '!' && b <= '~' || b >= 0xa1 && b <= 0xac || b >= 0xae {
			of[b] = byte(b)
		} else {
			of[next] = byte(b)
			next++
		}
	}
	return of
}

// rawBytes are the bytes that token stands for.
func rawBytes(token string, of map[rune]byte) (string, bool) {
	out := make([]byte, 0, len(token))
	for _, r := range token {
		b, ok := of[r]
		if !ok {
			return "", false
		}
		out = append(out, b)
	}
	return string(out), true
}
