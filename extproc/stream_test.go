package extproc

import (
	"context"
	"errors"
	"testing"
	"time"

	modev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/fairway-ai/fairway/extproc/scan"
)

const chat = "/v1/chat/completions"

// observed makes the picker hand out an observer.
func (h *harness) observed() *fakeObserver {
	o := newObserver(h.t)
	h.picker.pick = func(context.Context, *Request) (Pick, error) {
		return Pick{
			Destinations:    "10.0.0.1:8000,10.0.0.2:8000",
			ResponseHeaders: []Header{{"x-picked", "yes"}},
			Observer:        o,
		}, nil
	}
	return o
}

func TestBuffered(t *testing.T) {
	h := newHarness(t, Options{})
	o := h.observed()
	o.set = []Header{{"x-served-by", "pod"}}
	c := h.open(PoolMetadata, "ns/pool")
	wantEmpty(t, c.ask(post(chat, buffered, streamed, "x-request-id", "abc")), "request_headers:{}")
	m := c.ask(reqBody(chatBody, true))
	wantPick(t, m, m.GetRequestBody().GetResponse())
	got := h.picker.last(t)
	if got.ID != "abc" || got.Method != "POST" || got.Path != chat || got.Authority != "example.com" || got.Pool != "ns/pool" ||
		got.HasSubset || got.BodyBytes != int64(len(chatBody)) || got.Received.IsZero() {
		t.Errorf("request %+v", got)
	}
	if got.Body.API != scan.ChatCompletions || got.Body.Model != "llama" || !got.Body.Stream || got.Body.PromptBytes == 0 {
		t.Errorf("body %+v", got.Body)
	}
	if o.ends != 0 {
		t.Error("End before the response")
	}

	m = c.ask(withMetadata(t, respHeaders(":status", "200", "content-type", "Text/Event-Stream; charset=utf-8"), metadataNamespace, servedKey, "10.0.0.2:8000"))
	set := setHeaders(t, m.GetResponseHeaders().GetResponse().GetHeaderMutation())
	if set["x-served-by"] != "pod" || set["x-picked"] != "yes" || set["x-request-id"] != "abc" || len(set) != 3 {
		t.Errorf("response headers %v", set)
	}
	if m.GetModeOverride() != nil {
		t.Error("mode_override although the response is observed")
	}
	event := "data: {\"choices\":[{\"delta\":{\"content\":\"x\"}}]}\n\n"
	usage := "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":2,\"prompt_tokens_details\":{\"cached_tokens\":3}}}\n\ndata: [DONE]\n\n"
	wantEmpty(t, c.ask(respBody(event, false)), "response_body:{}")
	wantEmpty(t, c.ask(respBody(event, false)), "response_body:{}")
	wantEmpty(t, c.ask(respBody(usage, true)), "response_body:{}")
	out := o.wait()
	c.finish()
	if o.status != 200 || o.served != "10.0.0.2:8000" || o.first != 1 || o.tokens != 2 {
		t.Errorf("observer saw status %d, served %q, %d first tokens, %d parts with tokens", o.status, o.served, o.first, o.tokens)
	}
	if out.Processing <= 0 {
		t.Error("the response took no time")
	}
	if !out.Complete || out.Status != 200 || !out.Streamed || out.Chunks != 2 || out.ResponseBytes != int64(2*len(event)+len(usage)) {
		t.Errorf("outcome %+v", out)
	}
	if u := out.Usage; !u.Known || u.PromptTokens != 7 || u.CompletionTokens != 2 || u.CachedTokens != 3 {
		t.Errorf("usage %+v", u)
	}
}

func TestNotStreamedResponse(t *testing.T) {
	for _, kv := range [][]string{
		{":status", "200", "content-type", "application/json"},
		// What cannot be read is counted all the same.
		{":status", "200", "content-type", "application/json", "content-encoding", "gzip"},
	} {
		h := newHarness(t, Options{})
		o := h.observed()
		c := h.open()
		c.ask(post(chat, buffered, streamed))
		c.ask(reqBody(chatBody, true))
		c.ask(respHeaders(kv...))
		c.ask(respBody("", false))
		if o.first != 0 {
			t.Error("first token without a byte")
		}
		c.ask(respBody(`{"usage":{"prompt_tokens":1,`, false))
		c.ask(respBody(`"completion_tokens":2}}`, false))
		c.ask(respTrailers())
		out := o.wait()
		if o.first != 1 || o.tokens != 0 || out.Processing <= 0 || out.Streamed || out.Chunks != 0 || !out.Complete || out.Usage.Known != (len(kv) == 4) {
			t.Errorf("%v: %d first tokens, outcome %+v", kv, o.first, out)
		}
		c.finish()
	}
}

// TestRequestModes has one answer per message, the pick among them, whatever the
// request's body mode.
func TestRequestModes(t *testing.T) {
	ahead := post(chat, streamed, none)
	ahead.ProtocolConfig.SendBodyWithoutWaitingForHeaderResponse = true
	unknown := post(chat, none, none)
	unknown.ProtocolConfig = nil
	upgrade := post(chat, buffered, streamed, "upgrade", "websocket", "connection", "Upgrade")
	upgrade.GetRequestHeaders().Headers.Headers[0].RawValue = []byte("GET")
	half := len(chatBody) / 2
	one, two := reqBody(chatBody[:half], false), reqBody(chatBody[half:], true)
	tail := reqBody(chatBody[half:], false)
	for name, c := range map[string]struct {
		send []*req
		want []string // kinds of the answers, with + where the pick is
	}{
		"buffered":                {[]*req{post(chat, buffered, streamed), reqBody(chatBody, true)}, []string{"headers", "body+"}},
		"buffered, trailers":      {[]*req{post(chat, buffered, streamed), reqBody(chatBody, false), reqTrailers()}, []string{"headers", "body+", "trailers"}},
		"partial, whole":          {[]*req{post(chat, partial, streamed), reqBody(chatBody, true)}, []string{"headers", "body+"}},
		"partial, cut":            {[]*req{post(chat, partial, streamed), one}, []string{"headers", "body+"}},
		"streamed":                {[]*req{post(chat, streamed, streamed), one, two}, []string{"headers", "body", "body+"}},
		"streamed, trailers":      {[]*req{post(chat, streamed, streamed), one, tail, reqTrailers()}, []string{"headers", "body", "body", "trailers+"}},
		"ahead":                   {[]*req{ahead, one, two}, []string{"headers+", "body", "body"}},
		"ahead, trailers":         {[]*req{ahead, one, tail, reqTrailers()}, []string{"headers+", "body", "body", "trailers"}},
		"unknown":                 {[]*req{unknown, one, two}, []string{"headers", "body", "body+"}},
		"unknown, whole":          {[]*req{unknown, reqBody(chatBody, true)}, []string{"headers", "body+"}},
		"none":                    {[]*req{post(chat, none, none)}, []string{"headers+"}},
		"no body":                 {[]*req{ended(post("/v1/models", buffered, streamed))}, []string{"headers+"}},
		"no body, AI API":         {[]*req{ended(post(chat, buffered, streamed))}, []string{"headers+"}},
		"no body, duplex":         {[]*req{ended(post("/v1/models", duplex, duplex))}, []string{"headers+"}},
		"no AI API":               {[]*req{post("/upload", buffered, streamed), reqBody("{", true)}, []string{"headers+", "body"}},
		"no AI API, duplex":       {[]*req{post("/upload", duplex, duplex), reqBody("{", false), reqBody("", true)}, []string{"headers+", "body", "body"}},
		"no AI API, no body":      {[]*req{post("/upload", duplex, duplex), reqTrailers()}, []string{"headers+", "trailers"}},
		"upgrade":                 {[]*req{upgrade, reqBody("\x81\x05hello", false)}, []string{"headers+", "body"}},
		"duplex":                  {[]*req{post(chat, duplex, duplex), one, two}, []string{"headers+", "body"}},
		"duplex, trailers":        {[]*req{post(chat, duplex, duplex), one, tail, reqTrailers()}, []string{"headers+", "body", "trailers"}},
		"duplex, empty last body": {[]*req{post(chat, duplex, duplex), reqBody(chatBody, false), reqBody("", true)}, []string{"headers+", "body"}},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t, Options{})
			s := h.open()
			for _, m := range c.send {
				// The messages are shared between cases, and sending does not change them.
				s.send(m)
			}
			for i, want := range c.want {
				m := s.recv()
				var got string
				var common *extprocv3.CommonResponse
				switch r := m.Response.(type) {
				case *extprocv3.ProcessingResponse_RequestHeaders:
					got, common = "headers", r.RequestHeaders.GetResponse()
				case *extprocv3.ProcessingResponse_RequestBody:
					got, common = "body", r.RequestBody.GetResponse()
				case *extprocv3.ProcessingResponse_RequestTrailers:
					got = "trailers"
				default:
					t.Fatalf("answer %d is %v", i, m)
				}
				if m.GetDynamicMetadata() != nil {
					if common != nil {
						wantPick(t, m, common)
					}
					got += "+"
				} else if common.GetHeaderMutation() != nil {
					t.Errorf("answer %d changes headers: %v", i, m)
				}
				if got != want {
					t.Fatalf("answer %d is %s, want %s", i, got, want)
				}
			}
			s.finish()
			if n := h.picker.calls(); n != 1 {
				t.Errorf("picked %d times", n)
			}
			got := h.picker.last(t)
			if scanned := name != "partial, cut" && got.Body.API == scan.ChatCompletions; scanned && got.Body.Model != "llama" {
				t.Errorf("body %+v", got.Body)
			}
		})
	}
}

func TestHeaders(t *testing.T) {
	h := newHarness(t, Options{})
	h.picker.pick = func(_ context.Context, r *Request) (Pick, error) {
		if r.Header("x-gateway-inference-objective") != "batch" || r.Header("traceparent") != "00-1-2-03" || r.Header("absent") != "" {
			t.Errorf("headers are not readable")
		}
		return Pick{
			Destinations: "10.0.0.1:8000",
			SetHeaders: []Header{
				{"x-prefiller-host-port", "10.0.0.9:1"}, {"x-new", "1"},
				{":path", "/evil"}, {"content-length", "3"}, {"x-bad", "a\r\nb: c"},
			},
			RemoveHeaders: []string{"authorization", "x-new", ":authority", "x-fairway-a"},
		}, nil
	}
	c := h.open()
	m := c.ask(ended(post("/v1/models", buffered, streamed,
		"traceparent", "00-1-2-03", "authorization", "secret", "x-other", "kept",
		"x-gateway-destination-endpoint", "6.6.6.6:1", "x-gateway-destination-endpoint-subset", "6.6.6.6:1",
		"x-prefiller-host-port", "6.6.6.6:1", "x-encoder-hosts-ports", "6.6.6.6:1", "x-data-parallel-host-port", "6.6.6.6:1", "x-data-parallel-rank", "3",
		"x-llm-d-prefiller-host-port", "6.6.6.6:1", "x-llm-d-encoder-hosts-ports", "6.6.6.6:1",
		"x-kv-cache-source-host-port", "6.6.6.6:1", "x-llm-d-kv-cache-source-host-port", "6.6.6.6:1",
		"x-fairway-a", "1", "x-fairway-b", "1", "x-fairway-b", "2",
		"x-gateway-inference-objective", "batch", "x-gateway-inference-fairness-id", "f",
		"x-llm-d-inference-objective", "o", "x-llm-d-inference-fairness-id", "f",
		"x-gateway-model-name-rewrite", "m", "x-llm-d-model-name-rewrite", "m",
		"x-slo-ttft-ms", "1", "x-slo-tpot-ms", "1", "x-llm-d-slo-ttft-ms", "1", "x-llm-d-slo-tpot-ms", "1")))
	mutation := m.GetRequestHeaders().GetResponse().GetHeaderMutation()
	set := setHeaders(t, mutation)
	for k, v := range map[string]string{
		"x-request-id": "generated-id", DestinationHeader: "10.0.0.1:8000", "x-prefiller-host-port": "10.0.0.9:1", "x-new": "1",
	} {
		if set[k] != v {
			t.Errorf("%s is set to %q, want %q", k, set[k], v)
		}
	}
	if len(set) != 4 {
		t.Errorf("headers set: %v", set)
	}
	removed := map[string]int{}
	for _, k := range mutation.GetRemoveHeaders() {
		removed[k]++
	}
	for _, k := range []string{
		"authorization", "x-gateway-destination-endpoint-subset", "x-encoder-hosts-ports", "x-data-parallel-host-port", "x-data-parallel-rank",
		"x-llm-d-prefiller-host-port", "x-llm-d-encoder-hosts-ports", "x-kv-cache-source-host-port", "x-llm-d-kv-cache-source-host-port",
		"x-fairway-a", "x-fairway-b", "x-gateway-inference-objective", "x-gateway-inference-fairness-id",
		"x-llm-d-inference-objective", "x-llm-d-inference-fairness-id", "x-gateway-model-name-rewrite", "x-llm-d-model-name-rewrite",
		"x-slo-ttft-ms", "x-slo-tpot-ms", "x-llm-d-slo-ttft-ms", "x-llm-d-slo-tpot-ms",
	} {
		if removed[k] != 1 {
			t.Errorf("%s is removed %d times, want once", k, removed[k])
		}
		delete(removed, k)
	}
	if len(removed) != 0 {
		t.Errorf("also removed: %v", removed)
	}
	// The generated ID is given back, and an answer nobody observes is not wanted.
	m = c.ask(respHeaders(":status", "200"))
	if got := setHeaders(t, m.GetResponseHeaders().GetResponse().GetHeaderMutation()); got["x-request-id"] != "generated-id" {
		t.Errorf("response headers %v", got)
	}
	if want := (&modev3.ProcessingMode{}); !proto.Equal(m.GetModeOverride(), want) || m.GetModeOverride() == nil {
		t.Errorf("mode_override %v, want response_body_mode NONE", m.GetModeOverride())
	}
	// An Envoy that may not override modes sends it nevertheless.
	wantEmpty(t, c.ask(respBody("x", true)), "response_body:{}")
	c.finish()
}

// TestNoDestination is a pick without one: the client's own must not pass.
func TestNoDestination(t *testing.T) {
	h := newHarness(t, Options{})
	h.picker.pick = func(context.Context, *Request) (Pick, error) { return Pick{}, nil }
	c := h.open()
	m := c.ask(ended(post("/", duplex, duplex, DestinationHeader, "6.6.6.6:1", "x-request-id", "a")))
	mutation := m.GetRequestHeaders().GetResponse().GetHeaderMutation()
	if len(mutation.GetSetHeaders()) != 0 || len(mutation.GetRemoveHeaders()) != 1 || mutation.GetRemoveHeaders()[0] != DestinationHeader || m.DynamicMetadata != nil {
		t.Errorf("got %v", m)
	}
	// A model server's own request ID stays, and full duplex allows no mode_override.
	m = c.ask(respHeaders(":status", "200", "x-request-id", "theirs"))
	wantEmpty(t, m, "response_headers:{}")
	c.finish()
}

func TestSubset(t *testing.T) {
	for name, c := range map[string]struct {
		value any
		want  []string
	}{
		"list":         {[]any{"10.0.0.1:80", "10.0.0.2"}, []string{"10.0.0.1:80", "10.0.0.2"}},
		"string":       {"10.0.0.1:80, 10.0.0.2:80", []string{"10.0.0.1:80", "10.0.0.2:80"}},
		"empty list":   {[]any{}, nil},
		"empty string": {"", nil},
		"neither":      {1.5, nil},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t, Options{})
			s := h.open()
			s.ask(withMetadata(t, ended(post("/", duplex, duplex)), subsetNamespace, subsetKey, c.value))
			s.finish()
			got := h.picker.last(t)
			if !got.HasSubset || len(got.Subset) != len(c.want) {
				t.Fatalf("subset %q (%v), want %q", got.Subset, got.HasSubset, c.want)
			}
			for i := range c.want {
				if got.Subset[i] != c.want[i] {
					t.Errorf("subset %q, want %q", got.Subset, c.want)
				}
			}
		})
	}
}

func TestHold(t *testing.T) {
	for _, mode := range []modev3.ProcessingMode_BodySendMode{buffered, duplex} {
		h := newHarness(t, Options{})
		released := make(chan struct{})
		h.picker.pick = func(ctx context.Context, r *Request) (Pick, error) {
			for range 2 {
				if err := r.Hold(1500 * time.Millisecond); err != nil {
					t.Error(err)
				}
			}
			select {
			case <-released:
			case <-ctx.Done():
				return Pick{}, ctx.Err()
			}
			return Pick{Destinations: "10.0.0.1:8000,10.0.0.2:8000"}, nil
		}
		c := h.open()
		c.send(post(chat, mode, mode))
		if mode == buffered {
			c.recv()
		}
		c.send(reqBody(chatBody, true))
		if mode == buffered {
			m := c.recv()
			if m.GetOverrideMessageTimeout().AsDuration() != 1500*time.Millisecond || m.Response != nil {
				t.Errorf("got %v, want only override_message_timeout", m)
			}
		}
		close(released)
		m := c.recv()
		if mode == buffered {
			wantPick(t, m, m.GetRequestBody().GetResponse())
		} else {
			wantPick(t, m, m.GetRequestHeaders().GetResponse())
			c.recv()
		}
		c.finish()
	}
}

func TestObservabilityMode(t *testing.T) {
	h := newHarness(t, Options{})
	c := h.open()
	for _, m := range []*req{post(chat, streamed, streamed), reqBody(chatBody, true), respHeaders(":status", "200")} {
		m.ObservabilityMode = true
		c.send(m)
	}
	c.finish()
	if h.picker.calls() != 0 {
		t.Error("picked in observability mode")
	}
}

// TestEnd is about streams that end early: End comes once and says so.
func TestEnd(t *testing.T) {
	sse := respHeaders(":status", "200", "content-type", "text/event-stream")
	for name, c := range map[string]struct {
		response modev3.ProcessingMode_BodySendMode
		send     []*req
		cancel   bool
		complete bool
		status   int
	}{
		"no response":            {streamed, nil, false, false, 0},
		"no response, cancelled": {streamed, nil, true, false, 0},
		"headers only":           {streamed, []*req{sse}, false, false, 200},
		"half a body":            {streamed, []*req{sse, respBody("data: 1\n\n", false)}, false, false, 200},
		"half a body, cancelled": {streamed, []*req{sse, respBody("data: 1\n\n", false)}, true, false, 200},
		"said done, cancelled":   {streamed, []*req{sse, respBody("data: [DONE]\n\n", false)}, true, true, 200},
		"bodies not sent":        {none, []*req{sse}, false, true, 200},
		"no body":                {streamed, []*req{ended(respHeaders(":status", "204"))}, false, true, 204},
		"trailers":               {duplex, []*req{sse, respTrailers()}, false, true, 200},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t, Options{})
			o := h.observed()
			s := h.open()
			s.ask(post(chat, buffered, c.response))
			s.ask(reqBody(chatBody, true))
			for _, m := range c.send {
				s.ask(m)
			}
			if c.cancel {
				s.cancel()
			} else {
				s.finish()
			}
			if out := o.wait(); out.Complete != c.complete || out.Status != c.status {
				t.Errorf("outcome %+v", out)
			}
		})
	}
}

func TestEarlyResponse(t *testing.T) {
	h := newHarness(t, Options{})
	c := h.open()
	c.send(post(chat, duplex, duplex), reqBody(chatBody[:9], false))
	// Envoy answers by itself, a timeout for example.
	m := c.ask(ended(respHeaders(":status", "408")))
	if m.GetResponseHeaders() == nil {
		t.Errorf("got %v", m)
	}
	c.finish()
	if h.picker.calls() != 0 {
		t.Error("picked for a request that is over")
	}
}

func TestPickerGivesUp(t *testing.T) {
	h := newHarness(t, Options{})
	asked := make(chan struct{})
	gone := make(chan struct{})
	h.picker.pick = func(ctx context.Context, _ *Request) (Pick, error) {
		close(asked)
		<-ctx.Done()
		close(gone)
		return Pick{}, ctx.Err()
	}
	c := h.open()
	c.ask(post(chat, buffered, streamed))
	c.send(reqBody(chatBody, true))
	<-asked
	c.cancel()
	<-gone
}

// TestCancelledPick is a client that leaves while the picker picks for it.
func TestCancelledPick(t *testing.T) {
	h := newHarness(t, Options{})
	o := newObserver(t)
	asked := make(chan struct{})
	h.picker.pick = func(ctx context.Context, _ *Request) (Pick, error) {
		close(asked)
		<-ctx.Done()
		return Pick{Destinations: "10.0.0.1:1", Observer: o}, nil
	}
	c := h.open()
	c.ask(post(chat, buffered, streamed))
	c.send(reqBody(chatBody, true))
	<-asked
	c.cancel()
	if out := o.wait(); out.Complete || out.Status != 0 {
		t.Errorf("outcome %+v", out)
	}
}

func TestPanics(t *testing.T) {
	for _, method := range []string{"ResponseHeaders", "FirstToken", "End"} {
		t.Run(method, func(t *testing.T) {
			h := newHarness(t, Options{})
			o := h.observed()
			o.panics = method
			c := h.open()
			c.ask(post(chat, buffered, streamed))
			c.ask(reqBody(chatBody, true))
			c.send(respHeaders(":status", "200"))
			_ = c.s.Send(respBody("x", true)) // the stream may have ended by now
			var err error
			for err == nil {
				_, err = c.s.Recv()
			}
			if status.Code(err) != codes.Internal || status.Convert(err).Message() != "internal error" {
				t.Errorf("stream ended with %v", err)
			}
			o.wait()
			// The server goes on.
			h.picker.pick = nil
			c = h.open()
			c.ask(ended(post("/", none, none)))
			c.finish()
		})
	}
}

func TestProtocolErrors(t *testing.T) {
	headers := func() *req { return post(chat, buffered, streamed) }
	for name, ms := range map[string][]*req{
		"body first":               {reqBody("x", true)},
		"trailers first":           {reqTrailers()},
		"headers twice":            {headers(), headers()},
		"body after the end":       {headers(), reqBody(chatBody, true), reqBody("x", true)},
		"trailers after the end":   {headers(), reqBody(chatBody, true), reqTrailers()},
		"response body first":      {headers(), respBody("x", true)},
		"response trailers first":  {headers(), respTrailers()},
		"response headers twice":   {respHeaders(), respHeaders()},
		"response body after end":  {respHeaders(), respBody("x", true), respBody("x", true)},
		"response trailers at end": {ended(respHeaders()), respTrailers()},
		"gRPC body mode":           {post(chat, modev3.ProcessingMode_GRPC, streamed)},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t, Options{})
			c := h.open()
			c.send(ms[:len(ms)-1]...)
			_ = c.s.Send(ms[len(ms)-1])
			var err error
			for err == nil {
				_, err = c.s.Recv()
			}
			want := codes.InvalidArgument
			if name == "gRPC body mode" {
				want = codes.Unimplemented
			}
			if status.Code(err) != want {
				t.Errorf("stream ended with %v, want %v", err, want)
			}
		})
	}
}

func TestOtherServices(t *testing.T) {
	h := newHarness(t, Options{})
	r, err := healthpb.NewHealthClient(h.conn).Check(context.Background(), &healthpb.HealthCheckRequest{})
	if err != nil || r.GetStatus() != healthpb.HealthCheckResponse_SERVING {
		t.Errorf("health: %v, %v", r, err)
	}
}

func TestDrain(t *testing.T) {
	h := newHarness(t, Options{})
	if err := h.srv.Drain(context.Background()); err != nil {
		t.Fatal(err)
	}
	c := h.open()
	c.ask(post(chat, buffered, streamed))
	if n := h.srv.Active(); n != 1 {
		t.Errorf("%d active streams, want 1", n)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := h.srv.Drain(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("drained with a stream open: %v", err)
	}
	drained := make(chan error)
	go func() { drained <- h.srv.Drain(context.Background()) }()
	// The stream in flight is served to its end.
	m := c.ask(reqBody(chatBody, true))
	wantPick(t, m, m.GetRequestBody().GetResponse())
	c.finish()
	if err := <-drained; err != nil {
		t.Error(err)
	}
}
