package epp

import (
	"bytes"
	"context"
	"fmt"
	"strings"

	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/protobuf/types/known/structpb"
)

// response is a model server's response as a gateway shows it to a picker.
type response struct {
	contentType string
	frames      []*extprocv3.HttpBody // none ends it with its headers
	trailers    bool
	served      string
}

func (r *response) body() []byte {
	var b []byte
	for _, f := range r.frames {
		b = append(b, f.Body...)
	}
	return b
}

func (r *response) String() string {
	what := "no body"
	if len(r.frames) > 0 {
		what = fmt.Sprintf("a body of %d bytes in %d messages", len(r.body()), len(r.frames))
	}
	if r.trailers {
		what += " and trailers"
	}
	if r.served != "" {
		what += ", served by " + r.served
	}
	return "response 200 " + r.contentType + " with " + what
}

func (r *response) head() *extprocv3.ProcessingRequest {
	m := &extprocv3.ProcessingRequest{Request: &extprocv3.ProcessingRequest_ResponseHeaders{
		ResponseHeaders: &extprocv3.HttpHeaders{Headers: headerMap(r.headerList()), EndOfStream: len(r.frames) == 0},
	}}
	if r.served != "" {
		m.MetadataContext = metadata(destinationNamespace, servedKey, structpb.NewStringValue(r.served))
	}
	return m
}

func (r *response) headerList() [][2]string {
	return [][2]string{{":status", "200"}, {"content-type", r.contentType}, {"x-conformance", "kept"}}
}

func (r *response) messages() []*extprocv3.ProcessingRequest {
	var out []*extprocv3.ProcessingRequest
	for _, f := range r.frames {
		out = append(out, bodyMessage(f))
	}
	if r.trailers {
		out = append(out, &extprocv3.ProcessingRequest{Request: &extprocv3.ProcessingRequest_ResponseTrailers{
			ResponseTrailers: &extprocv3.HttpTrailers{Trailers: headerMap([][2]string{{"x-conformance-trailer", "1"}})},
		}})
	}
	return out
}

func bodyMessage(f *extprocv3.HttpBody) *extprocv3.ProcessingRequest {
	return &extprocv3.ProcessingRequest{Request: &extprocv3.ProcessingRequest_ResponseBody{ResponseBody: f}}
}

func (s *session) jsonResponse(size, frame int, tail, end bool) response {
	head := fmt.Sprintf(`{"id":"x","object":"chat.completion","created":1,"model":%s,"choices":[{"index":0,"message":{"role":"assistant","content":"`, s.model())
	const foot = `"},"finish_reason":"stop"}],"usage":{"prompt_tokens":9,"completion_tokens":3,"total_tokens":12}}`
	var b strings.Builder
	b.WriteString(head)
	for n := 0; b.Len() < size-len(foot); n++ {
		fmt.Fprintf(&b, "word-%d ", n)
	}
	b.WriteString(foot)
	return response{contentType: "application/json", frames: split([]byte(b.String()), frame, tail, end)}
}

// events is a stream of server-sent events, one per message, but for one that is
// cut in the middle.
func (s *session) events(n int) response {
	r := response{contentType: "text/event-stream"}
	for i := range n {
		e := fmt.Sprintf("data: {\"id\":\"x\",\"object\":\"chat.completion.chunk\",\"model\":%s,\"choices\":[{\"index\":0,\"delta\":{\"content\":\"caf\\u00e9 %d\"}}]}\n\n", s.model(), i)
		if i == n/2 {
			r.frames = append(r.frames, &extprocv3.HttpBody{Body: []byte(e[:17])})
			e = e[17:]
		}
		r.frames = append(r.frames, &extprocv3.HttpBody{Body: []byte(e)})
	}
	r.frames = append(r.frames, &extprocv3.HttpBody{Body: []byte("data: [DONE]\n\n")}, &extprocv3.HttpBody{EndOfStream: true})
	return r
}

func responseCases() []Case {
	return []Case{
		{ID: "response/headers", Level: Must, Section: secExtProc,
			Clause: "response headers are answered, those of a response without a body too",
			run: func(ctx context.Context, s *session) error {
				r := response{contentType: "application/json"}
				x, t, ok, err := s.respond(ctx, r, responseHeadersDone)
				if err == nil && !ok {
					return x.fail(x.describe(&t), "an answer to the response headers")
				}
				return err
			}},
		{ID: "response/untouched", Level: Should, Section: secPractice,
			Clause: "status and headers that the picker does not know are left as they are",
			run: func(ctx context.Context, s *session) error {
				r := s.jsonResponse(300, 1<<20, false, true)
				x, t, ok, err := s.respond(ctx, r, responseHeadersDone)
				if err != nil {
					return err
				}
				if !ok {
					return x.fail(x.describe(&t), "an answer to the response headers")
				}
				return x.untouched(&t.responseHeaders[0], r.headerList(), func(string) bool { return true })
			}},
		{ID: "response/body", Level: Must, Section: secIntro,
			Clause: "a response body is sent on byte for byte, however it was cut",
			run:    responseBodies(300, 62000, 64<<10)},
		{ID: "response/1-MiB-and-1-byte", Level: Must, Section: secIntro,
			Clause: "a response body of 1048577 bytes is sent on byte for byte, however it was cut",
			run:    responseBodies(1<<20 + 1)},
		{ID: "response/events", Level: Must, Section: secIntro,
			Clause: "server-sent events are sent on byte for byte",
			run: func(ctx context.Context, s *session) error {
				return s.echoResponse(ctx, s.events(40))
			}},
		{ID: "response/streaming", Level: Must, Section: secIntro,
			Clause: "tokens reach the client in real time: each event is sent on before the next one comes",
			run:    stepwise},
		{ID: "response/end-of-stream", Level: Must, Section: secExtProc,
			Clause: "the last chunk of the response, and nothing after it, has `end_of_stream`, exactly once",
			run:    responseEndsOnce},
		{ID: "response/trailers", Level: Must, Section: secExtProc,
			Clause: "response trailers are answered after the whole body, which then has no `end_of_stream`",
			run:    responseTrailers},
		{ID: "response/served", Level: Must, Section: secServed,
			Clause: "metadata that names the endpoint that served, first choice or not, is accepted",
			run:    servedBy},
	}
}

// start sends a request, waits for its pick alone, so that what is judged of the
// response does not depend on the request's body, and sends the response headers.
func (s *session) start(ctx context.Context, r *response, served func(pick) string) (*stream, error) {
	q := s.chat(1 << 10)
	x, err := s.ask(ctx, q)
	if err != nil {
		return nil, err
	}
	p, err := pickOn(x)
	if err != nil {
		x.cancel()
		return nil, err
	}
	r.served = served(p)
	x.sent = q.String() + ", then " + r.String()
	x.send(r.head())
	return x, nil
}

// first is the endpoint that serves unless a case has it otherwise.
func first(p pick) string {
	if len(p.addresses) == 0 {
		return ""
	}
	return p.addresses[0].String()
}

func (s *session) respond(ctx context.Context, r response, done func(*transcript) bool) (*stream, transcript, bool, error) {
	x, err := s.start(ctx, &r, first)
	if err != nil {
		return nil, transcript{}, false, err
	}
	defer x.cancel()
	x.send(r.messages()...)
	t, ok := x.until(done)
	return x, t, ok, nil
}

// responseBodies makes a case of response bodies of so many bytes.
func responseBodies(sizes ...int) func(context.Context, *session) error {
	return func(ctx context.Context, s *session) error {
		for _, size := range sizes {
			for _, cut := range chunkings {
				if !cut.fits(size) {
					continue
				}
				if cut.frame == 0 {
					cut.frame = 1 << 20
				}
				if err := s.echoResponse(ctx, s.jsonResponse(size, cut.frame, cut.tail, true)); err != nil {
					return err
				}
			}
		}
		return nil
	}
}

func (s *session) echoResponse(ctx context.Context, r response) error {
	x, t, ok, err := s.respond(ctx, r, responseDone)
	if err != nil {
		return err
	}
	return x.checkResponse(&t, ok, r.body())
}

func (x *stream) checkResponse(t *transcript, ok bool, want []byte) error {
	if !ok || len(t.response.acks) > 0 || t.response.early {
		return x.fail(x.describe(t), fmt.Sprintf("an answer to the response headers, then all %d body bytes in streamed_response messages, the last one with end_of_stream", len(want)))
	}
	if !bytes.Equal(t.response.bytes, want) {
		return x.fail(differ(t.response.bytes, want), fmt.Sprintf("the same %d bytes", len(want)))
	}
	return nil
}

// eventEnd ends a server-sent event.
var eventEnd = []byte("\n\n")

func stepwise(ctx context.Context, s *session) error {
	r := s.events(10)
	x, err := s.start(ctx, &r, first)
	if err != nil {
		return err
	}
	defer x.cancel()
	sent := 0
	for i, f := range r.frames {
		x.send(bodyMessage(f))
		if n := bytes.Count(f.Body, eventEnd); n == 0 {
			continue // half an event may be kept
		} else {
			sent += n
		}
		t, ok := x.until(func(t *transcript) bool {
			return bytes.Count(t.response.bytes, eventEnd) >= sent || len(t.response.acks) > 0
		})
		if !ok || len(t.response.acks) > 0 {
			return x.fail(fmt.Sprintf("after message %d: %s", i+1, x.describe(&t)), fmt.Sprintf("the %d events sent until then, before the next one is sent", sent))
		}
	}
	return nil
}

func responseEndsOnce(ctx context.Context, s *session) error {
	for _, r := range []response{s.events(4), s.jsonResponse(130<<10, 16<<10, true, true), s.jsonResponse(130<<10, 1<<20, false, true)} {
		x, err := s.start(ctx, &r, first)
		if err != nil {
			return err
		}
		x.send(r.messages()...)
		t, ok := x.until(responseDone)
		if ok && len(t.response.acks) == 0 {
			t, _ = x.ended(linger)
		}
		x.cancel()
		if b := &t.response; len(b.acks) > 0 || b.ends != 1 || b.after > 0 {
			return x.fail(x.describe(&t), "one end of stream, in the last body message")
		}
	}
	return nil
}

func responseTrailers(ctx context.Context, s *session) error {
	r := s.jsonResponse(130<<10, 16<<10, false, false)
	r.trailers = true
	x, t, ok, err := s.respond(ctx, r, func(t *transcript) bool {
		return responseHeadersDone(t) && (t.response.trailers > 0 || len(t.response.acks) > 0)
	})
	if err != nil {
		return err
	}
	if b := &t.response; !ok || len(b.acks) > 0 || b.ends > 0 || b.trailers != 1 {
		return x.fail(x.describe(&t), "all body bytes in streamed_response messages without end_of_stream, then an answer to the trailers")
	}
	if !bytes.Equal(t.response.bytes, r.body()) {
		return x.fail(differ(t.response.bytes, r.body()), "the same bytes before the answer to the trailers")
	}
	return nil
}

func servedBy(ctx context.Context, s *session) error {
	last := func(p pick) string {
		if len(p.addresses) == 0 {
			return ""
		}
		return p.addresses[len(p.addresses)-1].String()
	}
	unknown := func(pick) string { return stranger.String() }
	for _, served := range []func(pick) string{first, last, unknown} {
		r := response{contentType: "application/json"}
		x, err := s.start(ctx, &r, served)
		if err != nil {
			return err
		}
		t, ok := x.until(responseHeadersDone)
		x.cancel()
		if !ok {
			return x.fail(x.describe(&t), "an answer to the response headers")
		}
	}
	return nil
}
