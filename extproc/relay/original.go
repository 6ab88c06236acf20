package relay

import (
	"bytes"

	"google.golang.org/grpc/mem"
)

// original is a body that was passed to a picker, kept by reference from the first
// byte that may still be needed.
type original struct {
	parts mem.BufferSlice
	skip  int // bytes of parts[0] that are no longer needed
	n     int // bytes kept
}

// add keeps part, whose references it takes over.
func (o *original) add(part mem.BufferSlice) {
	o.parts = append(o.parts, part...)
	o.n += part.Len()
}

// each calls f for the bytes from lo to hi, by the piece, until it returns false.
func (o *original) each(lo, hi int, f func(b mem.Buffer, lo, hi int) bool) {
	pos := -o.skip
	for _, b := range o.parts {
		n := b.Len()
		if from, to := max(lo-pos, 0), min(hi-pos, n); from < to && !f(b, from, to) {
			return
		}
		if pos += n; pos >= hi {
			return
		}
	}
}

// match returns how many bytes of b are the ones kept from off on.
func (o *original) match(off int, b []byte) (n int) {
	o.each(off, min(off+len(b), o.n), func(part mem.Buffer, lo, hi int) bool {
		have := part.ReadOnlyData()[lo:hi]
		if bytes.Equal(have, b[n:n+len(have)]) {
			n += len(have)
			return true
		}
		for have[0] == b[n] {
			have = have[1:]
			n++
		}
		return false
	})
	return n
}

// copy appends the bytes from lo to hi to dst.
func (o *original) copy(dst []byte, lo, hi int) []byte {
	o.each(lo, hi, func(b mem.Buffer, lo, hi int) bool {
		dst = append(dst, b.ReadOnlyData()[lo:hi]...)
		return true
	})
	return dst
}

// slice returns references to the bytes from lo to hi.
func (o *original) slice(lo, hi int) (out mem.BufferSlice) {
	o.each(lo, hi, func(b mem.Buffer, lo, hi int) bool {
		out = append(out, b.Slice(lo, hi))
		return true
	})
	return out
}

// take returns the first n bytes and forgets them.
func (o *original) take(n int) (out mem.BufferSlice) {
	out = o.slice(0, n)
	o.drop(n)
	return out
}

// drop forgets the first n bytes.
func (o *original) drop(n int) {
	o.n -= n
	n += o.skip
	i := 0
	for ; i < len(o.parts) && n >= o.parts[i].Len(); i++ {
		n -= o.parts[i].Len()
		o.parts[i].Free()
		o.parts[i] = nil
	}
	o.parts, o.skip = o.parts[i:], n
	if len(o.parts) == 0 {
		o.parts, o.skip = nil, 0
	}
}

// release forgets everything.
func (o *original) release() {
	o.parts.Free()
	*o = original{}
}

// references returns references of their own to a part.
func references(part mem.BufferSlice) mem.BufferSlice {
	out := make(mem.BufferSlice, 0, len(part))
	for _, b := range part {
		out = append(out, b.Slice(0, b.Len()))
	}
	return out
}
