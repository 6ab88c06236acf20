package bench

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// nonceBytes is the length of the part of a body that differs from one request to
// the next.
const nonceBytes = 16

// body is a chat request. The bytes from nonce on, at the start of the last
// message, are for the sender to overwrite with hex digits.
type body struct {
	bytes []byte
	nonce int
}

// conversationsPerSystem is how many conversations share a system prompt.
const conversationsPerSystem = 8

// conversations are n chat requests of about size bytes: a system prompt that
// eight share (a quarter of the body), the earlier turns of the conversation
// (half), and a new message (a quarter).
func conversations(rng *rand.Rand, n, size int, stream bool) []body {
	all := make([]body, 0, n)
	system := ""
	for i := range n {
		if i%conversationsPerSystem == 0 {
			system = text(rng, size/4)
		}
		all = append(all, conversation(rng, system, size, stream))
	}
	return all
}

func conversation(rng *rand.Rand, system string, size int, stream bool) body {
	var b strings.Builder
	b.WriteString(`{"model":"sim","temperature":0.7,"max_tokens":256,`)
	if stream {
		b.WriteString(`"stream":true,"stream_options":{"include_usage":true},`)
	}
	b.WriteString(`"messages":[{"role":"system","content":"` + system + `"}`)
	for turn := 0; b.Len() < 3*size/4-100; turn++ {
		role := "user"
		if turn%2 == 1 {
			role = "assistant"
		}
		b.WriteString(`,{"role":"` + role + `","content":"` + text(rng, min(3*size/4-b.Len(), 200+rng.IntN(4000))) + `"}`)
	}
	b.WriteString(`,{"role":"user","content":"`)
	nonce := b.Len()
	b.WriteString(strings.Repeat("0", nonceBytes))
	b.WriteString(" " + text(rng, size-b.Len()-5) + `"}]}`)
	return body{[]byte(b.String()), nonce}
}

// words are what prompts are made of, as they stand in JSON: escapes are about as
// frequent as in prose with quotations, lists and code.
var words = [...]string{
	"the", "of", "and", "to", "in", "a", "is", "that", "for", "it", "as", "was", "with", "be", "by", "on", "not", "he",
	"this", "are", "or", "his", "from", "at", "which", "but", "have", "an", "had", "they", "you", "were", "their", "one",
	"all", "we", "can", "her", "has", "there", "been", "if", "more", "when", "will", "would", "who", "so", "no", "said",
	"function", "return", "latency", "customer", "agreement", "temperature", "measurement", "although", "however,",
	"därför", "naïve", "東京", "caf\\u00e9", "\\\"quoted\\\"", "first.\\n", "second;\\n", "end.\\n\\n", "if (x) {\\n\\t", "path\\/to",
}

// text is about size bytes of JSON string contents.
func text(rng *rand.Rand, size int) string {
	var b strings.Builder
	for {
		w := words[rng.IntN(len(words))]
		if b.Len()+len(w)+1 > size {
			return b.String()
		}
		b.WriteString(w)
		b.WriteByte(' ')
	}
}

// putNonce overwrites a nonce with n.
func putNonce(at []byte, n uint64) {
	const digits = "0123456789abcdef"
	for i := nonceBytes - 1; i >= 0; i-- {
		at[i] = digits[n&15]
		n >>= 4
	}
}

func sizeName(bytes int) string { return fmt.Sprintf("%d KB", bytes>>10) }
