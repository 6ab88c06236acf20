package bench

import (
	"encoding/binary"
	"math"
)

// kvMessage writes a message of KV cache events as vLLM does: positional, with token
// ids in as few bytes as MessagePack allows.
type kvMessage struct {
	b []byte
	n int // events
}

// batchHeader is the space before the events: [ts, array of n, nil].
const batchHeader = 1 + 9 + 3

func (m *kvMessage) begin(b []byte) {
	m.b, m.n = append(b, make([]byte, batchHeader)...), 0
}

// end writes the header of the message that begins at from and returns the bytes.
func (m *kvMessage) end(from int) []byte {
	h := m.b[from : from : from+batchHeader]
	h = append(h, 0x93, 0xcb)
	h = binary.BigEndian.AppendUint64(h, math.Float64bits(1.7e9))
	h = append(h, 0xdc)
	binary.BigEndian.AppendUint16(h, uint16(m.n))
	m.b = append(m.b, 0xc0)
	return m.b
}

// stored begins a BlockStored event; a parent of 0 is none. The caller appends the
// tokens of all blocks and calls storedEnd.
func (m *kvMessage) stored(hashes []uint64, parent uint64, blockTokens int) {
	m.n++
	m.b = append(m.b, 0x98, 0xab)
	m.b = append(m.b, "BlockStored"...)
	m.hashes(hashes)
	if parent == 0 {
		m.b = append(m.b, 0xc0)
	} else {
		m.b = binary.BigEndian.AppendUint64(append(m.b, 0xcf), parent)
	}
	m.array(len(hashes) * blockTokens)
}

func (m *kvMessage) storedEnd(blockTokens int) {
	m.b = append(m.b, byte(blockTokens), 0xc0, 0xa3, 'G', 'P', 'U', 0xc0)
}

func (m *kvMessage) removed(hashes []uint64) {
	m.n++
	m.b = append(m.b, 0x93, 0xac)
	m.b = append(m.b, "BlockRemoved"...)
	m.hashes(hashes)
	m.b = append(m.b, 0xa3, 'G', 'P', 'U')
}

func (m *kvMessage) hashes(hashes []uint64) {
	m.array(len(hashes))
	for _, h := range hashes {
		m.b = binary.BigEndian.AppendUint64(append(m.b, 0xcf), h)
	}
}

func (m *kvMessage) array(n int) { m.b = binary.BigEndian.AppendUint16(append(m.b, 0xdc), uint16(n)) }

func (m *kvMessage) token(t uint32) {
	switch {
	case t < 0x80:
		m.b = append(m.b, byte(t))
	case t < 1<<8:
		m.b = append(m.b, 0xcc, byte(t))
	case t < 1<<16:
		m.b = append(m.b, 0xcd, byte(t>>8), byte(t))
	default:
		m.b = binary.BigEndian.AppendUint32(append(m.b, 0xce), t)
	}
}
