package egress

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	modev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/fairway-ai/fairway/extproc"
	"github.com/fairway-ai/fairway/extproc/relay"
	"github.com/fairway-ai/fairway/gateway/airoute"
	"github.com/fairway-ai/fairway/gateway/xds"
)

const patience = 20 * time.Second

type (
	envoyAsks  = extprocv3.ProcessingRequest
	envoyHears = extprocv3.ProcessingResponse
)

// theirs is a picker of somebody else, that follows the protocol.
type theirs struct {
	extprocv3.UnimplementedExternalProcessorServer
	status int                 // answers with it instead of a pick
	change func(string) string // of the body
	steers bool                // tries to steer the gateway
	stalls bool                // never answers

	mu  sync.Mutex
	saw []string
}

func (p *theirs) see(what string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.saw = append(p.saw, what)
}

func (p *theirs) all() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.saw, ", ")
}

func sets(kv ...string) *extprocv3.CommonResponse {
	m := &extprocv3.HeaderMutation{}
	for i := 0; i+1 < len(kv); i += 2 {
		m.SetHeaders = append(m.SetHeaders, &corev3.HeaderValueOption{Header: &corev3.HeaderValue{Key: kv[i], RawValue: []byte(kv[i+1])}})
	}
	return &extprocv3.CommonResponse{HeaderMutation: m}
}

func (p *theirs) Process(s extprocv3.ExternalProcessor_ProcessServer) error {
	defer p.see("end")
	for {
		m, err := s.Recv()
		if err != nil {
			return nil
		}
		var out []*envoyHears
		switch q := m.Request.(type) {
		case *extprocv3.ProcessingRequest_RequestHeaders:
			names := ""
			for _, h := range q.RequestHeaders.Headers.Headers {
				if strings.HasPrefix(h.Key, "x-") && h.Key != "x-request-id" || h.Key == "content-length" {
					names += " " + h.Key + "=" + string(h.RawValue)
				}
			}
			p.see("head" + names)
			if q.RequestHeaders.EndOfStream {
				p.see("no body")
				out = p.picks(0)
			}
		case *extprocv3.ProcessingRequest_RequestBody:
			body := string(q.RequestBody.Body)
			p.see("body " + body)
			if p.change != nil {
				body = p.change(body)
			}
			if out = p.picks(len(body)); out != nil && p.status == 0 {
				out = append(out, &envoyHears{Response: &extprocv3.ProcessingResponse_RequestBody{RequestBody: &extprocv3.BodyResponse{
					Response: &extprocv3.CommonResponse{BodyMutation: &extprocv3.BodyMutation{Mutation: &extprocv3.BodyMutation_StreamedResponse{
						StreamedResponse: &extprocv3.StreamedBodyResponse{Body: []byte(body), EndOfStream: true},
					}}},
				}}})
			}
		case *extprocv3.ProcessingRequest_ResponseHeaders:
			p.see("response")
			out = append(out, &envoyHears{Response: &extprocv3.ProcessingResponse_ResponseHeaders{
				ResponseHeaders: &extprocv3.HeadersResponse{Response: sets("x-theirs", "yes", "x-fairway-backend", "evil")},
			}, DynamicMetadata: &structpb.Struct{Fields: map[string]*structpb.Value{
				xds.CostNamespace: structpb.NewStructValue(&structpb.Struct{}), "theirs": structpb.NewStructValue(&structpb.Struct{}),
			}}})
		case *extprocv3.ProcessingRequest_ResponseBody:
			p.see("response " + string(q.ResponseBody.Body))
			out = append(out, &envoyHears{Response: &extprocv3.ProcessingResponse_ResponseBody{ResponseBody: &extprocv3.BodyResponse{
				Response: &extprocv3.CommonResponse{BodyMutation: &extprocv3.BodyMutation{Mutation: &extprocv3.BodyMutation_StreamedResponse{
					StreamedResponse: &extprocv3.StreamedBodyResponse{Body: q.ResponseBody.Body, EndOfStream: q.ResponseBody.EndOfStream},
				}}},
			}}})
		}
		for _, a := range out {
			if err := s.Send(a); err != nil {
				return err
			}
		}
	}
}

func (p *theirs) picks(length int) []*envoyHears {
	switch {
	case p.stalls:
		return nil
	case p.status != 0:
		return []*envoyHears{{Response: &extprocv3.ProcessingResponse_ImmediateResponse{ImmediateResponse: &extprocv3.ImmediateResponse{
			Status: &typev3.HttpStatus{Code: typev3.StatusCode(p.status)}, Body: []byte("theirs"),
		}}}}
	}
	c := sets("x-gateway-destination-endpoint", "10.0.0.1:8000", "x-prefiller", "10.0.0.2:1", "content-length", fmt.Sprint(length))
	m := &envoyHears{Response: &extprocv3.ProcessingResponse_RequestHeaders{RequestHeaders: &extprocv3.HeadersResponse{Response: c}}}
	if p.steers {
		c.HeaderMutation.SetHeaders = append(c.HeaderMutation.SetHeaders, sets("X-Fairway-Route", "evil").HeaderMutation.SetHeaders...)
		c.HeaderMutation.RemoveHeaders = []string{"x-fairway-route", "x-a"}
		m.DynamicMetadata = &structpb.Struct{Fields: map[string]*structpb.Value{}}
		for _, namespace := range []string{xds.OrderNamespace, Namespace, xds.AnswerNamespace, "theirs"} {
			m.DynamicMetadata.Fields[namespace] = structpb.NewStructValue(&structpb.Struct{Fields: map[string]*structpb.Value{"evil": structpb.NewBoolValue(true)}})
		}
	}
	return []*envoyHears{m}
}

// arranged is the gateway as Envoy sees it: rules, the relay, and pickers behind it.
type arranged struct {
	t        *testing.T
	router   *Router
	registry *relay.Registry
	own      *picker
	conn     *grpc.ClientConn
	counted  *counting
}

// counting counts the exchanges that are open.
type counting struct {
	extproc.Foreign
	mu   sync.Mutex
	open int
	bad  string
}

type counted struct {
	extproc.Exchange
	of     *counting
	closed bool
}

func (c *counting) Consult(ctx context.Context, pool string) extproc.Exchange {
	x := c.Foreign.Consult(ctx, pool)
	if x == nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.open++
	return &counted{Exchange: x, of: c}
}

func (x *counted) Close(complete bool) {
	x.of.mu.Lock()
	if x.closed {
		x.of.bad = "an exchange was closed twice"
	}
	x.closed = true
	x.of.open--
	x.of.mu.Unlock()
	x.Exchange.Close(complete)
}

func serveGRPC(t *testing.T, g *grpc.Server) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { defer close(done); _ = g.Serve(l) }()
	t.Cleanup(func() { g.Stop(); <-done })
	return l.Addr().String()
}

func arrange(t *testing.T, rules ...airoute.Rule) *arranged {
	t.Helper()
	a := &arranged{t: t, own: &picker{pools: map[string]error{}}, registry: relay.New(relay.Options{Log: slog.New(slog.DiscardHandler)})}
	a.counted = &counting{Foreign: a.registry}
	a.router = &Router{Next: a.own, Foreign: a.counted}
	a.router.SetRules(&airoute.Config{Rules: rules})
	srv := extproc.New(a.router, extproc.Options{
		Foreign: &Translators{Next: a.registry}, Log: slog.New(slog.DiscardHandler), NewID: func() string { return "id" },
	})
	g := grpc.NewServer(srv.ServerOptions()...)
	srv.Register(g)
	conn, err := grpc.NewClient(serveGRPC(t, g), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	a.conn = conn
	t.Cleanup(func() {
		_ = conn.Close()
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := srv.Drain(ctx); err != nil {
			t.Errorf("streams do not end: %v", err)
		}
		a.registry.Close()
		a.counted.mu.Lock()
		defer a.counted.mu.Unlock()
		if a.counted.open != 0 || a.counted.bad != "" {
			t.Errorf("%d exchanges were not closed; %s", a.counted.open, a.counted.bad)
		}
	})
	return a
}

// foreign makes p answer for a pool; without p nobody is there.
func (a *arranged) foreign(pool string, p *theirs, failOpen bool) {
	a.t.Helper()
	address := "127.0.0.1:1"
	timeout := patience
	if p != nil {
		g := grpc.NewServer()
		extprocv3.RegisterExternalProcessorServer(g, p)
		address = serveGRPC(a.t, g)
		if p.stalls {
			timeout = 200 * time.Millisecond
		}
	}
	err := a.registry.Set(pool, relay.Picker{Address: address, FailOpen: failOpen, Timeout: timeout, TLS: relay.TLS{Security: relay.Plaintext}})
	if err != nil {
		a.t.Fatal(err)
	}
}

// conversation is a request as Envoy sends it.
type conversation struct {
	t      *testing.T
	s      extprocv3.ExternalProcessor_ProcessClient
	cancel context.CancelFunc
}

func (a *arranged) open() *conversation {
	a.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	a.t.Cleanup(cancel)
	s, err := extprocv3.NewExternalProcessorClient(a.conn).Process(metadata.AppendToOutgoingContext(ctx, extproc.PoolMetadata, xds.RoutesPrefix+"n/r"))
	if err != nil {
		a.t.Fatal(err)
	}
	return &conversation{t: a.t, s: s, cancel: cancel}
}

func (c *conversation) ask(m *envoyAsks) *envoyHears {
	c.t.Helper()
	if err := c.s.Send(m); err != nil {
		c.t.Fatal(err)
	}
	for {
		out, err := c.s.Recv()
		if err != nil {
			c.t.Fatal(err)
		}
		if out.GetOverrideMessageTimeout() == nil {
			return out
		}
	}
}

func headerMap(kv ...string) *corev3.HeaderMap {
	m := &corev3.HeaderMap{}
	for _, h := range headers(kv...) {
		m.Headers = append(m.Headers, &corev3.HeaderValue{Key: h.Name, RawValue: []byte(h.Value)})
	}
	return m
}

// request sends one whole and returns the answer that counts.
func (c *conversation) request(body string) *envoyHears {
	c.t.Helper()
	c.ask(&envoyAsks{
		Request: &extprocv3.ProcessingRequest_RequestHeaders{RequestHeaders: &extprocv3.HttpHeaders{Headers: headerMap(
			":method", "POST", ":path", "/v1/chat/completions", "authorization", "mine", "x-a", "1", "x-fairway-route", "evil", "content-length", fmt.Sprint(len(body)),
		)}},
		ProtocolConfig: &extprocv3.ProtocolConfiguration{RequestBodyMode: modev3.ProcessingMode_BUFFERED, ResponseBodyMode: modev3.ProcessingMode_STREAMED},
	})
	return c.ask(&envoyAsks{Request: &extprocv3.ProcessingRequest_RequestBody{RequestBody: &extprocv3.HttpBody{Body: []byte(body), EndOfStream: true}}})
}

// respond sends a whole response and returns the headers set on it.
func (c *conversation) respond(by string) getter {
	c.t.Helper()
	m := c.ask(&envoyAsks{Request: &extprocv3.ProcessingRequest_ResponseHeaders{ResponseHeaders: &extprocv3.HttpHeaders{
		Headers: headerMap(":status", "200", BackendHeader, by),
	}}})
	if m.GetModeOverride() == nil {
		c.ask(&envoyAsks{Request: &extprocv3.ProcessingRequest_ResponseBody{ResponseBody: &extprocv3.HttpBody{Body: []byte("hello"), EndOfStream: true}}})
	}
	_ = c.s.CloseSend()
	if m, err := c.s.Recv(); err != io.EOF {
		c.t.Errorf("after the end: %v, %v", m, err)
	}
	all := flat(m.GetResponseHeaders().GetResponse().GetHeaderMutation())
	if md := m.GetDynamicMetadata().GetFields(); md[xds.CostNamespace] != nil || (md["theirs"] != nil) != (all.Get("x-theirs") != "") || all.Get(BackendHeader) != "" {
		c.t.Errorf("a foreign picker's answer to the response: %v", m)
	}
	return all
}

func flat(m *extprocv3.HeaderMutation) (all getter) {
	for _, o := range m.GetSetHeaders() {
		all = append(all, extproc.Header{Name: strings.ToLower(o.Header.Key), Value: string(o.Header.RawValue)})
	}
	return all
}

// result is what became of a request, in short: where it goes first, and how.
func result(m *envoyHears) string {
	if i := m.GetImmediateResponse(); i != nil {
		return fmt.Sprint(i.Status.Code.Number(), " ", string(i.Body[:min(len(i.Body), 6)]))
	}
	c := m.GetRequestBody().GetResponse()
	set := flat(c.GetHeaderMutation())
	return strings.TrimSpace(set.Get(xds.RouteHeader) + " " + set.Get(extproc.DestinationHeader) + " " + orderOf(m.GetDynamicMetadata()))
}

func ruleOf(groups ...[]airoute.Target) airoute.Rule {
	return airoute.Rule{Name: "n/r/0", Route: "n/r", Groups: groups, Attempts: len(groups), On: airoute.AllTriggers(), Managed: true}
}

const question = `{"model": "llama", "messages":[{"role":"user","content":"hi"}]}`

func TestForeignInRule(t *testing.T) {
	their, ours, cloud := aPool("ns/theirs"), aPool("ns/ours"), aCloud("ns/cloud")
	for _, tt := range []struct {
		name   string
		rule   airoute.Rule
		picker *theirs
		open   bool // FailOpen
		want   string
		told   string
	}{
		{"picks", ruleOf([]airoute.Target{their}, []airoute.Target{cloud}), &theirs{}, false, "n/r/0 10.0.0.1:8000", ""},
		{"alone", ruleOf([]airoute.Target{their}), &theirs{}, false, "n/r/0 10.0.0.1:8000", ""},
		{"is full", ruleOf([]airoute.Target{their}, []airoute.Target{cloud}), &theirs{status: 429}, false, "n/r/0  1", "ns/theirs: saturated"},
		{"has no endpoint", ruleOf([]airoute.Target{their}, []airoute.Target{ours}), &theirs{status: 503}, false, "n/r/0 1.1.1.1:1 chosen=fairway-later/ns/ours", "ns/theirs: no endpoints"},
		{"is full, alone", ruleOf([]airoute.Target{their}), &theirs{status: 429}, false, "429 theirs", ""},
		{"refuses", ruleOf([]airoute.Target{their}, []airoute.Target{cloud}), &theirs{status: 403}, false, "403 theirs", ""},
		{"is not there", ruleOf([]airoute.Target{their}, []airoute.Target{cloud}), nil, false, "n/r/0  1", "ns/theirs: picker unavailable"},
		{"is not there, and need not be", ruleOf([]airoute.Target{their}, []airoute.Target{cloud}), nil, true, "n/r/0", "ns/theirs: failed"},
		{"is not there, alone", ruleOf([]airoute.Target{their}), nil, false, `503 {"erro`, ""},
		{"stalls", ruleOf([]airoute.Target{their}, []airoute.Target{ours}), &theirs{stalls: true}, false, "n/r/0 1.1.1.1:1 chosen=fairway-later/ns/ours", "ns/theirs: picker unavailable"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := arrange(t, tt.rule)
			a.foreign("ns/theirs", tt.picker, tt.open)
			c := a.open()
			m := c.request(question)
			if got := result(m); got != tt.want {
				t.Fatalf("%s, want %s", got, tt.want)
			}
			if m.GetImmediateResponse() != nil {
				return
			}
			if got := m.GetRequestBody().GetResponse(); got.GetBodyMutation() != nil || !got.GetClearRouteCache() {
				t.Errorf("%v", got)
			}
			by := "ns/cloud"
			if strings.Contains(tt.want, "10.0.0.1") {
				by = "ns/theirs"
			}
			if got := c.respond(by); got.Get(FallbackHeader) != tt.told || (got.Get("x-theirs") != "") != (by == "ns/theirs") {
				t.Errorf("the client is told %q, want %q; %v", got.Get(FallbackHeader), tt.told, got)
			}
		})
	}
}

// The triggers decide, for foreign pickers as for ours.
func TestForeignTriggers(t *testing.T) {
	for status, on := range map[int]airoute.Triggers{429: {Saturated: true}, 503: {NoEndpoints: true}, 0: {PickerUnavailable: true}} {
		for _, triggers := range []airoute.Triggers{on, {ConnectFailure: true}} {
			rule := ruleOf([]airoute.Target{aPool("ns/theirs")}, []airoute.Target{aCloud("ns/cloud")})
			rule.On = triggers
			a := arrange(t, rule)
			var p *theirs
			if status != 0 {
				p = &theirs{status: status}
			}
			a.foreign("ns/theirs", p, false)
			m := a.open().request(question)
			if leads := m.GetImmediateResponse() == nil; leads != (triggers == on) {
				t.Errorf("%d with %+v: %s", status, triggers, result(m))
			}
		}
	}
}

// What a foreign picker sees and what becomes of what it says.
func TestForeignSees(t *testing.T) {
	p := &theirs{steers: true, change: func(b string) string { return strings.ReplaceAll(b, "hi", "hello") }}
	big := airoute.Target{Pool: "ns/theirs", Model: "big", Weight: 1}
	a := arrange(t, ruleOf([]airoute.Target{big}, []airoute.Target{aCloud("ns/cloud")}))
	a.foreign("ns/theirs", p, false)
	c := a.open()
	m := c.request(question)
	asked := strings.Replace(question, "llama", "big", 1)
	changed := strings.Replace(asked, "hi", "hello", 1)
	common := m.GetRequestBody().GetResponse()
	set := flat(common.GetHeaderMutation())
	if got := string(common.GetBodyMutation().GetBody()); got != changed || set.Get("content-length") != fmt.Sprint(len(changed)) {
		t.Errorf("the body becomes %s", got)
	}
	if set.Get(xds.RouteHeader) != "n/r/0" || len(set.values(xds.RouteHeader)) != 1 || set.Get("x-prefiller") == "" ||
		slices.Contains(common.GetHeaderMutation().GetRemoveHeaders(), xds.RouteHeader) || !slices.Contains(common.GetHeaderMutation().GetRemoveHeaders(), "x-a") {
		t.Errorf("headers %v", common.GetHeaderMutation())
	}
	md := m.GetDynamicMetadata().GetFields()
	if md["theirs"] == nil || md[xds.OrderNamespace] != nil || md[xds.AnswerNamespace] != nil || md["envoy.lb"] == nil || strings.Contains(md[Namespace].String(), "evil") {
		t.Errorf("metadata %v", md)
	}
	// The next try starts from what the client sent, model and headers.
	o := md[Namespace].GetStructValue().GetFields()
	if text := o[headersKey].String(); o[modelKey].GetStringValue() != "llama" || strings.Contains(text, "10.0.0.2:1") || !strings.Contains(text, "x-a") {
		t.Errorf("original %v", o)
	}
	if got := c.respond("fairway/ns/theirs").Get("x-theirs"); got != "yes" {
		t.Errorf("x-theirs %q", got)
	}
	want := fmt.Sprintf("head x-a=1 content-length=%d, body %s, response, response hello, end", len(asked), asked)
	eventually(t, "what the picker saw", func() string { return p.all() }, want)
}

// The name of a pool that no picker changes is replaced in the body that it gets.
func TestForeignModelAlone(t *testing.T) {
	a := arrange(t, ruleOf([]airoute.Target{{Pool: "ns/theirs", Model: "big", Weight: 1}}))
	a.foreign("ns/theirs", &theirs{}, false)
	m := a.open().request(question)
	if got := string(m.GetRequestBody().GetResponse().GetBodyMutation().GetBody()); got != strings.Replace(question, "llama", "big", 1) {
		t.Errorf("the body becomes %s", got)
	}
}

// A pool spoken to in another API keeps, for its own tries, what its picker set.
func TestForeignSpokenTo(t *testing.T) {
	a := arrange(t, ruleOf([]airoute.Target{{Pool: "ns/theirs", Backend: "ns/spoken", Weight: 1}}))
	a.foreign("ns/theirs", &theirs{steers: true}, false)
	m := a.open().request(question)
	text := m.GetDynamicMetadata().GetFields()[Namespace].GetStructValue().GetFields()[headersKey].String()
	if result(m) != "n/r/0 10.0.0.1:8000" || !strings.Contains(text, "10.0.0.2:1") || strings.Contains(text, "x-a") || strings.Contains(text, "evil") || strings.Contains(text, "10.0.0.1:8000") {
		t.Errorf("%s; original %s", result(m), text)
	}
}

// A Service with a picker is asked about as a pool is, and called by its backend's name.
func TestForeignOfService(t *testing.T) {
	of := airoute.Target{Pool: "picked:ns/svc", Backend: "ns/svc#big", Weight: 1}
	for _, tt := range []struct {
		picker     *theirs
		want, told string
	}{
		{&theirs{}, "n/r/0 10.0.0.1:8000", ""},
		{&theirs{status: 429}, "n/r/0  1", "ns/svc: saturated"},
		{nil, "n/r/0  1", "ns/svc: picker unavailable"},
	} {
		a := arrange(t, ruleOf([]airoute.Target{of}, []airoute.Target{aCloud("ns/cloud")}))
		a.foreign("picked:ns/svc", tt.picker, false)
		c := a.open()
		if got := result(c.request(question)); got != tt.want {
			t.Errorf("%s, want %s", got, tt.want)
		}
		by := "ns/cloud"
		if tt.told == "" {
			by = "ns/svc"
		}
		if got := c.respond(by).Get(FallbackHeader); got != tt.told {
			t.Errorf("the client is told %q, want %q", got, tt.told)
		}
	}
}

// A pool that comes after a provider has a cluster that makes tries anew, also when it
// is the first that takes the request: what its picker changed must be in the original.
func TestForeignAfterProvider(t *testing.T) {
	rule := ruleOf([]airoute.Target{aCloud("ns/cloud")}, []airoute.Target{{Pool: "ns/theirs", Model: "big", Weight: 1}}, []airoute.Target{aPool("ns/ours")})
	a := arrange(t, rule)
	a.router.Cools = func(string) bool { return true }
	a.foreign("ns/theirs", &theirs{steers: true, change: func(b string) string { return strings.ReplaceAll(b, "big", "tuned") }}, false)
	m := a.open().request(question)
	if got := result(m); got != "n/r/0 10.0.0.1:8000 chosen=restore:ns/theirs 2 cooling 0=backend:ns/cloud" {
		t.Error(got)
	}
	body := m.GetRequestBody().GetResponse().GetBodyMutation().GetBody()
	o := m.GetDynamicMetadata().GetFields()[Namespace].GetStructValue()
	md, err := proto.Marshal(&corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{Namespace: o}})
	if err != nil {
		t.Fatal(err)
	}
	for pool, want := range map[string]string{"ns/theirs": "tuned", "ns/ours": "llama"} {
		x := (&Translators{}).Consult(t.Context(), RestorePrefix+pool)
		now := headers("x-prefiller", "10.0.0.2:1", "authorization", "theirs")
		if err := x.RequestHeaders(extproc.Head{Headers: now, Metadata: md}); err != nil {
			t.Fatal(err)
		}
		x.RequestBody(mem.BufferSlice{mem.SliceBuffer(body)}, true)
		c, err := x.Decide(nil)
		if got := string(c.Body.Materialize()); err != nil || got != strings.Replace(question, "llama", want, 1) {
			t.Errorf("%s gets %s, %v", pool, got, err)
		}
		if got := getter(applied(t, now, c)); got.Get("x-prefiller") != "10.0.0.2:1" || got.Get("authorization") != "mine" {
			t.Errorf("%s gets %v", pool, got)
		}
		x.Close(true)
	}
}

// When another place answers, the foreign picker learns no more than that its request
// ended, and when the client leaves, that as well.
func TestForeignElsewhere(t *testing.T) {
	for name, end := range map[string]func(*conversation){
		"answered elsewhere": func(c *conversation) {
			if got := c.respond("ns/cloud").Get("x-theirs"); got != "" {
				t.Errorf("another's answer has x-theirs %q", got)
			}
		},
		"client leaves": func(c *conversation) { c.cancel() },
	} {
		t.Run(name, func(t *testing.T) {
			p := &theirs{}
			a := arrange(t, ruleOf([]airoute.Target{aPool("ns/theirs")}, []airoute.Target{aCloud("ns/cloud")}))
			a.foreign("ns/theirs", p, false)
			c := a.open()
			c.request(question)
			end(c)
			eventually(t, "what the picker saw", func() string { return p.all() }, fmt.Sprintf("head x-a=1 content-length=%d, body %s, end", len(question), question))
		})
	}
}

// A client that leaves while its request waits leaves nothing behind.
func TestForeignLeftWaiting(t *testing.T) {
	p := &theirs{stalls: true}
	a := arrange(t, ruleOf([]airoute.Target{aPool("ns/theirs")}, []airoute.Target{aCloud("ns/cloud")}))
	a.foreign("ns/theirs", p, false)
	if err := a.registry.Set("ns/theirs", relay.Picker{Address: address(a, p), Timeout: patience, TLS: relay.TLS{Security: relay.Plaintext}}); err != nil {
		t.Fatal(err)
	}
	c := a.open()
	for _, m := range []*envoyAsks{
		{
			Request:        &extprocv3.ProcessingRequest_RequestHeaders{RequestHeaders: &extprocv3.HttpHeaders{Headers: headerMap(":method", "POST", ":path", "/v1/chat/completions")}},
			ProtocolConfig: &extprocv3.ProtocolConfiguration{RequestBodyMode: modev3.ProcessingMode_BUFFERED},
		},
		{Request: &extprocv3.ProcessingRequest_RequestBody{RequestBody: &extprocv3.HttpBody{Body: []byte(question), EndOfStream: true}}},
	} {
		if err := c.s.Send(m); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "the picker is asked", func() string { return fmt.Sprint(strings.Contains(p.all(), "body")) }, "true")
	c.cancel()
	eventually(t, "the picker is left", func() string { return fmt.Sprint(strings.HasSuffix(p.all(), "end")) }, "true")
}

func address(a *arranged, p *theirs) string {
	g := grpc.NewServer()
	extprocv3.RegisterExternalProcessorServer(g, p)
	return serveGRPC(a.t, g)
}

// A panic while a foreign picker is asked leaves nothing open either.
func TestForeignPanics(t *testing.T) {
	a := arrange(t, ruleOf([]airoute.Target{aPool("ns/theirs")}, []airoute.Target{aPool("ns/ours")}))
	a.foreign("ns/theirs", &theirs{}, false)
	a.counted.Foreign = panicking{a.registry}
	if got := result(a.open().request(question)); !strings.HasPrefix(got, "500") {
		t.Error(got)
	}
}

type panicking struct{ extproc.Foreign }

func (p panicking) Consult(ctx context.Context, pool string) extproc.Exchange {
	return panics{p.Foreign.Consult(ctx, pool)}
}

type panics struct{ extproc.Exchange }

func (panics) Decide(func(time.Duration) error) (extproc.Change, error) { panic("bug") }

func eventually(t *testing.T, what string, got func() string, want string) {
	t.Helper()
	for end := time.Now().Add(patience); got() != want; time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: %s, want %s", what, got(), want)
		}
	}
}
