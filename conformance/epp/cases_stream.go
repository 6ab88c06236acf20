package epp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"golang.org/x/sync/errgroup"
)

func streamCases() []Case {
	return []Case{
		{ID: "error/malformed-json", Level: Should, Section: secPractice,
			Clause: "a body that is no JSON is answered by an ImmediateResponse with a 4xx status, not by a gRPC error",
			run: func(ctx context.Context, s *session) error {
				r := s.chat(200)
				r.body = r.body[:len(r.body)/2]
				x, err := s.ask(ctx, r)
				if err != nil {
					return err
				}
				defer x.cancel()
				x.sent += ", JSON that was cut"
				t, _ := x.until(picked)
				if c := t.immediate.GetStatus().GetCode(); c < 400 || c > 499 {
					return x.fail(x.describe(&t), "an ImmediateResponse with a 4xx status")
				}
				return nil
			}},
		{ID: "stream/ends", Level: Should, Section: secExtProc,
			Clause: "when the gateway half-closes after the response, the stream ends with gRPC status OK",
			run:    endsWell},
		{ID: "stream/half-close", Level: Should, Section: secExtProc,
			Clause: "when the gateway half-closes early, the stream ends, and others are served",
			run:    halfClosed},
		{ID: "stream/concurrent", Level: Must, Section: secExtProc,
			Clause: "streams are independent: each of many at once gets its own request and response back",
			run:    concurrent},
		{ID: "mode/buffered", Level: May, Section: secExtProc,
			Clause: "a gateway whose `protocol_config` says BUFFERED gets the pick without the body being sent back",
			run:    bufferedMode},
		// Last: it may leave a picker that serves nobody.
		{ID: "stream/cancel", Level: Must, Section: secExtProc,
			Clause: "when clients go away at any moment, others are served",
			run:    cancelled},
	}
}

// whole sends a request and its response, checks that both come back, and ends the
// stream.
func (s *session) whole(ctx context.Context, q request, r response) error {
	x, err := s.ask(ctx, q)
	if err != nil {
		return err
	}
	defer x.cancel()
	t, _ := x.until(requestDone)
	if err := x.checkEcho(&t, q.body, sameBody); err != nil {
		return err
	}
	p := pickOf(t.requestHeaders[0])
	r.served = first(p)
	x.sent += ", then " + r.String()
	x.send(r.head())
	x.send(r.messages()...)
	t, ok := x.until(responseDone)
	if err := x.checkResponse(&t, ok, r.body()); err != nil {
		return err
	}
	x.ended(linger)
	return nil
}

func endsWell(ctx context.Context, s *session) error {
	x, err := s.start(ctx, &response{contentType: "application/json"}, first)
	if err != nil {
		return err
	}
	defer x.cancel()
	if t, ok := x.until(responseHeadersDone); !ok {
		return x.fail(x.describe(&t), "an answer to the response headers")
	}
	t, _ := x.ended(x.timeout)
	if !errors.Is(t.end, io.EOF) {
		x.sent += ", then the end of the gateway's side"
		return x.fail(x.describe(&t), "the end of the stream with gRPC status OK")
	}
	return nil
}

func halfClosed(ctx context.Context, s *session) error {
	full := s.chat(8 << 10)
	full.frame = 1 << 10
	messages := full.messages()
	for _, n := range []int{0, 1, len(messages) / 2, len(messages)} {
		x, err := s.open(ctx, fmt.Sprintf("the first %d of %d messages of a %s, then the end of the gateway's side", n, len(messages), &full))
		if err != nil {
			return err
		}
		x.send(messages[:n]...)
		t, ok := x.ended(x.timeout)
		x.cancel()
		if !ok {
			return x.fail(x.describe(&t), "the end of the stream, with whatever status")
		}
	}
	_, _, err := s.pick(ctx, s.chat(1<<10))
	return err
}

const (
	// cancellations is how many streams are cancelled at each moment.
	cancellations = 10
	// reach is how long what was sent may take to arrive before it is cancelled.
	reach = 5 * time.Millisecond
)

func cancelled(ctx context.Context, s *session) error {
	full := s.chat(64 << 10)
	full.frame = 8 << 10
	messages := full.messages()
	for range cancellations {
		for _, n := range []int{1, len(messages) / 2, len(messages)} {
			x, err := s.open(ctx, full.String())
			if err != nil {
				return err
			}
			x.send(messages[:n]...)
			// Long enough for it to be received, not for the rest of it to come.
			x.pause(reach)
			x.cancel()
		}
		r := s.events(4)
		x, err := s.start(ctx, &r, first)
		if err != nil {
			return err
		}
		x.send(r.messages()[:2]...)
		x.cancel()
	}
	x, _, err := s.pick(ctx, s.chat(1<<10))
	var f *Failure
	if errors.As(err, &f) && x != nil {
		f.Sent += fmt.Sprintf(", after %d streams were cancelled", 4*cancellations)
	}
	return err
}

func concurrent(ctx context.Context, s *session) error {
	var group errgroup.Group
	for i := range s.o.Streams {
		group.Go(func() error {
			q := s.chat(3000 + 37*i)
			q.frame = 1000
			r := s.events(3)
			// Every response is unlike the others, too.
			r.frames[0].Body = []byte("data: {\"id\":\"" + q.id + "\"}\n\n")
			return s.whole(ctx, q, r)
		})
	}
	err := group.Wait()
	var f *Failure
	if errors.As(err, &f) {
		f.Sent += fmt.Sprintf(", one of %d streams at once", s.o.Streams)
	}
	return err
}

func bufferedMode(ctx context.Context, s *session) error {
	r := s.chat(100 << 10)
	r.buffered = true
	messages := r.messages()
	x, err := s.open(ctx, r.String())
	if err != nil {
		return err
	}
	defer x.cancel()
	// In this mode every message is answered before the next one is sent.
	x.send(messages[0])
	t, ok := x.until(picked)
	if !ok {
		return x.fail(x.describe(&t), "an answer to the headers before the body is sent")
	}
	x.send(messages[1:]...)
	t, ok = x.until(func(t *transcript) bool { return len(t.request.acks) > 0 || t.request.ends > 0 })
	if !ok || len(t.request.acks) == 0 {
		return x.fail(x.describe(&t), "one answer to the body, without streamed_response")
	}
	a := t.request.acks[0]
	if m := a.common.GetBodyMutation(); m != nil && !sameBody(m.GetBody(), r.body) {
		return x.fail("a body mutation that changes the body", "the body left as it is")
	}
	for _, a := range []answer{t.requestHeaders[0], a} {
		if p := pickOf(a); len(p.addresses) > 0 {
			return nil
		}
	}
	return x.fail(x.describe(&t), "a pick in the answer to the headers or to the body")
}
