package scan

import (
	"encoding/binary"
	"math"

	"github.com/fairway-ai/fairway/extproc/internal/jsonlex"
)

// Tags announce what comes next in a prompt field's stream. None of them occurs
// in UTF-8 text, so the stream says exactly what the field does.
const (
	tagObject    = 0xff
	tagEndObject = 0xfe
	tagArray     = 0xfd
	tagEndArray  = 0xfc
	tagKey       = 0xfb
	tagString    = 0xfa
	tagNumber    = 0xf9
	tagLiteral   = 0xf8
	tagMedia     = 0xf7 // and the digest, 8 bytes
	tagID        = 0xf6 // and the token id, 4 bytes
)

// startPrompt begins the prompt field p.
func (s *Scanner) startPrompt(p *prompt) {
	p.reset()
	s.prompt = p
	s.block.start(p, &s.opts)
}

// endPrompt ends the prompt field. Only a side field's last block is complete.
func (s *Scanner) endPrompt() {
	if s.prompt == &s.main {
		s.block.count()
	} else if s.block.n > 0 {
		s.block.flush()
	}
	s.prompt = nil
}

// intoBlock directs the token's text into the prompt block.
func (s *Scanner) intoBlock() {
	s.sink, s.lex.Out, s.lex.N = sinkBlock, s.block.buf[:s.block.size], s.block.n
}

func (s *Scanner) beginPromptNumber() {
	if s.prompt == &s.main && (s.api == Completions || s.api == Embeddings || s.api == Generate) && s.frames[s.lex.Depth()].array {
		s.intoSmall(sinkID, 16)
		return
	}
	s.block.tag(tagNumber)
	s.intoBlock()
}

// endID takes a number of at most 15 bytes that may be a token id.
func (s *Scanner) endID(text []byte) {
	id, ok := jsonlex.Int(text)
	if !ok || id < 0 || id > math.MaxUint32 {
		s.block.tag(tagNumber)
		s.block.bytes(text)
		return
	}
	s.block.ids++
	s.block.tag(tagID)
	var b [4]byte
	binary.LittleEndian.PutUint32(b[:], uint32(id))
	for _, c := range b {
		s.block.tag(c)
	}
}

func (s *Scanner) beginPromptString() {
	switch s.mediaRule() {
	case ruleType:
		s.block.tag(tagString)
		s.intoSmall(sinkType, 8)
	case rulePrefix:
		s.always = false
		s.intoSmall(sinkProbe, mediaPrefix)
	case ruleAlways:
		s.always = true
		s.intoSmall(sinkProbe, mediaPrefix)
	default:
		s.block.tag(tagString)
		s.intoBlock()
	}
}

// decide tells media from text by a string's first bytes, which are in small and
// are the whole string when it is shorter than mediaPrefix.
func (s *Scanner) decide() {
	head := s.small[:s.lex.N]
	if s.always && len(head) > 0 || isMedia(head) {
		s.prompt.images++
		s.block.images++
		s.media.start(head)
		s.sink, s.lex.Out, s.lex.N = sinkMedia, s.media.buf[:], len(head)
		return
	}
	s.block.tag(tagString)
	s.block.bytes(head)
	s.intoBlock()
}

// endMedia puts a media string's digest into the stream.
func (s *Scanner) endMedia() {
	var b [8]byte
	digest := s.media.sum(s.lex.N)
	binary.LittleEndian.PutUint64(b[:], digest)
	if len(s.prompt.media) < MaxMedia {
		s.prompt.media = append(s.prompt.media, digest)
	}
	s.block.tag(tagMedia)
	for _, c := range b {
		s.block.tag(c)
	}
}
