package scan

import (
	"encoding/binary"
	"slices"

	"github.com/cespare/xxhash/v2"

	"github.com/fairway-ai/fairway/scheduler/prefix"
)

// prompt is what was found in one prompt field.
type prompt struct {
	pos     int64 // stream bytes in full blocks
	text    int64 // bytes that count as text
	counted int64 // tokens of text given to blocks
	images  int
	blocks  []prefix.Block // hashes not chained yet
	media   []uint64       // digests of the first MaxMedia images
}

func (p *prompt) reset() { *p = prompt{blocks: p.blocks[:0], media: p.media[:0]} }

// blockBuffer is the block of a prompt field's stream that is being filled.
type blockBuffer struct {
	p    *prompt
	opts *Options
	buf  []byte
	size int // this block's; n < size holds between calls
	n    int

	// Of the n bytes, tags are those that are not text; ids and images are the
	// token ids and media parts that begin in this block.
	tags, ids, images int
}

func (b *blockBuffer) start(p *prompt, opts *Options) {
	*b = blockBuffer{p: p, opts: opts, buf: b.buf, size: opts.blockSize(0)}
}

// tag appends a byte that is not text.
func (b *blockBuffer) tag(c byte) {
	b.buf[b.n] = c
	b.n++
	b.tags++
	if b.n == b.size {
		b.flush()
	}
}

// bytes and text append text.
func (b *blockBuffer) bytes(t []byte) {
	for len(t) > 0 {
		k := copy(b.buf[b.n:b.size], t)
		t = t[k:]
		if b.n += k; b.n == b.size {
			b.flush()
		}
	}
}

func (b *blockBuffer) text(t string) {
	for len(t) > 0 {
		k := copy(b.buf[b.n:b.size], t)
		t = t[k:]
		if b.n += k; b.n == b.size {
			b.flush()
		}
	}
}

// count adds the bytes in the buffer to the prompt's text.
func (b *blockBuffer) count() {
	b.p.text += int64(b.n-b.tags) + BytesPerToken*int64(b.ids)
}

// flush ends the block.
func (b *blockBuffer) flush() {
	b.count()
	p := b.p
	// What is left of a token is carried over to the next block, so that the
	// blocks' tokens never sum up to more than the prompt's.
	tokens := p.text/BytesPerToken - p.counted
	p.counted += tokens
	tokens += int64(b.images) * TokensPerImage
	if len(p.blocks) < b.opts.MaxBlocks {
		p.blocks = append(p.blocks, prefix.Block{Hash: xxhash.Sum64(b.buf[:b.n]), Tokens: int32(tokens)})
	}
	p.pos += int64(b.n)
	b.size = b.opts.blockSize(p.pos)
	b.n, b.tags, b.ids, b.images = 0, 0, 0, 0
}

// mediaBuffer digests a media string.
type mediaBuffer struct {
	hash uint64
	buf  [1024]byte
}

func (m *mediaBuffer) start(head []byte) {
	m.hash = 0
	copy(m.buf[:], head)
}

func (m *mediaBuffer) flush() { m.hash = mix(m.hash, xxhash.Sum64(m.buf[:])) }

// sum is the digest, n bytes being in the buffer.
func (m *mediaBuffer) sum(n int) uint64 { return mix(m.hash, xxhash.Sum64(m.buf[:n])) }

// mix hashes two hashes into one; the order counts.
func mix(a, b uint64) uint64 {
	var buf [16]byte
	binary.LittleEndian.PutUint64(buf[:8], a)
	binary.LittleEndian.PutUint64(buf[8:], b)
	return xxhash.Sum64(buf[:])
}

// chain makes the result's blocks and counts from the prompt fields. Each hash
// covers the model, the cache salt and all that comes before it; a field's
// number keeps what is said in tools apart from the same said in messages.
func (s *Scanner) chain() {
	s.res.PromptBytes, s.res.Images, s.res.Blocks, s.res.Media = 0, 0, s.res.Blocks[:0], s.res.Media[:0]
	h := mix(xxhash.Sum64String(s.res.Model), xxhash.Sum64String(s.res.CacheSalt))
	for i, p := range [...]*prompt{&s.tools, &s.system, &s.main} {
		s.res.PromptBytes += p.text
		s.res.Images += p.images
		for _, m := range p.media {
			if len(s.res.Media) < MaxMedia && !slices.Contains(s.res.Media, m) {
				s.res.Media = append(s.res.Media, m)
			}
		}
		if p.text == 0 && p.images == 0 {
			continue
		}
		h = mix(h, uint64(i))
		for _, b := range p.blocks {
			if len(s.res.Blocks) == s.opts.MaxBlocks {
				break
			}
			h = mix(h, b.Hash)
			s.res.Blocks = append(s.res.Blocks, prefix.Block{Hash: h, Tokens: b.Tokens})
		}
	}
}
