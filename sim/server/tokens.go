package server

import (
	"encoding/binary"
	"unicode/utf8"

	"github.com/cespare/xxhash/v2"
)

// tokenBytes is the bytes of text that count as one token.
const tokenBytes = 4

// mediaTokens is what an image, a sound or a film counts.
const mediaTokens = 256

// prompt is a flattened prompt: tokenBytes bytes are one token.
type prompt struct {
	flat []byte
	// lastUser is the text to echo.
	lastUser string
}

// tokens is the length of the prompt; even an empty one has its start token.
func (p *prompt) tokens() int { return max(1, (len(p.flat)+tokenBytes-1)/tokenBytes) }

// media appends the tokens of something that is not text: the same bytes give the
// same tokens.
func (p *prompt) media(raw []byte) {
	sum := xxhash.Sum64(raw)
	for range mediaTokens * tokenBytes / 8 {
		p.flat = binary.LittleEndian.AppendUint64(p.flat, sum)
	}
}

// hash identifies the whole prompt.
func (p *prompt) hash() uint64 { return xxhash.Sum64(p.flat) }

// blocks returns the chained hash of every full block of the prompt. Adapters and
// cache salts do not share blocks.
func (p *prompt) blocks(blockTokens int, adapter, salt string) []uint64 {
	size := blockTokens * tokenBytes
	out := make([]uint64, 0, len(p.flat)/size)
	prev := xxhash.Sum64String(adapter + "\x00" + salt)
	var d xxhash.Digest
	var b [8]byte
	for at := 0; at+size <= len(p.flat); at += size {
		d.Reset()
		binary.LittleEndian.PutUint64(b[:], prev)
		_, _ = d.Write(b[:])
		_, _ = d.Write(p.flat[at : at+size])
		prev = d.Sum64()
		out = append(out, prev)
	}
	return out
}

// tokenIDs are the tokens as numbers, for /tokenize: the bytes themselves.
func (p *prompt) tokenIDs() []uint32 {
	out := make([]uint32, p.tokens())
	for i := range out {
		var b [tokenBytes]byte
		copy(b[:], p.flat[min(i*tokenBytes, len(p.flat)):])
		out[i] = binary.LittleEndian.Uint32(b[:])
	}
	return out
}

// text is an answer's text, as a sequence of tokens.
type text struct {
	start  int      // position in filler
	pieces []string // in echo mode
}

// filler is what answers are made of, over and over.
const filler = "Lorem ipsum dolor sit amet, consectetur adipiscing elit, sed do eiusmod tempor incididunt ut " +
	"labore et dolore magna aliqua. Ut enim ad minim veniam, quis nostrud exercitation ullamco laboris " +
	"nisi ut aliquip ex ea commodo consequat. Duis aute irure dolor in reprehenderit in voluptate velit " +
	"esse cillum dolore eu fugiat nulla pariatur. Excepteur sint occaecat cupidatat non proident, sunt " +
	"in culpa qui officia deserunt mollit anim id est laborum. "

// loremText is filler that starts at a word that depends on the seed.
func loremText(seed uint64) text {
	i := int(seed % uint64(len(filler)))
	for i > 0 && filler[i-1] != ' ' {
		i--
	}
	return text{start: i}
}

// echoText is the given text, cut into tokens between characters.
func echoText(s string) text {
	pieces := make([]string, 0, len(s)/tokenBytes+1)
	for len(s) > 0 {
		n := 0
		for n < tokenBytes && n < len(s) {
			_, w := utf8.DecodeRuneInString(s[n:])
			n += w
		}
		pieces = append(pieces, s[:n])
		s = s[n:]
	}
	return text{pieces: pieces}
}

// token is the k-th token's text, counted from 0.
func (t text) token(k int) string {
	if t.pieces != nil {
		if k < len(t.pieces) {
			return t.pieces[k]
		}
		return ""
	}
	from := (t.start + k*tokenBytes) % len(filler)
	if to := from + tokenBytes; to > len(filler) {
		return filler[from:] + filler[:to-len(filler)]
	}
	return filler[from : from+tokenBytes]
}

// first is the text of the first n tokens.
func (t text) first(n int) string {
	out := make([]byte, 0, n*tokenBytes)
	for k := range n {
		out = append(out, t.token(k)...)
	}
	return string(out)
}
