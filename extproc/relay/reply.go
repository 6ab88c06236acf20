package relay

import (
	"fmt"

	"google.golang.org/grpc/mem"
)

// reply collects a picker's answers to a response's body and says what of it can go
// on to the client. The body is kept from the first byte that the picker has not
// answered, so that it can go on as it was when the picker fails.
//
// While what the picker streams back is the body as it was, each byte is answered
// when it has come back. From the first byte that differs on, nobody can tell which
// bytes belong to which; then a message counts as answered when anything came after
// it was sent. A picker that does not stream bodies back answers message by message.
type reply struct {
	limit int // of what is kept

	kept    original
	lengths []int // of messages not yet answered, where bodies are not streamed back
	ended   bool  // the whole body was passed

	streamed  bool
	streamEnd bool
	differs   bool
	same      int    // bytes of kept that came back
	out       []byte // what came instead of the bytes after same
	since     int    // answers since the last message was sent

	changes changes // since they were last told
}

// passed notes a body message that is sent.
func (r *reply) passed(part mem.BufferSlice, end bool) {
	r.lengths = append(r.lengths, part.Len())
	r.kept.add(part)
	r.ended = r.ended || end
	r.since = 0
}

// body adds an answer to a body message.
func (r *reply) body(a *answer) error {
	if err := r.changes.add(a); err != nil {
		return err
	}
	r.since++
	switch {
	case r.streamEnd:
		return nil
	case a.kind == bodyStreamed:
		if !r.streamed {
			r.streamed, r.lengths = true, nil
		}
		r.streamEnd = a.end && r.ended // the body goes on, whatever the picker says
		return r.stream(a.body)
	case r.streamed || len(r.lengths) == 0:
		return nil // twice, or out of order
	}
	n := r.lengths[0]
	r.lengths = r.lengths[1:]
	if a.kind == bodyReplaced {
		return r.instead(n, a.body)
	}
	if len(r.out) > 0 {
		return r.instead(n, r.kept.copy(nil, r.same, r.same+n))
	}
	r.same += n
	return nil
}

// instead puts b in the place of the next n bytes.
func (r *reply) instead(n int, b []byte) error {
	if len(r.out)+len(b) > r.limit {
		return fmt.Errorf("more than %d bytes of a response body", r.limit)
	}
	r.out = append(r.out, b...)
	if r.same == 0 {
		r.kept.drop(n)
		return nil
	}
	// What is before it goes in front of it.
	r.out = append(r.kept.copy(nil, 0, r.same), r.out...)
	r.kept.drop(r.same + n)
	r.same = 0
	return nil
}

func (r *reply) stream(b []byte) error {
	if !r.differs {
		n := r.kept.match(r.same, b)
		r.same += n
		b = b[n:]
		r.differs = len(b) > 0 || r.streamEnd && r.same < r.kept.n
	}
	if len(r.out)+len(b) > r.limit {
		return fmt.Errorf("more than %d bytes of a response body", r.limit)
	}
	r.out = append(r.out, b...)
	return nil
}

// answered reports whether everything that was passed is answered.
func (r *reply) answered() bool {
	switch {
	case r.streamed && r.ended:
		return r.streamEnd
	case r.streamed && r.differs:
		return r.since > 0
	case r.streamed:
		return r.same == r.kept.n
	}
	return len(r.lengths) == 0
}

// take returns what can go on to the client: all that is answered, and of an unchanged body that is streamed back, what came back so far.
func (r *reply) take() (out mem.BufferSlice) {
	if r.differs && !r.answered() {
		return nil
	}
	out = r.kept.take(r.same)
	r.same = 0
	if len(r.out) > 0 {
		out = append(out, mem.SliceBuffer(r.out))
		r.out = nil
	}
	if r.differs {
		r.kept.drop(r.kept.n)
	}
	return out
}

// rest returns what the client gets when the picker says no more: what it had said,
// unless that is only a part, and the body as it was from there on.
func (r *reply) rest() (out mem.BufferSlice) {
	out = r.take()
	out = append(out, r.kept.take(r.kept.n)...)
	r.out, r.same, r.lengths = nil, 0, nil
	return out
}

func (r *reply) release() { r.kept.release() }
