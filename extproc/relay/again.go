package relay

import (
	"context"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"
)

const (
	// againWithin bounds the wait for a connection of a request that is to be sent a
	// second time. It is half the picker's timeout where that is less, so that the
	// reason why there was none is told.
	againWithin = time.Second
	// probeWithin is the same for the request that tries whether a picker is back.
	// Others do not wait for it, and it comes again a second later.
	probeWithin = 250 * time.Millisecond
	// redialEvery is the shortest time between two dials that requests ask for. In
	// between, gRPC dials as its backoff says, on behalf of all of them.
	redialEvery = 100 * time.Millisecond
)

// patience is how long a second try may wait for a connection.
func (x *exchange) patience() time.Duration {
	most := againWithin
	if x.probing {
		most = probeWithin
	}
	return min(most, x.pool.picker.Timeout/2)
}

// over takes the end of a stream, which is nil if there was none: the sender is told
// to try once more where that can do no harm, else the picker says no more.
func (x *exchange) over(stream grpc.ClientStream, err error) {
	if !unanswered(stream, err) || !x.lose(err) {
		x.end(err)
	}
}

// unanswered reports whether a stream failed before the server had sent anything on
// it. A picker that says by itself that it is unavailable has answered.
func unanswered(stream grpc.ClientStream, err error) bool {
	if status.Code(err) != codes.Unavailable || noPicker(err) {
		return false
	}
	if stream == nil {
		return true
	}
	header, _ := stream.Header() // its error is the stream's
	return len(header) == 0 && len(stream.Trailer()) == 0
}

// lose notes for the sender that the stream is lost, or reports false when there is to
// be no second try.
func (x *exchange) lose(err error) bool {
	if !x.probing && x.client.breaker.open.Load() {
		return false // requests are answered at once
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.tried || x.heard || x.ended || x.closing || x.stage != stageRequest || x.ctx.Err() != nil {
		return false
	}
	x.tried, x.failed = true, err
	signal(x.wake)
	return true
}

// again opens another stream in place of one that was lost, and has everything sent on
// it that was sent before. It returns nil if none was lost, or if there is no
// connection in time, which ends the exchange.
func (x *exchange) again() grpc.ClientStream {
	conn := x.client.conn.Load()
	x.mu.Lock()
	lost := x.failed
	if lost != nil {
		x.failed, x.conn = nil, conn
	}
	x.mu.Unlock()
	if lost == nil {
		return nil
	}
	ctx, cancel := context.WithCancel(x.ctx)
	timer := time.AfterFunc(x.patience(), cancel)
	stop := timer.Stop
	if !x.probing {
		// When others have found the picker dead meanwhile, so has this one.
		detach := context.AfterFunc(x.client.breaker.tripped(), cancel)
		stop = func() bool { return detach() && timer.Stop() }
	}
	x.client.redial(conn)
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, method, grpc.WaitForReady(true))
	if !stop() {
		err = lost // says why there is no connection
	}
	if err != nil {
		cancel()
		timer.Stop()
		x.end(err)
		return nil
	}
	x.replay()
	return stream
}

// replay has everything sent again. While the picker has said nothing, the verdict
// keeps the whole body, to compare it with the picker's.
func (x *exchange) replay() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.unqueue()
	if x.stage != stageRequest || x.ended {
		return // given up meanwhile, and what was kept is gone
	}
	x.enqueue(&outgoing{bufs: mem.BufferSlice{x.head}})
	v, off := &x.verdict, 0
	for i, n := range v.lengths {
		m := encodeBody(fieldRequestBody, v.original.slice(off, off+n), v.ended && i == len(v.lengths)-1)
		off += n
		x.enqueue(m)
	}
}

// redial makes gRPC connect now, if it waits before it tries again.
func (c *client) redial(conn *grpc.ClientConn) {
	if !c.redialing.CompareAndSwap(false, true) {
		return
	}
	conn.ResetConnectBackoff()
	time.AfterFunc(redialEvery, func() { c.redialing.Store(false) })
}
