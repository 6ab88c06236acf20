package scan

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
)

// codeText makes n bytes or a little more of text like an agent's: code and
// prose, with line breaks, quotes and the odd character that is not ASCII.
func codeText(rng *rand.Rand, n int) string {
	words := []string{"func", "return", "the", "endpoint", "if err != nil {", "prefix", "\"quoted\"", "}", "//", "cache",
		"value :=", "naïve", "router", "tokens", "fmt.Println(\"hello\")", "and", "schedule", "0x1f", "<div>",
		"request", "which", "prefill", "before", "decode", "between", "server", "memory", "because", "answer", "response", "should"}
	var b strings.Builder
	line := 0
	for b.Len() < n {
		w := words[rng.IntN(len(words))]
		b.WriteString(w)
		if line += len(w) + 1; line > 60 {
			b.WriteString("\n\t")
			line = 0
		} else {
			b.WriteByte(' ')
		}
	}
	return b.String()
}

type msg = map[string]any

// conversation makes a chat of the given number of turns with turnBytes each.
func conversation(seed uint64, turns, turnBytes int) []any {
	rng := rand.New(rand.NewPCG(seed, 1))
	messages := []any{msg{"role": "system", "content": "You are a careful engineer.\n" + codeText(rng, turnBytes)}}
	for i := range turns {
		switch i % 3 {
		case 0:
			messages = append(messages, msg{"role": "user", "content": codeText(rng, turnBytes)})
		case 1:
			messages = append(messages, msg{"role": "assistant", "tool_calls": []any{msg{"id": fmt.Sprintf("call_%d", i), "type": "function",
				"function": msg{"name": "read_file", "arguments": `{"path":"/src/` + codeText(rng, 40) + `"}`}}}})
		default:
			messages = append(messages, msg{"role": "user", "content": []any{msg{"type": "text", "text": codeText(rng, turnBytes)}}})
		}
	}
	return messages
}

func encode(v any) []byte {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic(err)
	}
	return []byte(b.String())
}

// chatBody makes a chat request of about n bytes.
func chatBody(n int) []byte {
	turns := max(3, n/6000)
	return encode(msg{
		"model": "meta-llama/Llama-3.1-8B-Instruct", "stream": true, "max_tokens": 512, "temperature": 0.7, "user": "u-1",
		"messages": conversation(uint64(n), turns, n/(turns*2/3+2)),
	})
}
