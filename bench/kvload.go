package bench

import (
	"fmt"
	"math/rand/v2"

	"github.com/fairway-ai/fairway/pool/kvevents"
)

const (
	// kvBlockTokens is the size of the engines' blocks, and of ours.
	kvBlockTokens = 16
	// kvVocabulary is the number of token ids, as of Llama 3.
	kvVocabulary = 128_256
	// docBlocks is the length of a popular document: 8,192 tokens.
	docBlocks = 512
	// docShare is the part of all blocks that documents are.
	docShare = 0.4
	// outputBlocks are the blocks of an answer, each of which is an event of its own.
	outputBlocks = 16
	// maxQuestion bounds the blocks of a question after its document.
	maxQuestion = 160
)

// kvLoad is what engines report of their caches: documents that several of them
// hold, and conversations about them that one holds each. Tokens and engines' hashes
// are computed when they are needed, so that it takes little memory itself.
type kvLoad struct {
	rng     *rand.Rand
	engines []*kvEngine
	next    uint32 // the number of the next conversation
	hashes  []uint64
	last    uint64 // the name of the last block that prompt stored
	m       kvMessage
}

// kvEngine is one of them.
type kvEngine struct {
	kvevents.Endpoint
	number  int
	decoder kvevents.Decoder
	docs    []uint32
	chains  []chain // in the order of their storing
	first   int     // of the chains that are still cached
	held    int     // blocks cached
	pending *chain  // whose answer is being written
}

// chain is a conversation about a document.
type chain struct {
	id, doc uint32
	blocks  uint16
}

// docBit tells documents' numbers from conversations'.
const docBit = 1 << 31

// newKVLoad plans n engines with blocks blocks in all.
func newKVLoad(n, blocks int) *kvLoad {
	l := &kvLoad{rng: rand.New(rand.NewPCG(1, 2)), hashes: make([]uint64, 0, docBlocks+maxQuestion)}
	for i := range n {
		l.engines = append(l.engines, &kvEngine{number: i, Endpoint: kvevents.Endpoint{Name: fmt.Sprintf("pod-%d", i), Model: kvModel},
			chains: make([]chain, 0, 2*blocks/n/(outputBlocks+maxQuestion/2)+64)})
	}
	// A few documents are everywhere, most on one or two engines.
	left := max(1, int(docShare*float64(blocks))/docBlocks)
	for id, at := uint32(0), 0; left > 0; id++ {
		holders := min(left, n, int(1/(1-l.rng.Float64())))
		for range holders {
			e := l.engines[at%n]
			e.docs = append(e.docs, docBit|id)
			at++
		}
		left -= holders
	}
	return l
}

const kvModel = "model"

// mixed is splitmix64's finaliser.
func mixed(z uint64) uint64 {
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb
	return z ^ (z >> 31)
}

// kvToken is token i of a document or conversation.
func kvToken(id uint32, i int) uint32 {
	return uint32(mixed((uint64(id)<<24|uint64(i))*0x9e3779b97f4a7c15) % kvVocabulary)
}

// hash is the engine's own name of block i of a chain; never 0.
func (e *kvEngine) hash(id uint32, i int) uint64 {
	return mixed(uint64(e.number+1)<<48^uint64(id)<<16^uint64(i)) | 1
}

func (l *kvLoad) store(e *kvEngine, id uint32, from, to int, parent uint64) {
	l.hashes = l.hashes[:0]
	for i := from; i < to; i++ {
		l.hashes = append(l.hashes, e.hash(id, i))
	}
	l.m.stored(l.hashes, parent, kvBlockTokens)
	for i := from * kvBlockTokens; i < to*kvBlockTokens; i++ {
		l.m.token(kvToken(id, i))
	}
	l.m.storedEnd(kvBlockTokens)
	e.held += to - from
}

// documents is a message that stores one of the engine's documents.
func (l *kvLoad) document(b []byte, e *kvEngine, i int) []byte {
	from := len(b)
	l.m.begin(b)
	l.store(e, e.docs[i], 0, docBlocks, 0)
	return l.m.end(from)
}

// converse is a message as an engine sends one for a few steps: the prefill of a
// question about one of its documents, and the blocks of the answer to the question
// before, one by one.
func (l *kvLoad) converse(b []byte, e *kvEngine) []byte {
	from := len(b)
	l.m.begin(b)
	if p := e.pending; p != nil {
		for i := range outputBlocks {
			at := int(p.blocks) - outputBlocks + i
			l.store(e, p.id, at, at+1, e.hash(p.id, at-1))
		}
		e.chains = append(e.chains, *p)
	}
	l.next++
	c := &chain{id: l.next, blocks: uint16(32 + l.rng.IntN(maxQuestion-32) + outputBlocks)}
	parent := uint64(0)
	if len(e.docs) > 0 {
		c.doc = e.docs[l.rng.IntN(len(e.docs))]
		parent = e.hash(c.doc, docBlocks-1)
	}
	l.store(e, c.id, 0, int(c.blocks)-outputBlocks, parent)
	e.pending = c
	return l.m.end(from)
}

// evict is a message that removes the engine's oldest conversation, from its end.
func (l *kvLoad) evict(b []byte, e *kvEngine) []byte {
	if e.first == len(e.chains) {
		return b
	}
	c := e.chains[e.first]
	e.first++
	from := len(b)
	l.m.begin(b)
	l.hashes = l.hashes[:0]
	for i := int(c.blocks) - 1; i >= 0; i-- {
		l.hashes = append(l.hashes, e.hash(c.id, i))
	}
	l.m.removed(l.hashes)
	e.held -= len(l.hashes)
	return l.m.end(from)
}
