package extproc

import (
	"context"
	"errors"
	"io"
	"runtime/debug"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// errDone ends a stream that needs no more messages.
var errDone = errors.New("done")

// protocolError says that the proxy broke the protocol.
func protocolError(text string) error { return status.Error(codes.InvalidArgument, "ext_proc: "+text) }

// stream is one ext_proc stream, which is one HTTP request. Its goroutine is the
// only one that touches it, but for an Interrupt's while this one waits. Streams are pooled; reset is what makes one new.
type stream struct {
	srv *Server
	ss  grpc.ServerStream

	in      message
	out     answer
	headers Headers // the request's until Pick returns, then the response's
	change  mutation
	parts   []mem.Buffer // scratch of echo
	// What the first message said.
	requestMode, responseMode bodyMode

	request  requestState
	response responseState

	observer Observer
	// foreign is the exchange with somebody else's picker that answers for the pool, or
	// that our own asked; nil for all others.
	foreign Exchange
	// interrupt ends the request from outside; nil when nobody will, or can any more.
	interrupt     *Interrupt
	interruptFunc func(*Rejection) bool
	interrupted   bool // and was: the client has its answer
	// poisoned is set when a panic passed through: the state is not used again.
	poisoned bool
}

func newStream(s *Server) *stream {
	st := &stream{srv: s}
	st.request.holdFunc, st.interruptFunc = st.hold, st.beInterrupted
	return st
}

// process serves one stream.
func (s *Server) process(ss grpc.ServerStream) (err error) {
	opened := s.opts.Now()
	s.opened()
	st := s.streams.Get().(*stream)
	st.ss = ss
	// Deferred calls run last to first: recover, then end, then count.
	defer func() { s.closed(s.opts.Now().Sub(opened)) }()
	defer st.close()
	defer func() {
		if r := recover(); r != nil {
			st.poisoned = true
			s.opts.Log.Error("panic in ext_proc stream", "request_id", st.request.id, "panic", r, "stack", string(debug.Stack()))
			err = status.Error(codes.Internal, "internal error")
		}
	}()
	return st.run()
}

// run reads and answers messages until the stream ends.
func (st *stream) run() error {
	st.in.requestMode, st.in.responseMode = modeUnknown, modeUnknown
	for first := true; ; first = false {
		if err := st.ss.RecvMsg(&st.in); err != nil {
			if f, ok := st.srv.opts.Foreign.(Misser); first && ok {
				f.Missed(st.ss.Context(), pool(st.ss.Context()))
			}
			st.unbind()
			st.closed(err)
			if err == io.EOF {
				return nil
			}
			return err
		}
		if first {
			if err := st.begin(); err != nil {
				return err
			}
		}
		// In observability mode the proxy reads no answers, so a pick would not be
		// used: there is nothing to do.
		if !st.in.observability {
			if err := st.step(); err == errDone {
				return nil
			} else if err != nil {
				return err
			}
		}
		// Not kept while waiting for the next message, which may take minutes.
		st.in.release()
	}
}

// begin reads the arrangement from the stream's first message.
func (st *stream) begin() error {
	st.requestMode, st.responseMode = st.in.requestMode, st.in.responseMode
	if st.requestMode > modeDuplex || st.responseMode > modeDuplex {
		return status.Error(codes.Unimplemented, "ext_proc: body mode GRPC is not supported: use FULL_DUPLEX_STREAMED, BUFFERED, STREAMED or NONE")
	}
	st.request.flow = flowInline
	switch {
	case st.requestMode == modeDuplex:
		st.request.flow = flowDuplex
	case st.requestMode == modeStreamed && st.in.sendsBody:
		st.request.flow = flowAhead
	case st.requestMode == modeStreamed:
		st.srv.warnStreamed.Do(func() {
			st.srv.opts.Log.Warn("Envoy's request_body_mode STREAMED sends a request on before its body is known, so picks come too late: use BUFFERED, FULL_DUPLEX_STREAMED, or send_body_without_waiting_for_header_response")
		})
	}
	return nil
}

func (st *stream) handle() error {
	if st.foreign != nil {
		return st.handleForeign()
	}
	switch st.in.kind {
	case kindRequestHeaders:
		return st.requestHeaders()
	case kindRequestBody:
		return st.requestBody()
	case kindRequestTrailers:
		return st.requestTrailers()
	case kindResponseHeaders:
		return st.responseHeaders()
	case kindResponseBody:
		return st.responseBody()
	case kindResponseTrailers:
		return st.responseTrailers()
	}
	// Flow-control and drain notices of newer proxies want no answer.
	return nil
}

// closed handles the stream's end, err being what reading it returned.
func (st *stream) closed(err error) {
	r := &st.response
	// Where response bodies are not sent here, headers are the last we see, and
	// the proxy ends the stream in good order or by cancelling it.
	bodyless := st.responseMode == modeNone || (r.skipped || st.responseMode == modeUnknown) && !r.sawBody
	orderly := err == io.EOF || status.Code(err) == codes.Canceled
	st.end(r.seen && bodyless && orderly)
}

// end tells the observer how the request ended, the first time.
func (st *stream) end(complete bool) {
	o := st.observer
	if o == nil {
		return
	}
	st.observer = nil
	r := &st.response
	now := st.srv.opts.Now()
	out := Outcome{
		Status: r.status, Complete: complete, ResponseBytes: r.bytes, Streamed: r.streamed, Processing: r.processing,
		Interrupted: st.interrupted,
	}
	if !r.streamed && !r.headersAt.IsZero() {
		out.Processing = now.Sub(r.headersAt)
	}
	if r.watch != nil {
		out.Usage, out.Chunks = r.watch.Usage(), r.watch.Chunks()
		// Many clients leave at the last event and do not wait for the end.
		out.Complete = complete || (r.streamed || r.messages) && r.watch.Done()
	}
	o.End(now, out)
}

// close ends what is still open and gives everything back.
func (st *stream) close() {
	defer func() {
		if r := recover(); r != nil {
			st.srv.opts.Log.Error("panic at the end of an ext_proc stream", "request_id", st.request.id, "panic", r, "stack", string(debug.Stack()))
		}
	}()
	st.unbind()
	st.in.release()
	st.request.body.release(st.srv)
	st.end(false)
	if st.foreign != nil {
		x := st.foreign
		st.foreign = nil
		x.Close(st.response.ended)
	}
	if st.poisoned {
		return
	}
	st.releaseScanner()
	if st.response.watch != nil {
		st.srv.observers.Put(st.response.watch)
	}
	st.reset()
	st.srv.streams.Put(st)
}

func (st *stream) reset() {
	st.ss, st.interrupted = nil, false
	if cap(st.in.scratch) > maxAnswerBuf {
		st.in.scratch = nil
	}
	st.headers.reset()
	st.change.reset()
	st.request.reset()
	st.response = responseState{}
}

func (m *mutation) reset() {
	clear(m.set)
	clear(m.remove)
	*m = mutation{set: m.set[:0], remove: m.remove[:0]}
}

// encode starts an answer in a pooled buffer; send finishes it.
func (st *stream) encode() (encoder, *[]byte) {
	buf := st.srv.answers.Get(0)
	return encoder{b: *buf}, buf
}

func (st *stream) send(e encoder, buf *[]byte, body ...mem.Buffer) error {
	*buf = e.b
	bufs := make(mem.BufferSlice, 1, 1+len(body))
	bufs[0] = mem.NewBuffer(buf, &st.srv.answers)
	st.out.bufs = append(bufs, body...)
	return st.ss.SendMsg(&st.out)
}

// proceed answers a headers or body message with the change, which may be none.
func (st *stream) proceed(k kind, m *mutation) error {
	e, buf := st.encode()
	e.common(k, m)
	return st.send(e, buf)
}

// hold asks the proxy to wait longer for the answer to the message at hand.
func (st *stream) hold(d time.Duration) error {
	// Under full duplex the proxy waits without a timeout.
	if st.request.held || st.request.flow == flowDuplex || d <= 0 {
		return nil
	}
	st.request.held = true
	e, buf := st.encode()
	e.messageTimeout(d)
	return st.send(e, buf)
}

// reject answers the client with err and ends the stream.
func (st *stream) reject(err error) error {
	ctx := st.ss.Context()
	if ctxErr := ctx.Err(); ctxErr != nil {
		return status.FromContextError(ctxErr).Err()
	}
	r := &st.request
	f, internal := errorOf(err)
	if internal {
		st.srv.opts.Log.Error("request failed", "request_id", r.id, "error", err)
	}
	st.srv.opts.Metrics.Answered(f.status)
	headers := make([]Header, 0, 2+len(f.headers))
	headers = append(headers, Header{RequestIDHeader, r.id})
	code := noGRPCStatus
	if r.schema == grpcStatus {
		code = grpcCode(f.status)
	} else {
		headers = append(headers, Header{"content-type", "application/json"})
	}
	for _, h := range f.headers {
		if settable(h) {
			headers = append(headers, h)
		}
	}
	e, buf := st.encode()
	e.immediate(f.status, headers, f.body(r.schema, r.id), code, f.details())
	if err := st.send(e, buf); err != nil {
		return err
	}
	return errDone
}

// pool is the pool that the proxy's route names.
func pool(ctx context.Context) string {
	if v := metadata.ValueFromIncomingContext(ctx, PoolMetadata); len(v) > 0 {
		return v[0]
	}
	return ""
}
