package relay

import (
	"errors"
	"fmt"

	modev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	"google.golang.org/grpc/mem"

	"github.com/fairway-ai/fairway/extproc"
)

// verdict collects a picker's answers to a request until they are complete:
//
//   - An immediate response is complete.
//   - Without a body: the headers' answer with a pick.
//   - With a body that is streamed back: the headers' answer, and the chunk that is
//     marked as the last one. If bytes differ from the original, or end before or
//     after it, the body is changed.
//   - With a body that is not: the headers' answer, and one answer for every body
//     message. A replacement in the last of them alone is a whole new body, as where
//     bodies are buffered; others are their own messages' parts.
//
// Pickers that say less are taken to be done when they have been quiet for a while
// after the pick; see settled.
type verdict struct {
	limit int // of a changed body

	original original
	sent     int // body messages
	lengths  []int
	ended    bool // the request is known whole

	changes  changes
	headers  bool // answered
	answered int  // body messages, when not streamed back

	streamed  bool
	streamEnd bool
	same      int // bytes that came back as they were, up to the first that did not
	differs   bool
	rest      []byte // what came instead of the original after same

	replaced map[int][]byte // by number of the body message
	replaces bool           // CONTINUE_AND_REPLACE: replaced[0] is all

	immediate []byte
	status    int
	mode      *modev3.ProcessingMode
}

// passed notes a body message that is sent.
func (v *verdict) passed(part mem.BufferSlice, end bool) {
	v.lengths = append(v.lengths, part.Len())
	v.original.add(part)
	v.sent++
	v.ended = v.ended || end
}

// bodyless notes that no body follows the headers.
func (v *verdict) bodyless() { v.ended = true }

// answer adds an answer. An error means that the picker's answers are of no use.
func (v *verdict) answer(a *answer) error {
	if a.to == answersImmediately {
		v.immediate, v.status = a.immediate, a.status
		v.changes.metadata, v.changes.typed, v.changes.mdSize = nil, nil, 0
	}
	if a.mode != nil {
		v.mode = a.mode
	}
	if a.to == answersRequestHeaders && v.headers {
		return nil // once is enough
	}
	if err := v.changes.add(a); err != nil {
		return err
	}
	switch a.to {
	case answersRequestHeaders:
		v.headers = true
		if a.replace && a.kind == bodyReplaced {
			v.replaces = true
			return v.replace(0, a.body)
		}
	case answersRequestBody:
		return v.body(a)
	}
	return nil
}

func (v *verdict) body(a *answer) error {
	switch {
	case v.replaces || v.streamEnd:
		return nil // there is nothing left to say
	case a.kind == bodyStreamed:
		v.streamed = true
		v.streamEnd = a.end
		return v.stream(a.body)
	case v.streamed:
		return nil
	}
	i := v.answered
	v.answered++
	if a.kind == bodyReplaced {
		// Answers beyond the last message are about the last one.
		return v.replace(min(i, max(v.sent-1, 0)), a.body)
	}
	return nil
}

func (v *verdict) stream(b []byte) error {
	if !v.differs {
		n := v.original.match(v.same, b)
		v.same += n
		b = b[n:]
		v.differs = len(b) > 0
	}
	if v.same+len(v.rest)+len(b) > v.limit {
		return fmt.Errorf("a request body of more than %d bytes", v.limit)
	}
	v.rest = append(v.rest, b...)
	return nil
}

func (v *verdict) replace(i int, b []byte) error {
	total := len(b)
	for _, r := range v.replaced {
		total += len(r)
	}
	if total > v.limit {
		return fmt.Errorf("a request body of more than %d bytes", v.limit)
	}
	if v.replaced == nil {
		v.replaced = map[int][]byte{}
	}
	v.replaced[i] = append([]byte(nil), b...)
	return nil
}

// extra is how many bytes the answers take.
func (v *verdict) extra() (n int) {
	for _, r := range v.replaced {
		n += len(r)
	}
	return n + len(v.rest)
}

// picked reports whether the pick is known.
func (v *verdict) picked() bool {
	pick, _ := v.changes.destinations()
	return pick != ""
}

// complete reports whether everything was answered.
func (v *verdict) complete() bool {
	switch {
	case v.immediate != nil:
		return true
	case !v.ended || !v.headers || !v.picked():
		return false
	case v.replaces, v.streamEnd:
		return true
	}
	return !v.streamed && v.answered >= v.sent
}

// settled reports whether what is known will do when nothing else comes: a pick, and
// a body that is whole.
func (v *verdict) settled() bool {
	return v.immediate != nil || v.ended && v.picked() && (!v.streamed || v.streamEnd)
}

var errNoPick = errors.New("it named no endpoint")

// change returns the verdict for Envoy.
func (v *verdict) change() (extproc.Change, error) {
	if v.immediate != nil {
		c := v.changes.change("")
		return extproc.Change{Immediate: v.immediate, ImmediateStatus: v.status, Metadata: c.Metadata, TypedMetadata: c.TypedMetadata}, nil
	}
	pick, _ := v.changes.destinations()
	if pick == "" {
		return extproc.Change{}, errNoPick
	}
	if !validPick(pick) {
		return extproc.Change{}, errors.New("the endpoints that it named are no list of addresses")
	}
	c := v.changes.change(pick)
	b, changed := v.newBody()
	if len(b) > v.limit {
		return extproc.Change{}, fmt.Errorf("a request body of more than %d bytes", v.limit)
	}
	if c.BodyChanged = changed; changed && len(b) > 0 {
		c.Body = mem.BufferSlice{mem.SliceBuffer(b)}
	}
	return c, nil
}

// newBody returns the body to use instead of the original, if any.
func (v *verdict) newBody() (b []byte, changed bool) {
	switch {
	case v.streamed:
		if !v.differs && v.same == v.original.n {
			return nil, false
		}
		return append(v.original.copy(nil, 0, v.same), v.rest...), true
	case len(v.replaced) == 0:
		return nil, false
	}
	if last, ok := v.replaced[max(v.sent-1, 0)]; v.replaces {
		b = v.replaced[0]
	} else if ok && len(v.replaced) == 1 {
		b = last
	} else {
		b = v.joined()
	}
	same := len(b) == v.original.n && v.original.match(0, b) == len(b)
	return b, !same
}

// joined is the body of messages of which some were replaced.
func (v *verdict) joined() (b []byte) {
	off := 0
	for i := range v.sent {
		n := v.lengths[i]
		if r, ok := v.replaced[i]; ok {
			b = append(b, r...)
		} else {
			b = v.original.copy(b, off, off+n)
		}
		off += n
	}
	return b
}
