package server

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"sort"
	"strings"
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
	media    []media
}

// media is something in a prompt that is not text. It takes mediaTokens tokens, which
// are the same for all; what tells it from others is its hash.
type media struct {
	kind string // image, audio or video
	hash string
	at   int // its first token
}

// mediaToken is the token that media consist of.
const mediaToken = 151655

// maxMedia bounds the media of one prompt.
const maxMedia = 256

// tokens is the length of the prompt; even an empty one has its start token.
func (p *prompt) tokens() int { return max(1, (len(p.flat)+tokenBytes-1)/tokenBytes) }

// addMedia appends something that is not text, at the next token. typ is the type of
// its part, raw the part.
func (p *prompt) addMedia(typ string, raw []byte) error {
	if len(p.media) >= maxMedia {
		return fmt.Errorf("at most %d images, sounds and films are supported", maxMedia)
	}
	for len(p.flat)%tokenBytes != 0 {
		p.flat = append(p.flat, 0)
	}
	kind := "image"
	for _, k := range []string{"audio", "video"} {
		if strings.Contains(typ, k) {
			kind = k
		}
	}
	p.media = append(p.media, media{kind, mediaHash(raw), len(p.flat) / tokenBytes})
	for range mediaTokens {
		p.flat = binary.LittleEndian.AppendUint32(p.flat, mediaToken)
	}
	return nil
}

// mediaHash identifies a part, whatever the order of its fields and its white space.
func mediaHash(raw []byte) string {
	var v any
	if json.Unmarshal(raw, &v) == nil {
		if b, err := json.Marshal(v); err == nil {
			raw = b
		}
	}
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:])
}

// hash identifies the whole prompt.
func (p *prompt) hash() uint64 {
	var d xxhash.Digest
	d.Reset()
	_, _ = d.Write(p.flat)
	for _, m := range p.media {
		_, _ = d.WriteString(m.hash)
	}
	return d.Sum64()
}

// in calls f with the media that have a part between two tokens, and how far after
// the first one they begin.
func (p *prompt) in(from, to int, f func(m media, offset int)) {
	first := sort.Search(len(p.media), func(i int) bool { return p.media[i].at+mediaTokens > from })
	for _, m := range p.media[first:] {
		if m.at >= to {
			return
		}
		f(m, m.at-from)
	}
}

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
		p.in(at/tokenBytes, at/tokenBytes+blockTokens, func(m media, offset int) {
			_, _ = d.WriteString(m.hash)
			binary.LittleEndian.PutUint64(b[:], uint64(offset))
			_, _ = d.Write(b[:])
		})
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
