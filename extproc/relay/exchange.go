package relay

import (
	"context"
	"sync"
	"time"

	modev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/fairway-ai/fairway/extproc"
)

const (
	// quiet is how long a picker that has named endpoints but not answered the body
	// must say nothing to be taken as done. See habit.
	quiet = 250 * time.Millisecond
	// linger is how long a picker may take to end the stream after a request's end,
	// before it is broken off.
	linger = 5 * time.Second
	// maxBehind bounds the response body bytes that wait to be sent to a picker whose
	// answers nobody waits for any more.
	maxBehind = 4 << 20
)

// stage is how far an exchange is.
type stage uint8

const (
	stageRequest  stage = iota // the picker is being asked
	stageResponse              // it has decided, and its answers to the response count
	stageWatching              // it is shown the response, and nothing that it says counts
	stageLeft                  // it is shown nothing more
)

// exchange is one request's conversation with a picker. Its own goroutines are one
// that sends and one that reads; the request's calls the methods.
type exchange struct {
	pool   *pool
	client *client
	envoy  context.Context // the request's
	ctx    context.Context // the stream's
	cancel context.CancelCauseFunc
	detach func() bool // from envoy
	// probing says that it began as the breaker's probe.
	probing bool
	wake    chan struct{}
	news    chan struct{}

	// Of the request's goroutine alone.
	asked  time.Time // the picker, about the whole request
	refuse Reason    // it was not consulted at all
	placed bool      // a place is taken
	probe  bool
	// responded is set once the response's headers were passed.
	responded bool
	behind    bool // the picker, with answers to the response's body
	finished  bool // the response's last byte was passed

	mu       sync.Mutex
	conn     *grpc.ClientConn // of the stream
	head     mem.Buffer       // the first message, until the picker has said anything
	failed   error            // of a stream that the sender is to replace
	tried    bool             // that was done
	held     int64            // bytes kept, as counted
	queue    []*outgoing      // to be sent
	queued   int              // bytes in it
	closing  bool             // nothing is to be sent after queue
	stage    stage
	verdict  verdict
	reply    reply
	headers  bool // the response's were answered
	replaced *answer
	said     *answer // an immediate response to the response
	heard    bool    // anything at all
	last     time.Time
	ended    bool // by the picker, with err
	err      error
}

// consult begins an exchange.
func (p *pool) consult(envoy context.Context) *exchange {
	x := &exchange{pool: p, client: p.client, envoy: envoy}
	if x.probe, x.refuse = p.client.enter(); x.refuse != "" {
		return x
	}
	x.placed, x.probing = true, x.probe
	o := p.client.o
	x.verdict.limit, x.reply.limit = int(o.MaxBodyBytes), int(o.MaxBodyBytes)
	x.wake, x.news = make(chan struct{}, 1), make(chan struct{}, 1)
	x.ctx, x.cancel = context.WithCancelCause(p.client.ctx)
	x.detach = context.AfterFunc(envoy, func() { x.cancel(context.Cause(envoy)) })
	return x
}

// send hands messages to the sender.
func (x *exchange) send(m *outgoing) {
	x.mu.Lock()
	x.enqueue(m)
	x.mu.Unlock()
	signal(x.wake)
}

// enqueue notes a message as one to be sent; x.mu is held.
func (x *exchange) enqueue(m *outgoing) {
	if x.closing || x.ended {
		m.bufs.Free()
		return
	}
	x.queue = append(x.queue, m)
	x.queued += m.bufs.Len()
}

// unqueue forgets the messages to be sent; x.mu is held.
func (x *exchange) unqueue() {
	for _, m := range x.queue {
		m.bufs.Free()
	}
	x.queue, x.queued = nil, 0
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// run opens the stream and sends what it is handed until the end, on a second stream
// if need be.
func (x *exchange) run() {
	defer func() {
		x.mu.Lock()
		defer x.mu.Unlock()
		x.closing = true
		x.unqueue()
	}()
	conn := x.client.conn.Load()
	x.mu.Lock()
	x.conn = conn
	x.mu.Unlock()
	stream, err := conn.NewStream(x.ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, method)
	if err != nil {
		x.over(nil, err)
	} else {
		go x.read(stream)
		x.pump(stream)
	}
	if stream = x.again(); stream != nil {
		go x.read(stream)
		x.pump(stream)
	}
}

// pump sends what it is handed until the end, or until the stream is lost.
func (x *exchange) pump(stream grpc.ClientStream) {
	broken := false
	for {
		x.mu.Lock()
		var m *outgoing
		if len(x.queue) > 0 && !broken {
			m = x.queue[0]
			x.queue = x.queue[1:]
			x.queued -= m.bufs.Len()
		}
		closing, lost := x.closing, x.failed != nil
		x.mu.Unlock()
		switch {
		case m != nil:
			// What is wrong with the stream, the reader learns, and says whether there
			// is to be another one.
			if stream.SendMsg(m) != nil {
				m.bufs.Free()
				broken = true
			}
		case lost:
			return
		case closing:
			_ = stream.CloseSend()
			return
		default:
			select {
			case <-x.wake:
			case <-x.ctx.Done():
				return
			}
		}
	}
}

// wants reports what the picker's mode_override leaves of the response.
func (x *exchange) wants() (headers, body bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.stage != stageResponse && x.stage != stageWatching || x.ended && !x.responded {
		return false, false
	}
	m := x.verdict.mode
	return m.GetResponseHeaderMode() != modev3.ProcessingMode_SKIP,
		m == nil || m.GetResponseBodyMode() != modev3.ProcessingMode_NONE
}

// WantsResponse implements extproc.Exchange.
func (x *exchange) WantsResponse() (headers, body bool) {
	if x.refuse != "" {
		return false, false
	}
	headers, body = x.wants()
	return headers && !x.responded, body && !x.finished
}

// Close implements extproc.Exchange.
func (x *exchange) Close(complete bool) {
	if !x.placed {
		return
	}
	x.placed = false
	x.detach()
	x.mu.Lock()
	early := x.stage == stageRequest
	x.stage = stageLeft
	x.closing = true
	x.verdict.original.release()
	x.reply.release()
	x.unkeep()
	x.mu.Unlock()
	if x.probe && early {
		x.client.breaker.abandon()
	}
	if complete {
		signal(x.wake)
		time.AfterFunc(linger, func() { x.cancel(context.Canceled) })
	} else {
		x.cancel(context.Canceled)
	}
	x.client.leave()
}

var _ extproc.Exchange = (*exchange)(nil)

// pass hands a body part to the sender, in messages, and tells noted of each.
func (x *exchange) pass(num protowire.Number, part mem.BufferSlice, end bool, noted func(part mem.BufferSlice, end bool)) {
	chunks(part, end, func(chunk mem.BufferSlice, end bool) {
		m := encodeBody(num, references(chunk), end)
		x.mu.Lock()
		// At one time, for a replay to send it neither twice nor not at all.
		noted(chunk, end)
		x.enqueue(m)
		x.mu.Unlock()
		signal(x.wake)
	})
}
