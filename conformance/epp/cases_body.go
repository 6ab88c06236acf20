package epp

import (
	"bytes"
	"context"
	"fmt"
)

// maxChunk is the largest body chunk that Envoy takes in one message, in bytes.
const maxChunk = 64 << 10

// chunking is how a body is cut into messages: of so many bytes, 1 MiB when 0,
// and an empty one that ends it when tail is set.
type chunking struct {
	frame int
	tail  bool
}

var chunkings = [...]chunking{{0, false}, {16 << 10, true}, {62000, false}, {977, true}}

// fits reports whether a body of size bytes is worth so many messages.
func (c chunking) fits(size int) bool { return c.frame != 977 || size <= 256<<10 }

func bodyCases() []Case {
	cases := []Case{
		opaqueCase("body/0-bytes", ""),
		opaqueCase("body/1-byte", "7"),
	}
	for _, c := range []struct {
		name  string
		size  int
		level Level
	}{
		{"1-KiB", 1 << 10, Must},
		{"62000-bytes", 62000, Must},
		{"64-KiB", 64 << 10, Must},
		{"1-MiB-and-1-byte", 1<<20 + 1, Must},
		{"10-MiB", 10 << 20, Should},
	} {
		cases = append(cases, Case{ID: "body/" + c.name, Level: c.level, Section: secIntro,
			Clause: fmt.Sprintf("a FULL_DUPLEX_STREAMED body of %d bytes is sent on whole and in order, however it was cut (bytes or equal JSON)", c.size),
			run: func(ctx context.Context, s *session) error {
				for _, cut := range chunkings {
					if !cut.fits(c.size) {
						continue
					}
					r := s.chat(c.size)
					r.frame, r.tail = cut.frame, cut.tail
					if err := s.echo(ctx, r, sameBody); err != nil {
						return err
					}
				}
				return nil
			}})
	}
	return append(cases,
		Case{ID: "body/verbatim", Level: Should, Section: secPractice,
			Clause: "the body is sent on byte for byte: encoding it again loses what the encoder does not know",
			run: func(ctx context.Context, s *session) error {
				r := s.chat(4 << 10)
				r.frame = 1 << 10
				return s.echo(ctx, r, bytes.Equal)
			}},
		Case{ID: "body/end-of-stream", Level: Must, Section: secExtProc,
			Clause: "the last chunk, and nothing after it, has `end_of_stream`, exactly once",
			run:    endsOnce},
		Case{ID: "body/after-headers", Level: Must, Section: secExtProc,
			Clause: "the request headers are answered, once, before any of the body is; they may wait for all of it",
			run:    afterHeaders},
		Case{ID: "body/chunk-size", Level: Should, Section: secPractice,
			Clause: "no chunk is longer than 64 KiB, the most Envoy takes",
			run: func(ctx context.Context, s *session) error {
				r := s.chat(1 << 20)
				x, t, err := s.sentOn(ctx, r)
				if err == nil && t.request.largest > maxChunk {
					return x.fail(fmt.Sprintf("a chunk of %d bytes", t.request.largest), fmt.Sprintf("chunks of at most %d bytes", maxChunk))
				}
				return err
			}},
		Case{ID: "body/trailers", Level: Must, Section: secExtProc,
			Clause: "request trailers are answered after the whole body, which then has no `end_of_stream`",
			run:    requestTrailers},
	)
}

// opaqueCase sends a body that is no JSON request.
func opaqueCase(id, body string) Case {
	return Case{ID: id, Level: Must, Section: secIntro,
		Clause: fmt.Sprintf("a FULL_DUPLEX_STREAMED body of %d bytes is sent on, or refused with a 4xx", len(body)),
		run: func(ctx context.Context, s *session) error {
			for _, tail := range []bool{false, len(body) > 0} {
				r := request{id: s.nextID(), method: "POST", path: opaquePath, body: []byte(body), tail: tail}
				x, err := s.ask(ctx, r)
				if err != nil {
					return err
				}
				t, _ := x.until(requestDone)
				x.cancel()
				if c := t.immediate.GetStatus().GetCode(); c >= 400 && c < 500 {
					return skipped(fmt.Sprintf("the picker refuses bodies that are no JSON requests with %d", c))
				}
				if err := x.checkEcho(&t, r.body, bytes.Equal); err != nil {
					return err
				}
			}
			return nil
		}}
}

// sentOn sends r and waits until all of it was sent on.
func (s *session) sentOn(ctx context.Context, r request) (*stream, transcript, error) {
	x, err := s.ask(ctx, r)
	if err != nil {
		return nil, transcript{}, err
	}
	defer x.cancel()
	t, ok := x.until(requestDone)
	if !ok || len(t.request.acks) > 0 {
		return x, t, x.fail(x.describe(&t), wantEcho(len(r.body)))
	}
	return x, t, nil
}

func wantEcho(n int) string {
	return fmt.Sprintf("a headers answer, then all %d body bytes in streamed_response messages, the last one with end_of_stream", n)
}

// echo sends r and checks that its body is sent on.
func (s *session) echo(ctx context.Context, r request, same func(got, want []byte) bool) error {
	x, t, err := s.sentOn(ctx, r)
	if err != nil {
		return err
	}
	return x.checkEcho(&t, r.body, same)
}

func (x *stream) checkEcho(t *transcript, want []byte, same func(got, want []byte) bool) error {
	if !requestDone(t) || len(t.request.acks) > 0 {
		return x.fail(x.describe(t), wantEcho(len(want)))
	}
	if !same(t.request.bytes, want) {
		return x.fail(differ(t.request.bytes, want), fmt.Sprintf("the same %d bytes", len(want)))
	}
	return nil
}

func endsOnce(ctx context.Context, s *session) error {
	for i, size := range []int{1 << 10, 130 << 10} {
		// One cut each way of a small body, the others of a long one.
		for _, cut := range chunkings[2*i : 2*i+2] {
			r := s.chat(size)
			r.frame, r.tail = cut.frame, cut.tail
			x, err := s.ask(ctx, r)
			if err != nil {
				return err
			}
			t, ok := x.until(requestDone)
			if ok && len(t.request.acks) == 0 {
				// What else comes shows when the stream is ended.
				t, _ = x.ended(linger)
			}
			x.cancel()
			if len(t.request.acks) > 0 || t.request.ends != 1 || t.request.after > 0 {
				got := x.describe(&t)
				if t.request.after > 0 {
					got += fmt.Sprintf(", %d messages of them after the first end", t.request.after)
				}
				return x.fail(got, "one end of stream, in the last body message")
			}
		}
	}
	return nil
}

func afterHeaders(ctx context.Context, s *session) error {
	for _, cut := range chunkings[:2] {
		r := s.chat(130 << 10)
		r.frame, r.tail = cut.frame, cut.tail
		x, err := s.ask(ctx, r)
		if err != nil {
			return err
		}
		t, ok := x.until(func(t *transcript) bool { return t.request.early || requestDone(t) })
		if !ok && !picked(&t) {
			x.cancel()
			return x.fail(x.describe(&t), "an answer to the request headers")
		}
		if ok {
			t, _ = x.ended(linger)
		}
		x.cancel()
		if t.request.early {
			return x.fail("a body answer before the headers answer", "the headers answer first")
		}
		if n := len(t.requestHeaders); n > 1 {
			return x.fail(fmt.Sprintf("%d headers answers", n), "one headers answer")
		}
	}
	return nil
}

func requestTrailers(ctx context.Context, s *session) error {
	r := s.chat(130 << 10)
	r.frame, r.trailers = 16<<10, true
	x, err := s.ask(ctx, r)
	if err != nil {
		return err
	}
	defer x.cancel()
	t, ok := x.until(func(t *transcript) bool {
		return picked(t) && (t.request.trailers > 0 || len(t.request.acks) > 0)
	})
	want := fmt.Sprintf("a headers answer, all %d body bytes in streamed_response messages without end_of_stream, then an answer to the trailers", len(r.body))
	if !ok || len(t.request.acks) > 0 || t.request.ends > 0 || t.request.trailers != 1 {
		return x.fail(x.describe(&t), want)
	}
	if !sameBody(t.request.bytes, r.body) {
		return x.fail(differ(t.request.bytes, r.body), "the same bytes before the answer to the trailers")
	}
	return nil
}
