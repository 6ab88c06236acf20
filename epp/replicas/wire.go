package replicas

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/fairway-ai/fairway/scheduler"
	"github.com/fairway-ai/fairway/scheduler/prefix"
)

// The messages are protobuf, written by hand:
//
//	message Hello   { uint32 version = 1; string id = 2; fixed64 incarnation = 3; }
//	message Work    { fixed64 endpoint = 1; uint64 requests = 2; uint64 waiting = 3;
//	                  uint64 dispatched = 4; uint64 backlog = 5; uint64 prefilling = 6;
//	                  uint64 context = 7; uint64 sent = 8; uint64 prefilled = 9;
//	                  uint64 busy_microseconds = 10; uint64 output = 11;
//	                  uint64 prompts = 12; Next next = 13; }
//	message Next    { uint64 uncached = 1; uint64 waited_microseconds = 2;
//	                  sint32 priority = 3; }
//	message Prompt  { fixed64 endpoint = 1; repeated fixed64 hashes = 2 [packed];
//	                  repeated uint64 runs = 3 [packed]; } // tokens, blocks, tokens, …
//	message Frame   { Hello hello = 1; uint64 sequence = 2; bool full = 3;
//	                  repeated Work work = 4; repeated Prompt prompts = 5;
//	                  repeated Prompt keys = 6; } // as prompts, by exact keys
//	message Answer  { Hello hello = 1; uint64 acknowledged = 2; }
//
// Fields that are not known are ignored. Replicas of earlier versions send no prompts,
// no keys and no next.
const (
	frameHello    = 1
	frameSequence = 2
	frameFull     = 3
	frameWork     = 4
	framePrompt   = 5
	frameKeys     = 6

	protocolVersion = 1
	// maxFrame bounds a message, in bytes. What is sent stays below targetFrame and
	// one prompt, except for a full frame of a very large fleet.
	maxFrame    = 8 << 20
	targetFrame = 256 << 10
	// maxWorks and maxPrompts, which counts both kinds, bound what a frame has, which may
	// take some ten times the memory that it takes on the wire.
	maxWorks   = 1 << 16
	maxPrompts = 1 << 16
	// maxBlocks bounds the blocks of one prompt; the start of a longer one is told.
	maxBlocks = 4096
	maxID     = 253
)

// hello is how a replica introduces itself.
type hello struct {
	version     uint64
	id          string
	incarnation uint64
}

// work is what the sender has on an endpoint.
type work struct {
	endpoint       uint64
	scheduler.Work // but for Next.Since, which is as of the sender's clock
	// waited is how long Next was held when the frame was made.
	waited time.Duration
}

// workAt is what an endpoint's totals are in a frame that is made now.
func workAt(now time.Time, endpoint uint64, w scheduler.Work) *work {
	out := &work{endpoint: endpoint, Work: w}
	if w.Next.Held {
		out.waited = max(0, now.Sub(time.Unix(0, w.Next.Since)))
	}
	return out
}

// maxWaited bounds how long a request can have been held.
const maxWaited = 24 * time.Hour

// heard is what a replica that hears of w now knows.
func (w *work) heard(now time.Time) scheduler.Work {
	out := w.Work
	if out.Next.Held {
		out.Next.Since = now.Add(-min(w.waited, maxWaited)).UnixNano()
	}
	return out
}

// prompt is blocks that the sender has sent to an endpoint.
type prompt struct {
	endpoint uint64
	blocks   []prefix.Block
	// exact is set where blocks are the keys that engines' events are looked up by.
	exact bool
}

// frame is a message to another replica, as received.
type frame struct {
	hello    *hello
	sequence uint64
	full     bool
	work     []work
	prompts  []prompt
}

// answer is a message back.
type answer struct {
	hello        *hello
	acknowledged uint64
}

func appendHello(out []byte, h *hello) []byte {
	var m []byte
	m = appendVarint(m, 1, h.version)
	m = protowire.AppendTag(m, 2, protowire.BytesType)
	m = protowire.AppendString(m, h.id)
	m = appendFixed(m, 3, h.incarnation)
	out = protowire.AppendTag(out, frameHello, protowire.BytesType)
	return protowire.AppendBytes(out, m)
}

// appendHeader begins a frame.
func appendHeader(out []byte, sequence uint64, full bool) []byte {
	out = appendVarint(out, frameSequence, sequence)
	if full {
		out = appendVarint(out, frameFull, 1)
	}
	return out
}

func appendAnswer(out []byte, a *answer) []byte {
	if a.hello != nil {
		out = appendHello(out, a.hello)
	}
	return appendVarint(out, 2, a.acknowledged)
}

// appendWork adds an endpoint's totals to a frame.
func appendWork(out []byte, w *work) []byte {
	var buf [192]byte
	m := appendFixed(buf[:0], 1, w.endpoint)
	for i, v := range [...]uint64{
		uint64(w.Requests), uint64(w.Waiting), uint64(w.Dispatched), uint64(w.Backlog), uint64(w.Prefilling),
		uint64(w.Context), uint64(w.Sent), uint64(w.Prefilled), uint64(w.Busy.Microseconds()), uint64(w.Output),
		uint64(w.Prompts),
	} {
		if v != 0 {
			m = appendVarint(m, protowire.Number(i+2), v)
		}
	}
	if w.Next.Held {
		var buf [40]byte
		n := appendVarint(buf[:0], 1, uint64(w.Next.Uncached))
		n = appendVarint(n, 2, uint64(w.waited.Microseconds()))
		n = appendVarint(n, 3, protowire.EncodeZigZag(int64(w.Next.Priority)))
		m = protowire.AppendTag(m, 13, protowire.BytesType)
		m = protowire.AppendBytes(m, n)
	}
	out = protowire.AppendTag(out, frameWork, protowire.BytesType)
	return protowire.AppendBytes(out, m)
}

// appendPrompt adds a prompt to a frame. Most blocks have as many tokens as the one
// before, so tokens are told by runs.
func appendPrompt(out []byte, p *prompt) []byte {
	blocks := p.blocks[:min(len(p.blocks), maxBlocks)]
	var buf [64]byte
	runs := buf[:0]
	for i := 0; i < len(blocks); {
		n := i + 1
		for n < len(blocks) && blocks[n].Tokens == blocks[i].Tokens {
			n++
		}
		runs = protowire.AppendVarint(runs, uint64(max(0, blocks[i].Tokens)))
		runs = protowire.AppendVarint(runs, uint64(n-i))
		i = n
	}
	hashes := 8 * len(blocks)
	size := 9 + 1 + protowire.SizeBytes(hashes) + 1 + protowire.SizeBytes(len(runs))
	field := protowire.Number(framePrompt)
	if p.exact {
		field = frameKeys
	}
	out = protowire.AppendTag(out, field, protowire.BytesType)
	out = protowire.AppendVarint(out, uint64(size))
	out = appendFixed(out, 1, p.endpoint)
	out = protowire.AppendTag(out, 2, protowire.BytesType)
	out = protowire.AppendVarint(out, uint64(hashes))
	for i := range blocks {
		out = binary.LittleEndian.AppendUint64(out, blocks[i].Hash)
	}
	out = protowire.AppendTag(out, 3, protowire.BytesType)
	return protowire.AppendBytes(out, runs)
}

func appendVarint(out []byte, number protowire.Number, v uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(out, number, protowire.VarintType), v)
}

func appendFixed(out []byte, number protowire.Number, v uint64) []byte {
	return protowire.AppendFixed64(protowire.AppendTag(out, number, protowire.Fixed64Type), v)
}

var errWire = errors.New("not a message of this protocol")

// decodeFrame reads a frame. The result does not refer to data.
func decodeFrame(data []byte) (*frame, error) {
	f := new(frame)
	err := fields(data, func(n protowire.Number, v uint64, m []byte) (err error) {
		switch n {
		case frameHello:
			f.hello, err = decodeHello(m)
		case frameSequence:
			f.sequence = v
		case frameFull:
			f.full = v != 0
		case frameWork:
			var w work
			if w, err = decodeWork(m); len(f.work) == maxWorks {
				return fmt.Errorf("%w: the totals of more than %d endpoints", errWire, maxWorks)
			}
			f.work = append(f.work, w)
		case framePrompt, frameKeys:
			var p prompt
			if p, err = decodePrompt(m); len(f.prompts) == maxPrompts {
				return fmt.Errorf("%w: more than %d prompts", errWire, maxPrompts)
			}
			p.exact = n == frameKeys
			f.prompts = append(f.prompts, p)
		}
		return err
	})
	return f, err
}

func decodeAnswer(data []byte) (a answer, err error) {
	err = fields(data, func(n protowire.Number, v uint64, m []byte) (err error) {
		switch n {
		case 1:
			a.hello, err = decodeHello(m)
		case 2:
			a.acknowledged = v
		}
		return err
	})
	return a, err
}

func decodeHello(data []byte) (*hello, error) {
	h := new(hello)
	err := fields(data, func(n protowire.Number, v uint64, m []byte) error {
		switch n {
		case 1:
			h.version = v
		case 2:
			h.id = string(m[:min(len(m), maxID+1)])
		case 3:
			h.incarnation = v
		}
		return nil
	})
	switch {
	case err != nil:
		return nil, err
	case h.id == "" || len(h.id) > maxID:
		return nil, fmt.Errorf("%w: an id must have 1 to %d bytes", errWire, maxID)
	}
	return h, nil
}

func decodeWork(data []byte) (w work, err error) {
	err = fields(data, func(n protowire.Number, v uint64, m []byte) error {
		count, tokens := int32(min(v, math.MaxInt32)), int64(min(v, math.MaxInt64))
		switch n {
		case 1:
			w.endpoint = v
		case 2:
			w.Requests = count
		case 3:
			w.Waiting = count
		case 4:
			w.Dispatched = count
		case 5:
			w.Backlog = tokens
		case 6:
			w.Prefilling = tokens
		case 7:
			w.Context = tokens
		case 8:
			w.Sent = tokens
		case 9:
			w.Prefilled = tokens
		case 10:
			w.Busy = microseconds(v)
		case 11:
			w.Output = tokens
		case 12:
			w.Prompts = tokens
		case 13:
			return w.decodeNext(m)
		}
		return nil
	})
	return w, err
}

func (w *work) decodeNext(data []byte) error {
	w.Next, w.waited = scheduler.Next{Held: true}, 0
	return fields(data, func(n protowire.Number, v uint64, _ []byte) error {
		switch n {
		case 1:
			w.Next.Uncached = int64(min(v, math.MaxInt64))
		case 2:
			w.waited = microseconds(v)
		case 3:
			w.Next.Priority = int32(min(max(protowire.DecodeZigZag(v), math.MinInt32), math.MaxInt32))
		}
		return nil
	})
}

func microseconds(v uint64) time.Duration {
	return time.Duration(min(v, math.MaxInt64/1000)) * time.Microsecond
}

func decodePrompt(data []byte) (p prompt, err error) {
	var hashes, runs []byte
	err = fields(data, func(n protowire.Number, v uint64, m []byte) error {
		switch n {
		case 1:
			p.endpoint = v
		case 2:
			hashes = m
		case 3:
			runs = m
		}
		return nil
	})
	n := len(hashes) / 8
	if err != nil || len(hashes)%8 != 0 || n > maxBlocks {
		return p, errWire
	}
	p.blocks = make([]prefix.Block, n)
	for i := range p.blocks {
		p.blocks[i].Hash = binary.LittleEndian.Uint64(hashes[8*i:])
	}
	for i := 0; i < n; {
		tokens, a := protowire.ConsumeVarint(runs)
		if a < 0 {
			return p, errWire
		}
		count, b := protowire.ConsumeVarint(runs[a:])
		if b < 0 || count == 0 || count > uint64(n-i) || tokens > math.MaxInt32 {
			return p, errWire
		}
		runs = runs[a+b:]
		for range count {
			p.blocks[i].Tokens = int32(tokens)
			i++
		}
	}
	return p, nil
}

// fields calls f with each field's number, and its value as a number or as bytes.
func fields(data []byte, f func(n protowire.Number, v uint64, m []byte) error) error {
	for len(data) > 0 {
		number, kind, n := protowire.ConsumeTag(data)
		if n < 0 {
			return errWire
		}
		data = data[n:]
		var v uint64
		var m []byte
		switch kind {
		case protowire.VarintType:
			v, n = protowire.ConsumeVarint(data)
		case protowire.Fixed64Type:
			v, n = protowire.ConsumeFixed64(data)
		case protowire.BytesType:
			m, n = protowire.ConsumeBytes(data)
		default:
			n = protowire.ConsumeFieldValue(number, kind, data)
		}
		if n < 0 {
			return errWire
		}
		data = data[n:]
		if err := f(number, v, m); err != nil {
			return err
		}
	}
	return nil
}
