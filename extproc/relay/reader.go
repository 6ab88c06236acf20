package relay

import (
	"context"
	"errors"
	"io"
	"time"

	"google.golang.org/grpc"
)

// read takes the picker's answers until the stream ends.
func (x *exchange) read(stream grpc.ClientStream) {
	var m incoming
	defer m.free()
	for {
		if err := stream.RecvMsg(&m); err != nil {
			x.over(stream, err)
			return
		}
		err := x.accept(m.buf.ReadOnlyData())
		m.free()
		if err != nil {
			x.cancel(err)
			x.end(&invalidError{err})
			return
		}
		signal(x.news)
	}
}

// invalidError says why a picker's answer cannot be used.
type invalidError struct{ error }

func (e *invalidError) Unwrap() error { return e.error }

// end notes that the picker says no more.
func (x *exchange) end(err error) {
	if x.ctx.Err() != nil && !errors.As(err, new(*invalidError)) {
		if cause := context.Cause(x.ctx); cause != nil {
			err = cause
		}
	}
	x.mu.Lock()
	if !x.ended {
		x.ended, x.err = true, err
	}
	x.mu.Unlock()
	x.cancel(err)
	signal(x.news)
}

// accept takes one answer.
func (x *exchange) accept(b []byte) error {
	a, err := decode(b)
	if err != nil {
		return err
	}
	if !x.heardFrom() {
		x.client.breaker.success()
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.last = time.Now()
	if a.to == answersRequestBody {
		x.client.habit.answers()
	}
	switch x.stage {
	case stageRequest:
		before := x.verdict.extra()
		if err := x.verdict.answer(&a); err != nil {
			return err
		}
		return x.keep(x.verdict.extra() - before)
	case stageResponse:
		return x.acceptResponse(&a)
	}
	return nil
}

func (x *exchange) heardFrom() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	was := x.heard
	x.heard, x.head = true, nil
	return was
}

// keep counts n more bytes kept; x.mu is held.
func (x *exchange) keep(n int) error {
	if n <= 0 {
		return nil
	}
	if !x.client.hold(int64(n)) {
		return errOverload
	}
	x.held += int64(n)
	return nil
}

// unkeep counts nothing as kept any more; x.mu is held.
func (x *exchange) unkeep() {
	x.client.held.Add(-x.held)
	x.held = 0
}

var errOverload = errors.New("too many bytes are kept for it")

// acceptResponse takes an answer in the response phase; x.mu is held.
func (x *exchange) acceptResponse(a *answer) error {
	if a.mode != nil {
		x.verdict.mode = a.mode
	}
	switch a.to {
	case answersImmediately:
		x.said = a
		return nil
	case answersResponseHeaders:
		if x.headers {
			return nil
		}
		x.headers = true
		if a.replace && a.kind == bodyReplaced {
			if len(a.body) > x.reply.limit {
				return errors.New("a response body that is too long")
			}
			c := *a
			c.body = append([]byte(nil), a.body...)
			x.replaced = &c
		}
		return x.reply.changes.add(a)
	case answersResponseBody:
		before := len(x.reply.out)
		if err := x.reply.body(a); err != nil {
			return err
		}
		return x.keep(len(x.reply.out) - before)
	case answersResponseTrailers, 0:
		return x.reply.changes.add(&answer{metadata: a.metadata, typed: a.typed})
	}
	return nil
}

// reasonOf says for what reason a picker that ended with err is of no use.
func reasonOf(err error) Reason {
	switch {
	case errors.Is(err, errOverload):
		return ReasonOverload
	case errors.As(err, new(*invalidError)):
		return ReasonInvalid
	case err == io.EOF:
		return ReasonClosed
	}
	return ReasonUnavailable
}
