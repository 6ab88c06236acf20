package extproc

import (
	"google.golang.org/grpc/mem"
)

// heldBody is a request body that waits for the pick, as references to the
// buffers it came in.
type heldBody struct {
	pieces []mem.Buffer
	bytes  int64
	// tail collects short pieces: each of them would otherwise keep a buffer many
	// times its size alive.
	tail *[]byte
}

const (
	shortPiece = 2 << 10
	tailBytes  = 16 << 10
)

// add holds the body bytes of m, or reports false when all streams together hold
// too much.
func (h *heldBody) add(s *Server, m *message) bool {
	n := int64(m.payload.n)
	h.bytes += n
	if s.held.Add(n) > s.opts.MaxHeldBytes {
		return false
	}
	_ = m.pieces(m.payload, func(b mem.Buffer, lo, hi int) error {
		if hi-lo <= shortPiece {
			h.copy(b.ReadOnlyData()[lo:hi])
		} else {
			h.flush()
			h.pieces = append(h.pieces, b.Slice(lo, hi))
		}
		return nil
	})
	return true
}

func (h *heldBody) copy(b []byte) {
	if h.tail != nil && len(*h.tail)+len(b) > cap(*h.tail) {
		h.flush()
	}
	if h.tail == nil {
		h.tail = mem.DefaultBufferPool().Get(tailBytes)
		*h.tail = (*h.tail)[:0]
	}
	*h.tail = append(*h.tail, b...)
}

func (h *heldBody) flush() {
	if h.tail != nil {
		h.pieces = append(h.pieces, mem.NewBuffer(h.tail, mem.DefaultBufferPool()))
		h.tail = nil
	}
}

// release drops what is held.
func (h *heldBody) release(s *Server) {
	h.flush()
	for i, b := range h.pieces {
		if b != nil {
			b.Free()
			h.pieces[i] = nil
		}
	}
	h.pieces = h.pieces[:0]
	s.held.Add(-h.bytes)
	h.bytes = 0
}

// echo sends the body back, in chunks that need not be those it came in, the last
// of them marked when endOfStream.
func (h *heldBody) echo(st *stream, k kind, endOfStream bool) error {
	h.flush()
	return st.sendChunks(k, h.pieces, int(h.bytes), endOfStream, nil)
}

// echo sends the body message at hand back, with metadata.
func (st *stream) echo(k kind, endOfStream bool, metadata []byte) error {
	st.parts = st.parts[:0]
	_ = st.in.pieces(st.in.payload, func(b mem.Buffer, lo, hi int) error {
		st.parts = append(st.parts, b.Slice(lo, hi))
		return nil
	})
	err := st.sendChunks(k, st.parts, st.in.payload.n, endOfStream, metadata)
	for i, b := range st.parts {
		if b != nil {
			b.Free()
			st.parts[i] = nil
		}
	}
	return err
}

// sendChunks sends total bytes in pieces as streamed_response messages, the last of them
// with metadata. It takes over the pieces it has sent and sets them to nil.
func (st *stream) sendChunks(k kind, pieces []mem.Buffer, total int, endOfStream bool, metadata []byte) error {
	if total == 0 && !endOfStream {
		return nil
	}
	i, off := 0, 0
	for {
		n := min(total, maxChunk)
		if n == total {
			n = min(n, max(1, maxChunk-len(metadata))) // what is left fits in one more
		}
		total -= n
		e, buf := st.encode()
		if total == 0 {
			e.tail(&mutation{metadata: metadata}) // the body's bytes come last
		}
		e.chunk(k, n, endOfStream && total == 0)
		*buf = e.b
		bufs := make(mem.BufferSlice, 1, 8)
		bufs[0] = mem.NewBuffer(buf, &st.srv.answers)
		for n > 0 {
			p := pieces[i]
			rest := p.Len() - off
			switch {
			case rest > n:
				bufs = append(bufs, p.Slice(off, off+n))
				off += n
				n = 0
				continue
			case off == 0:
				bufs = append(bufs, p)
			default:
				bufs = append(bufs, p.Slice(off, off+rest))
				p.Free()
			}
			pieces[i] = nil
			i, off = i+1, 0
			n -= rest
		}
		st.out.bufs = bufs
		if err := st.ss.SendMsg(&st.out); err != nil {
			return err
		}
		if total == 0 {
			return nil
		}
	}
}
