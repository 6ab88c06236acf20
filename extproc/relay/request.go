package relay

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"

	"github.com/fairway-ai/fairway/extproc"
)

// holdSlack is how much longer than the timeout Envoy is told to wait, so that the
// failure mode is ours to keep.
const holdSlack = time.Second

// RequestHeaders implements extproc.Exchange.
func (x *exchange) RequestHeaders(h extproc.Head) error {
	if x.refuse != "" {
		if x.pool.picker.FailOpen {
			return nil // and Decide counts it
		}
		x.asked = x.client.o.Now()
		_, err := x.fail(x.refuse, nil)
		return err
	}
	m := encodeHead(fieldRequestHeaders, &h, true)
	x.head = m.bufs[0]
	x.send(m)
	if h.End {
		x.mu.Lock()
		x.verdict.bodyless()
		x.mu.Unlock()
	}
	go x.run()
	return nil
}

// RequestBody implements extproc.Exchange.
func (x *exchange) RequestBody(part mem.BufferSlice, end bool) {
	if x.refuse != "" {
		part.Free()
		return
	}
	x.mu.Lock()
	err := x.keep(part.Len())
	x.mu.Unlock()
	if err != nil {
		x.end(err)
		part.Free()
		return
	}
	x.pass(fieldRequestBody, part, end, x.verdict.passed)
}

// Decide implements extproc.Exchange.
func (x *exchange) Decide(hold func(time.Duration) error) (extproc.Change, error) {
	x.asked = x.client.o.Now()
	if x.refuse != "" {
		return x.fail(x.refuse, nil)
	}
	began := time.Now()
	deadline := began.Add(x.pool.picker.Timeout)
	holdAt := began.Add(x.client.o.HoldAfter)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		now := time.Now()
		done, wait := x.look(now, began)
		switch {
		case done:
			return x.decided()
		case !now.Before(deadline):
			return x.fail(ReasonTimeout, nil)
		case hold != nil && !now.Before(holdAt):
			if err := hold(deadline.Sub(now) + holdSlack); err != nil {
				return extproc.Change{}, err
			}
			hold = nil
		}
		wait = min(wait, deadline.Sub(now))
		if hold != nil {
			wait = min(wait, holdAt.Sub(now))
		}
		timer.Reset(max(wait, time.Millisecond))
		select {
		case <-x.news:
		case <-timer.C:
		case <-x.envoy.Done():
			x.report(Canceled, "")
			return extproc.Change{}, context.Cause(x.envoy)
		}
	}
}

// look reports whether the picker is done, or after how long to look again if
// nothing comes.
func (x *exchange) look(now, began time.Time) (done bool, wait time.Duration) {
	x.mu.Lock()
	defer x.mu.Unlock()
	v := &x.verdict
	switch {
	case v.complete(), x.ended:
		return true, 0
	case x.heard && v.ended && v.headers && !v.picked() && (v.streamEnd || !v.streamed && v.answered >= v.sent):
		// All is answered, and no endpoint named: nothing more is to come.
	case !v.settled():
		return false, time.Hour
	case v.sent > 0 && v.answered == 0 && v.headers && !x.client.habit.expects():
		return true, 0
	}
	since := x.last
	if began.After(since) {
		since = began
	}
	if wait = since.Add(quiet).Sub(now); wait > 0 {
		return false, wait
	}
	if v.picked() && v.sent > 0 && v.answered == 0 && !v.streamed {
		x.client.habit.ignores()
	}
	return true, 0
}

// decided takes the verdict, as far as it came.
func (x *exchange) decided() (extproc.Change, error) {
	x.mu.Lock()
	v := &x.verdict
	if x.ended && !v.complete() && !(x.err == io.EOF && v.settled()) {
		err := x.err
		heard, conn := x.heard, x.conn
		x.mu.Unlock()
		if ctxErr := x.envoy.Err(); ctxErr != nil {
			x.report(Canceled, "")
			return extproc.Change{}, context.Cause(x.envoy)
		}
		r := reasonOf(err)
		if r == ReasonUnavailable && !heard {
			x.learn(err, conn)
		}
		return x.fail(r, err)
	}
	c, err := v.change()
	_, differ := v.changes.destinations()
	v.original.release()
	x.verdict = verdict{mode: v.mode}
	x.unkeep()
	if err == nil {
		x.stage = stageResponse
	}
	x.mu.Unlock()
	switch {
	case errors.Is(err, errNoPick):
		return x.fail(ReasonNoPick, nil)
	case err != nil:
		return x.fail(ReasonInvalid, err)
	case c.Immediate != nil:
		x.report(Immediate, "")
		return c, nil
	case differ:
		x.warn("differ", "an endpoint picker names other endpoints in its header than in its metadata; the header's are used", nil)
	}
	x.report(Picked, "")
	return c, nil
}

// learn draws conclusions about the picker from the error of a stream on which it
// said nothing else.
func (x *exchange) learn(err error, conn *grpc.ClientConn) {
	x.probe = false
	switch {
	case noPicker(err):
		x.client.breaker.failure()
		if conn != nil {
			x.client.misled(conn)
		}
	case status.Code(err) == codes.Unavailable: // the connection, or a picker that says so of itself
		x.client.breaker.failure()
	default:
		// It refuses this request, as some pickers do that have no endpoint for it.
		x.client.breaker.success()
	}
}

// noPicker reports whether an error shows that the server is no picker: it does not
// know the service, or does not speak gRPC, which gRPC has no code for.
func noPicker(err error) bool {
	text := status.Convert(err).Message()
	return status.Code(err) == codes.Unimplemented ||
		strings.Contains(text, "unexpected HTTP status code") || strings.Contains(text, "malformed header")
}

// fail ends the exchange without a verdict, by the pool's failure mode.
func (x *exchange) fail(r Reason, err error) (extproc.Change, error) {
	x.leave(r)
	o := FailedClosed
	if x.pool.picker.FailOpen {
		o = FailedOpen
	}
	x.report(o, r)
	text := "an endpoint picker gave no usable answer, and requests are refused: check that it runs, and its address, TLS and timeout"
	if o == FailedOpen {
		text = "an endpoint picker gave no usable answer, and requests go on without a pick: check that it runs, and its address, TLS and timeout"
	}
	x.warn(string(r), text, err)
	if o == FailedOpen {
		return extproc.Change{}, nil
	}
	return extproc.Change{}, &extproc.Rejection{
		Status: http.StatusServiceUnavailable, Code: "picker_unavailable",
		Message: "no endpoint could be picked for this request, try again later",
	}
}

// leave stops listening to the picker.
func (x *exchange) leave(r Reason) {
	if !x.placed {
		return
	}
	x.mu.Lock()
	x.stage = stageLeft
	x.closing = true
	heard := x.heard
	x.verdict.original.release()
	x.reply.release()
	x.verdict, x.reply, x.head = verdict{}, reply{}, nil
	x.unkeep()
	x.mu.Unlock()
	if r == ReasonTimeout && !heard {
		// Not even a part of an answer in all that time.
		x.client.breaker.failure()
		x.probe = false
	}
	if x.probe {
		x.client.breaker.abandon()
		x.probe = false
	}
	x.cancel(context.Canceled)
}

func (x *exchange) report(o Outcome, r Reason) {
	x.client.o.Metrics.Consulted(x.pool.name, x.client.address, o, r, x.client.o.Now().Sub(x.asked))
}

// warn logs what an operator should know, not too often.
func (x *exchange) warn(subject, text string, err error) {
	skipped, ok := x.client.logs.allow(x.pool.name + " " + subject)
	if !ok {
		return
	}
	args := []any{"pool", x.pool.name, "picker", x.client.address, "reason", subject}
	if err != nil {
		args = append(args, "error", describe(err))
	}
	if skipped > 0 {
		args = append(args, "not_logged", skipped)
	}
	x.client.o.Log.Warn(text, args...)
}

// describe is an error's text, which may be the picker's own, clipped.
func describe(err error) string {
	text := err.Error()
	if s, ok := status.FromError(err); ok && s.Code() != codes.OK && s.Code() != codes.Unknown {
		text = s.Code().String() + ": " + s.Message()
	}
	const most = 300
	if len(text) > most {
		text = text[:most]
	}
	return text
}
