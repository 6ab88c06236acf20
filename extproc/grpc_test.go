package extproc

import (
	"context"
	"encoding/binary"
	"io"
	"strings"
	"testing"

	modev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/fairway-ai/fairway/extproc/observe"
	"github.com/fairway-ai/fairway/extproc/scan"
)

const (
	vllmGenerate = "/vllm.grpc.engine.VllmEngine/Generate"
	vertexChat   = "/google.cloud.aiplatform.v1.PredictionService/ChatCompletions"
)

// field is a field with a length, number one that is a number.
func pbField(num int, content string) string {
	return string(protowire.AppendString(protowire.AppendTag(nil, protowire.Number(num), protowire.BytesType), content))
}

func pbNumber(num int, v uint64) string {
	return string(protowire.AppendVarint(protowire.AppendTag(nil, protowire.Number(num), protowire.VarintType), v))
}

func grpcFrame(message string) string {
	return string(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(message)))) + message
}

// grpcPost is a gRPC request's headers message.
func grpcPost(path string, request, response modev3.ProcessingMode_BodySendMode, kv ...string) *req {
	m := post(path, request, response)
	headers := m.GetRequestHeaders().Headers
	for _, h := range headers.Headers {
		if h.Key == "content-type" {
			h.RawValue = []byte("application/grpc")
		}
	}
	headers.Headers = append(headers.Headers, headerMap(kv...).Headers...)
	return m
}

func trailers(kv ...string) *req {
	return &req{Request: &extprocv3.ProcessingRequest_ResponseTrailers{ResponseTrailers: &extprocv3.HttpTrailers{Trailers: headerMap(kv...)}}}
}

// textRequest is a streaming request to vLLM of some length.
func textRequest() string {
	return grpcFrame(pbField(1, "id") + pbField(3, strings.Repeat("word ", 200)) + pbNumber(5, 1))
}

// TestCallPicked: a call is picked for by its message, and its answer is followed to the
// status in its trailers.
func TestCallPicked(t *testing.T) {
	chunk := grpcFrame(pbField(1, pbField(1, "\x07")+pbNumber(2, 200)+pbNumber(3, 1)+pbNumber(4, 64)))
	complete := grpcFrame(pbField(2, pbNumber(3, 200)+pbNumber(4, 1)+pbNumber(5, 64)))
	for _, mode := range []modev3.ProcessingMode_BodySendMode{buffered, duplex} {
		h := newHarness(t, Options{})
		o := newObserver(t)
		var body scan.Result
		h.picker.pick = func(_ context.Context, r *Request) (Pick, error) {
			body = r.Body
			body.Blocks = append(body.Blocks[:0:0], body.Blocks...)
			return Pick{Destinations: "10.0.0.1:8000,10.0.0.2:8000", Observer: o}, nil
		}
		response := streamed
		if mode == duplex {
			response = duplex
		}
		c := h.open()
		c.send(grpcPost(vllmGenerate, mode, response))
		if mode == buffered {
			c.recv()
		}
		request := textRequest()
		m := c.ask(reqBody(request, true))
		if mode == buffered {
			wantPick(t, m, m.GetRequestBody().GetResponse())
		} else {
			wantPick(t, m, m.GetRequestHeaders().GetResponse())
			if got := c.recv().GetRequestBody().GetResponse().GetBodyMutation().GetStreamedResponse(); string(got.GetBody()) != request || !got.GetEndOfStream() {
				t.Errorf("the request is not sent on as it is: %v", got)
			}
		}
		if body.API != scan.Generate || !body.GRPC || !body.Stream || body.PromptBytes != 1000 || len(body.Blocks) != 3 {
			t.Errorf("%v: the picker saw %+v", mode, body)
		}
		m = c.ask(respHeaders(":status", "200", "content-type", "application/grpc"))
		override := m.GetModeOverride()
		if wants := override.GetResponseTrailerMode() == modev3.ProcessingMode_SEND && override.GetResponseBodyMode() == streamed; wants != (mode == buffered) {
			t.Errorf("%v: trailers are asked for by %v", mode, override)
		}
		c.ask(respBody(chunk[:7], false))
		if o.first != 0 {
			t.Error("a token before its message ended")
		}
		c.ask(respBody(chunk[7:]+complete, false))
		c.ask(trailers("grpc-status", "0"))
		out := o.wait()
		want := observe.Usage{Known: true, PromptTokens: 200, CompletionTokens: 1, CachedTokens: 64}
		if o.first != 1 || o.tokens != 1 || out.Usage != want || out.Status != 200 || !out.Complete || !out.Streamed || out.Chunks != 1 {
			t.Errorf("%v: first token told %d times, tokens %d times, outcome %+v", mode, o.first, o.tokens, out)
		}
		c.finish()
	}
}

// TestCallOutcome: what a gRPC response says in its status is its outcome.
func TestCallOutcome(t *testing.T) {
	complete := grpcFrame(pbField(2, pbNumber(3, 2)+pbNumber(4, 1)))
	for name, test := range map[string]struct {
		path       string
		answer     []*req
		end        bool // half-close rather than trailers
		headers    int  // the status told with the headers
		status     int
		complete   bool
		usageKnown bool
	}{
		"ok":            {vllmGenerate, []*req{respHeaders(":status", "200", "content-type", "application/grpc"), respBody(complete, false), trailers("grpc-status", "0")}, false, 200, 200, true, true},
		"failed":        {vllmGenerate, []*req{respHeaders(":status", "200", "content-type", "application/grpc"), trailers("grpc-status", "8", "grpc-message", "no")}, false, 200, 429, true, false},
		"at once":       {vllmGenerate, []*req{ended(respHeaders(":status", "200", "content-type", "application/grpc", "grpc-status", "14"))}, false, 503, 503, true, false},
		"not ours":      {"/some.Other/Call", []*req{respHeaders(":status", "200", "content-type", "application/grpc"), respBody(complete, false), trailers("grpc-status", "2")}, false, 200, 500, true, false},
		"no trailers":   {vllmGenerate, []*req{respHeaders(":status", "200", "content-type", "application/grpc"), respBody(complete, false)}, true, 200, 200, true, true},
		"cut":           {vllmGenerate, []*req{respHeaders(":status", "200", "content-type", "application/grpc"), respBody(complete[:9], false)}, true, 200, 200, false, false},
		"no gRPC":       {vllmGenerate, []*req{respHeaders(":status", "502", "content-type", "text/plain"), respBody("sorry", true)}, false, 502, 502, true, false},
		"strange":       {vllmGenerate, []*req{respHeaders(":status", "200", "content-type", "application/grpc"), respBody(complete, false), trailers("grpc-status", "-1")}, false, 200, 200, true, true},
		"HTTP has none": {chat, []*req{respHeaders(":status", "200", "grpc-status", "14"), respBody("{}", false), trailers("grpc-status", "2")}, false, 200, 200, true, false},
	} {
		h := newHarness(t, Options{})
		o := newObserver(t)
		h.picker.pick = func(context.Context, *Request) (Pick, error) {
			return Pick{Destinations: "10.0.0.1:8000", Observer: o}, nil
		}
		c := h.open()
		if test.path == chat {
			c.ask(post(chat, buffered, streamed))
			c.ask(reqBody(chatBody, true))
		} else {
			c.ask(grpcPost(test.path, buffered, streamed))
			c.ask(reqBody(grpcFrame(pbField(3, "hi")), true))
		}
		for _, m := range test.answer {
			c.ask(m)
		}
		if test.end {
			c.finish()
		}
		out := o.wait()
		if o.status != test.headers || out.Status != test.status || out.Complete != test.complete || out.Usage.Known != test.usageKnown {
			t.Errorf("%s: status %d with the headers, then %+v", name, o.status, out)
		}
		if o.first != 0 && name == "failed" {
			t.Errorf("%s: a first token", name)
		}
	}
}

// TestCallRefused: a gRPC client is refused with a gRPC status, without a body.
func TestCallRefused(t *testing.T) {
	for name, test := range map[string]struct {
		path    string
		body    string
		err     error
		status  int
		code    codes.Code
		message string
	}{
		"busy":       {vllmGenerate, textRequest(), &Rejection{Status: 429, Code: "busy", Message: "try later", Headers: []Header{{"retry-after", "1"}}}, 429, codes.ResourceExhausted, "try later"},
		"nobody":     {vertexChat, grpcFrame(pbField(2, pbField(2, chatBody))), &Rejection{Status: 503, Message: "none"}, 503, codes.Unavailable, "none"},
		"unknown":    {vllmGenerate, textRequest(), io.ErrUnexpectedEOF, 500, codes.Internal, "internal error"},
		"other call": {"/some.Other/Call", "", &Rejection{Status: 404, Message: "no such model"}, 404, codes.NotFound, "no such model"},
		"malformed":  {vllmGenerate, grpcFrame("\xff"), nil, 400, codes.InvalidArgument, "invalid gRPC message at byte 6: a number ends early"},
		"JSON":       {vertexChat, grpcFrame(pbField(2, pbField(2, `{"model":1}`))), nil, 400, codes.InvalidArgument, `field "model": must be a string`},
		"compressed": {vllmGenerate, "\x01\x00\x00\x00\x01a", nil, 415, codes.Unimplemented, "invalid gRPC message at byte 5: it is compressed; send it uncompressed"},
		"large":      {vllmGenerate, grpcFrame(pbField(3, strings.Repeat("a", 3000))), nil, 413, codes.ResourceExhausted, "the request body is larger than the limit of 2000 bytes"},
	} {
		h := newHarness(t, Options{MaxBodyBytes: 2000})
		h.picker.pick = func(context.Context, *Request) (Pick, error) {
			return Pick{Destinations: "10.0.0.1:8000"}, test.err
		}
		c := h.open()
		m := c.ask(grpcPost(test.path, buffered, streamed))
		if test.body != "" {
			m = c.ask(reqBody(test.body, true))
		}
		i := m.GetImmediateResponse()
		headers := setHeaders(t, i.GetHeaders())
		if int(i.GetStatus().GetCode()) != test.status || i.GetGrpcStatus() == nil || codes.Code(i.GetGrpcStatus().GetStatus()) != test.code || string(i.GetBody()) != test.message {
			t.Errorf("%s: answered %v", name, m)
		}
		if headers["content-type"] != "" || headers[RequestIDHeader] == "" || test.status == 429 && headers["retry-after"] != "1" {
			t.Errorf("%s: headers %v", name, headers)
		}
	}
	// Over HTTP nothing of that.
	h := newHarness(t, Options{})
	h.picker.pick = func(context.Context, *Request) (Pick, error) { return Pick{}, &Rejection{Status: 429, Message: "no"} }
	c := h.open()
	c.ask(post(chat, buffered, streamed))
	if i := c.ask(reqBody(chatBody, true)).GetImmediateResponse(); i.GetGrpcStatus() != nil || setHeaders(t, i.GetHeaders())["content-type"] != "application/json" {
		t.Errorf("over HTTP: answered %v", i)
	}
}

// TestCallModelStays: a name in a message cannot be replaced, and the request is not sent
// with the wrong one.
func TestCallModelStays(t *testing.T) {
	for _, test := range []struct {
		path, body string
		refused    bool
	}{
		{vertexChat, grpcFrame(pbField(2, pbField(2, chatBody))), true},
		{vllmGenerate, textRequest(), false}, // it has none
	} {
		h := newHarness(t, Options{})
		h.picker.pick = func(context.Context, *Request) (Pick, error) {
			return Pick{Destinations: "10.0.0.1:8000", Model: "other"}, nil
		}
		c := h.open()
		c.ask(grpcPost(test.path, buffered, streamed))
		i := c.ask(reqBody(test.body, true)).GetImmediateResponse()
		if got := i.GetGrpcStatus().GetStatus() == uint32(codes.Unimplemented); got != test.refused {
			t.Errorf("%s: %v", test.path, i)
		}
	}
}

// TestCallUnread: a gRPC request that is none of the calls read, or is not protobuf, is
// picked for by its headers.
func TestCallUnread(t *testing.T) {
	for path, contentType := range map[string]string{
		"/vllm.grpc.engine.VllmEngine/HealthCheck": "application/grpc", vllmGenerate: "application/grpc+json", vertexChat: "application/json",
	} {
		h := newHarness(t, Options{})
		m := post(path, buffered, streamed)
		m.GetRequestHeaders().Headers.Headers[3].RawValue = []byte(contentType)
		answer := h.open().ask(m)
		wantPick(t, answer, answer.GetRequestHeaders().GetResponse())
		if q := h.picker.last(t); q.Body.API != scan.Other || q.Body.GRPC {
			t.Errorf("%s as %s: %+v", path, contentType, q.Body)
		}
	}
}

func TestGRPCStatuses(t *testing.T) {
	for status := 400; status < 600; status++ {
		c := codes.Code(grpcCode(status))
		if c == codes.OK || c > codes.Unauthenticated {
			t.Errorf("%d is %v", status, c)
		}
	}
	for c := codes.Canceled; c < 30; c++ {
		status := httpStatus(c)
		if status < 400 || status > 599 {
			t.Errorf("%v is %d", c, status)
		}
		if back := codes.Code(grpcCode(status)); status != 499 && back != c && httpStatus(back) != status {
			t.Errorf("%v is %d, which is %v", c, status, back)
		}
	}
}
