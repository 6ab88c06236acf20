package envoy

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/fairway-ai/fairway/extproc"
	"github.com/fairway-ai/fairway/extproc/observe"
	"github.com/fairway-ai/fairway/extproc/scan"
	"github.com/fairway-ai/fairway/gateway/xds"
	"github.com/fairway-ai/fairway/internal/testkit"
	"github.com/fairway-ai/fairway/test/realenvoy"
)

const (
	vllmGenerate = "/vllm.grpc.engine.VllmEngine/Generate"
	vertexChat   = "/google.cloud.aiplatform.v1.PredictionService/ChatCompletions"
)

// plainCodec has messages as the bytes they are.
type plainCodec struct{}

func (plainCodec) Name() string { return "proto" }

func (plainCodec) Marshal(v any) ([]byte, error) { return *v.(*[]byte), nil }

func (plainCodec) Unmarshal(data []byte, v any) error {
	*v.(*[]byte) = bytes.Clone(data)
	return nil
}

func pb(fields ...any) []byte { return testkit.Message(fields...) }

// tokenRequest is a streaming request to vLLM with n token ids from first on.
func tokenRequest(first, n int) []byte {
	var ids []byte
	for i := range n {
		ids = protowire.AppendVarint(ids, uint64(first+i))
	}
	return pb(1, "id", 2, pb(1, "what the ids stand for", 2, ids), 4, pb(8, 16), 5, 1)
}

// grpcTokens is how many tokens an engine answers.
const grpcTokens = 40

// grpcAnswers are the messages of an engine's answer to a call.
func grpcAnswers(method string) (out [][]byte) {
	if method == vertexChat {
		for i := range grpcTokens {
			out = append(out, pb(1, "text/event-stream", 2, fmt.Sprintf("data: {\"choices\":[{\"delta\":{\"content\":\"t%d\"}}]}\n\n", i)))
		}
		return append(out, pb(2, fmt.Sprintf("data: {\"choices\":[],\"usage\":{\"prompt_tokens\":500,\"completion_tokens\":%d,\"prompt_tokens_details\":{\"cached_tokens\":64}}}\n\ndata: [DONE]\n\n", grpcTokens)))
	}
	for i := range grpcTokens {
		out = append(out, pb(1, pb(1, protowire.AppendVarint(nil, uint64(i)), 2, 500, 3, 1, 4, 64)))
	}
	return append(out, pb(2, pb(2, "stop", 3, 500, 4, grpcTokens, 5, 64)))
}

// newEngine is a backend whose calls grpc-go answers, with grpcAnswers or, when fail is
// set, that status alone.
func newEngine(t *testing.T, fail *atomic.Uint32) *backend {
	s := grpc.NewServer(grpc.ForceServerCodec(plainCodec{}), grpc.UnknownServiceHandler(func(_ any, ss grpc.ServerStream) error {
		var request []byte
		if err := ss.RecvMsg(&request); err != nil {
			return err
		}
		if c := codes.Code(fail.Load()); c != codes.OK {
			return status.Error(c, "the engine says no")
		}
		method, _ := grpc.MethodFromServerStream(ss)
		for _, m := range grpcAnswers(method) {
			if err := ss.SendMsg(&m); err != nil {
				return err
			}
		}
		return nil
	}))
	b := newBackend(t, nil)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.handle = func(w http.ResponseWriter, r *http.Request) {
		_, body, _ := b.last()
		r.Body = io.NopCloser(bytes.NewReader(body))
		s.ServeHTTP(w, r)
	}
	return b
}

// callAnswer is what a call came to.
type callAnswer struct {
	by       string
	messages [][]byte
	header   metadata.MD
	err      error
}

// dial connects to a gateway.
func dial(t *testing.T, address string) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDefaultCallOptions(grpc.ForceCodec(plainCodec{})))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func callOf(t *testing.T, conn *grpc.ClientConn, method string, message []byte, opts ...grpc.CallOption) (a callAnswer) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	s, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, method, append(opts, grpc.WaitForReady(true))...)
	if err != nil {
		return callAnswer{err: err}
	}
	if err := s.SendMsg(&message); err != nil && err != io.EOF {
		t.Fatal(err)
	}
	_ = s.CloseSend()
	for {
		var m []byte
		if a.err = s.RecvMsg(&m); a.err != nil {
			break
		}
		a.messages = append(a.messages, m)
	}
	if a.err == io.EOF {
		a.err = nil
	}
	a.header, _ = s.Header()
	if by := append(a.header.Get("x-backend"), s.Trailer().Get("x-backend")...); len(by) > 0 {
		a.by = by[0]
	}
	return a
}

// wantAnswers checks that the messages are those of the engine.
func wantAnswers(t *testing.T, a callAnswer, method string) {
	t.Helper()
	want := grpcAnswers(method)
	if a.err != nil || len(a.messages) != len(want) {
		t.Fatalf("%s: %d messages, want %d: %v", method, len(a.messages), len(want), a.err)
	}
	for i := range want {
		if !bytes.Equal(a.messages[i], want[i]) {
			t.Fatalf("%s: message %d is %q, want %q", method, i, a.messages[i], want[i])
		}
	}
}

// TestGRPCThroughOwnGateway sends calls through Fairway's gateway: they are picked for by
// what is in their messages, pass as they are, and their status is their outcome.
func TestGRPCThroughOwnGateway(t *testing.T) {
	var fail atomic.Uint32
	engine, idle := newEngine(t, &fail), newEngine(t, &fail)
	r := newRig(t, []xds.Pool{{Name: "ns/a", Endpoints: []string{engine.addr, idle.addr}, HTTP2: true}})
	conn := dial(t, strings.TrimPrefix(r.url, "http://"))
	var body scan.Result
	r.picker.set(func(_ context.Context, q *extproc.Request) (extproc.Pick, error) {
		body = q.Body
		body.Blocks = append(body.Blocks[:0:0], body.Blocks...)
		return pickOf("ns/a", engine.addr), nil
	})
	outcome := func(n int) extproc.Outcome {
		t.Helper()
		var o extproc.Outcome
		eventually(t, "the request's end is told", func() error {
			_, out, ended := r.picker.lastOutcome()
			if o = out; ended < n {
				return fmt.Errorf("%d have ended", ended)
			}
			return nil
		})
		return o
	}
	usage := observe.Usage{Known: true, PromptTokens: 500, CompletionTokens: grpcTokens, CachedTokens: 64}
	for i, call := range []struct {
		method  string
		message []byte
		api     scan.API
		bytes   int64 // of the prompt
		chunks  int64
	}{
		{vllmGenerate, tokenRequest(1000, 500), scan.Generate, 2000, grpcTokens},
		{vertexChat, pb(1, "projects/p", 2, pb(1, "application/json", 2, `{"model":"m","stream":true,"messages":[{"role":"user","content":"hello"}]}`)), scan.ChatCompletions, 20, grpcTokens},
	} {
		a := callOf(t, conn, call.method, call.message)
		wantAnswers(t, a, call.method)
		o := outcome(i + 1)
		if _, got, proto := engine.last(); !bytes.Equal(got, testkit.Frames(call.message)) || proto != "HTTP/2.0" {
			t.Errorf("%s: the engine got %q by %s", call.method, got, proto)
		}
		if o.Usage != usage || o.Status != 200 || !o.Complete || !o.Streamed || o.Chunks != call.chunks {
			t.Errorf("%s: outcome %+v", call.method, o)
		}
		if body.API != call.api || body.PromptBytes != call.bytes || !body.Stream {
			t.Errorf("%s: the picker saw %+v", call.method, body)
		}
	}
	// An engine's status, after nothing and in trailers that Envoy was asked to show.
	fail.Store(uint32(codes.ResourceExhausted))
	if a := callOf(t, conn, vllmGenerate, tokenRequest(1, 5)); status.Code(a.err) != codes.ResourceExhausted || status.Convert(a.err).Message() != "the engine says no" {
		t.Errorf("the engine refuses: %v", a.err)
	}
	if o := outcome(3); o.Status != http.StatusTooManyRequests || !o.Complete {
		t.Errorf("the engine refuses: outcome %+v", o)
	}
	// A refusal of the picker's.
	r.picker.set(func(context.Context, *extproc.Request) (extproc.Pick, error) {
		return extproc.Pick{}, &extproc.Rejection{Status: 429, Code: "busy", Message: "try again later: 100 % of it is busy", Headers: []extproc.Header{{Name: "retry-after", Value: "1"}}}
	})
	a := callOf(t, conn, vllmGenerate, tokenRequest(1, 5))
	if s := status.Convert(a.err); s.Code() != codes.ResourceExhausted || s.Message() != "try again later: 100 % of it is busy" {
		t.Errorf("the picker refuses: %v", a.err)
	}
	if n := idle.requests(); n > 0 {
		t.Errorf("%d calls went where none was to go", n)
	}
}

// TestGRPCThroughForeignGateway puts fairway epp, with llm-d's parsers named, behind a
// gateway that has full duplex bodies and knows nothing of Fairway.
func TestGRPCThroughForeignGateway(t *testing.T) {
	envoy := realenvoy.Path(t)
	fairway, err := binary.build()
	if err != nil {
		t.Fatal(err)
	}
	var fail atomic.Uint32
	engines := map[string]*backend{}
	write := testkit.Files(t)
	endpoints := "endpoints:\n"
	for _, name := range []string{"a", "b", "c"} {
		b := newEngine(t, &fail)
		engines[b.addr] = b
		host, port, _ := net.SplitHostPort(b.addr)
		endpoints += fmt.Sprintf("- {name: %s, address: %s, port: %q}\n", name, host, port)
	}
	config := write("config.yaml", `
apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
plugins:
- type: vllmgrpc-parser
- type: vertexai-parser
- type: prefix-cache-scorer
schedulingProfiles:
- name: default
  plugins:
  - {pluginRef: prefix-cache-scorer, weight: 1}
requestHandler:
  parsers:
  - pluginRef: vllmgrpc-parser
  - pluginRef: vertexai-parser
`)
	gateway, picker, metrics := freePort(t), freePort(t), freePort(t)
	background(t, fairway, "epp", "-f", write("fairway.yaml", endpoints), "--config-file", config, "--grpc-port", picker, "--grpc-health-port", "0", "--metrics-port", metrics)
	const pick = "lb_policy: CLUSTER_PROVIDED\n"
	http2 := strings.Replace(duplexBootstrap, pick, pick+`    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {http2_protocol_options: {}}
`, 1)
	background(t, envoy, "--config-path", write("envoy.yaml", fmt.Sprintf(http2, gateway, picker)),
		"--disable-hot-restart", "--log-level", "error", "--concurrency", "1")
	conn := dial(t, "127.0.0.1:"+gateway)
	eventually(t, "the gateway answers", func() error { return callOf(t, conn, vllmGenerate, tokenRequest(1, 1)).err })

	calls := 1
	where := map[string]bool{}
	for prompt := range 6 {
		first := ""
		for range 3 {
			message := tokenRequest(100_000*prompt, 3000)
			a := callOf(t, conn, vllmGenerate, message)
			wantAnswers(t, a, vllmGenerate)
			calls++
			served := engines[a.by]
			if served == nil {
				t.Fatalf("served by %q", a.by)
			}
			if _, got, _ := served.last(); !bytes.Equal(got, testkit.Frames(message)) {
				t.Fatalf("the engine got %d bytes, not those that were sent", len(got))
			}
			if first == "" {
				first = a.by
			}
			if a.by != first {
				t.Errorf("prompt %d went to %s, then to %s", prompt, first, a.by)
			}
		}
		where[first] = true
	}
	if len(where) < 2 {
		t.Errorf("all prompts went to one engine: %v", where)
	}
	chatMessage := pb(2, pb(2, `{"model":"m","stream":true,"messages":[{"role":"user","content":"hello"}]}`))
	wantAnswers(t, callOf(t, conn, vertexChat, chatMessage), vertexChat)
	calls++

	for name, test := range map[string]struct {
		method  string
		message []byte
		opts    []grpc.CallOption
		code    codes.Code
		text    string
	}{
		"JSON":       {vertexChat, pb(2, pb(2, `{"model":`)), nil, codes.InvalidArgument, "invalid JSON body at byte 9: unexpected end of the body"},
		"message":    {vllmGenerate, []byte{0xff}, nil, codes.InvalidArgument, "invalid gRPC message at byte 6: a number ends early"},
		"compressed": {vllmGenerate, tokenRequest(1, 5), []grpc.CallOption{grpc.UseCompressor(gzip.Name)}, codes.Unimplemented, "invalid gRPC message at byte 5: it is compressed; send it uncompressed"},
	} {
		a := callOf(t, conn, test.method, test.message, test.opts...)
		if s := status.Convert(a.err); s.Code() != test.code || s.Message() != test.text || a.by != "" {
			t.Errorf("%s: %v by %q, want %v: %s", name, a.err, a.by, test.code, test.text)
		}
	}
	fail.Store(uint32(codes.Unavailable))
	if a := callOf(t, conn, vllmGenerate, tokenRequest(1, 5)); status.Code(a.err) != codes.Unavailable {
		t.Errorf("the engine refuses: %v", a.err)
	}
	// What was generated, found in caches and timed is counted, and a status as a failure.
	// A call to vLLM names no model.
	vllm := calls - 1
	series := map[string]string{
		`request_output_tokens_sum{fairness_id="default-flow",model_name="",`: fmt.Sprint(vllm * grpcTokens),
		`request_cached_tokens_sum{fairness_id="default-flow",model_name="",`: fmt.Sprint(vllm * 64),
		`request_input_tokens_sum{fairness_id="default-flow",model_name="m",`: "500",
		`request_ttft_seconds_count{`:                                         fmt.Sprint(vllm),
		`error_code="ModelServerError"`:                                       "1",
	}
	eventually(t, "the metrics", func() error {
		resp, err := http.Get("http://127.0.0.1:" + metrics + "/metrics")
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		page, err := io.ReadAll(resp.Body)
		if err != nil {
			return err
		}
		for name, value := range series {
			found := false
			var like []string
			for line := range strings.Lines(string(page)) {
				if line = strings.TrimSpace(line); strings.Contains(line, name) {
					like = append(like, line)
					found = found || strings.HasSuffix(line, "} "+value)
				}
			}
			if !found {
				return fmt.Errorf("no %s is %s: %s", name, value, strings.Join(like, "\n"))
			}
		}
		return nil
	})
}
