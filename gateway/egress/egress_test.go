package egress

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/fairway-ai/fairway/aibackend"
	"github.com/fairway-ai/fairway/aibackend/chat"
	"github.com/fairway-ai/fairway/aibackend/credentials"
	"github.com/fairway-ai/fairway/extproc"
	"github.com/fairway-ai/fairway/extproc/observe"
	"github.com/fairway-ai/fairway/gateway/airoute"
	"github.com/fairway-ai/fairway/gateway/xds"
)

func encodedMetadata(t *testing.T, o *Original) []byte {
	t.Helper()
	b, err := proto.Marshal(&corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{Namespace: o.fields()}})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestOriginalSurvives(t *testing.T) {
	want := Original{Path: "/v1/messages?beta=\xff", Model: "m", Headers: []extproc.Header{
		{Name: "a", Value: "plain"}, {Name: "a", Value: "latin \xe9\x80"}, {Name: "b", Value: ""}, {Name: "c", Value: "日本"},
	}, Pools: []PoolModel{{"ns/p", "m\xff"}, {"ns/q", "é"}}}
	got, ok, err := readOriginal(encodedMetadata(t, &want))
	if err != nil || !ok || got.Path != want.Path || got.Model != want.Model || !slices.Equal(got.Headers, want.Headers) || !slices.Equal(got.Pools, want.Pools) {
		t.Errorf("%+v, %v, %v", got, ok, err)
	}
	if _, ok, err := readOriginal(nil); ok || err != nil {
		t.Errorf("nothing: %v, %v", ok, err)
	}
	if _, _, err := readOriginal([]byte{0xff}); err == nil {
		t.Error("garbage was read")
	}
}

func FuzzReadOriginal(f *testing.F) {
	b, _ := proto.Marshal(&corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{Namespace: (&Original{Path: "/p", Headers: []extproc.Header{{Name: "a", Value: "b"}}}).fields()}})
	f.Add(b)
	f.Fuzz(func(_ *testing.T, data []byte) { _, _, _ = readOriginal(data) })
}

// applied is what Envoy makes of headers and a change.
func applied(t *testing.T, before []extproc.Header, c extproc.Change) []extproc.Header {
	t.Helper()
	now := slices.DeleteFunc(slices.Clone(before), func(h extproc.Header) bool { return slices.Contains(c.RemoveHeaders, h.Name) })
	for _, b := range c.SetHeaders {
		var o corev3.HeaderValueOption
		if err := proto.Unmarshal(b, &o); err != nil {
			t.Fatal(err)
		}
		name := o.Header.Key
		if o.AppendAction == corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD {
			now = slices.DeleteFunc(now, func(h extproc.Header) bool { return h.Name == name })
		}
		now = append(now, extproc.Header{Name: name, Value: string(o.Header.RawValue)})
	}
	slices.SortStableFunc(now, func(a, b extproc.Header) int { return strings.Compare(a.Name, b.Name) })
	return now
}

func headers(kv ...string) (all []extproc.Header) {
	for i := 0; i+1 < len(kv); i += 2 {
		all = append(all, extproc.Header{Name: kv[i], Value: kv[i+1]})
	}
	return all
}

// A pool that comes after a provider gets just what the client sent.
func TestRestored(t *testing.T) {
	was := headers(":method", "POST", ":path", "/v1/x", "accept", "a", "accept", "b", "authorization", "mine")
	now := headers(":method", "POST", ":path", "/theirs", "accept", "c", "x-api-key", "sk-theirs", "content-length", "9")
	x := (&Translators{}).Consult(t.Context(), RestorePrefix+"ns/p")
	if err := x.RequestHeaders(extproc.Head{Headers: now, Metadata: encodedMetadata(t, &Original{Path: "/v1/x", Headers: was})}); err != nil {
		t.Fatal(err)
	}
	x.RequestBody(mem.BufferSlice{mem.SliceBuffer("body")}, true)
	c, err := x.Decide(nil)
	if err != nil || !c.BodyChanged || string(c.Body.Materialize()) != "body" {
		t.Fatalf("%v, %v", c, err)
	}
	if got := applied(t, now, c); !slices.Equal(got, was) {
		t.Errorf("got %v, want %v", got, was)
	}
	x.Close(true)
	x = (&Translators{}).Consult(t.Context(), RestorePrefix+"ns/p")
	if err := x.RequestHeaders(extproc.Head{Headers: now}); err == nil {
		t.Error("a request was let through with what it was before unknown")
	}
}

// signer puts a fixed key on a request, or fails.
type signer struct{ err error }

func (s signer) Sign(_ context.Context, r *credentials.Request) error {
	if s.err == nil {
		r.Headers.Set("X-Secret", "sk")
	}
	return s.err
}

func decide(t *testing.T, tr *Translators, name, path, body string, o *Original) (extproc.Exchange, extproc.Change) {
	t.Helper()
	h := headers(":method", "POST", ":path", path, "authorization", "mine", "x-keep", "1", "x-drop", "1")
	head := extproc.Head{Headers: h}
	if o != nil {
		head.Metadata = encodedMetadata(t, o)
	}
	x := tr.Consult(t.Context(), Prefix+name)
	if err := x.RequestHeaders(head); err != nil {
		t.Fatal(err)
	}
	x.RequestBody(mem.BufferSlice{mem.SliceBuffer(body)}, true)
	c, err := x.Decide(nil)
	if err != nil {
		t.Fatal(err)
	}
	return x, c
}

const ask = `{"model":"m","max_tokens":5,"messages":[{"role":"user","content":"hi"}]}`

func TestTry(t *testing.T) {
	tr := &Translators{}
	counters, err := NewMetrics(prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	tr.Observer = counters
	b := Backend{
		Name: "b", Host: "api.example.com", Provider: aibackend.Backend{Schema: aibackend.Anthropic}, Signer: signer{},
		SetHeaders: []aibackend.Header{{Name: "x-team", Value: "a"}}, AddHeaders: []aibackend.Header{{Name: "x-keep", Value: "2"}}, RemoveHeaders: []string{"x-drop"},
	}
	if err := tr.Set(b); err != nil {
		t.Fatal(err)
	}
	if err := tr.Set(Backend{Name: "b"}); err == nil {
		t.Error("a backend without host was taken")
	}
	before := headers(":method", "POST", ":path", "/theirs", "authorization", "mine", "x-keep", "1", "x-drop", "1")
	x, c := decide(t, tr, "b", "/theirs", ask, &Original{Path: "/v1/chat/completions", Model: "other"})
	got := fmt.Sprint(applied(t, before, c))
	for _, want := range []string{"{:path /v1/messages}", "{:authority api.example.com}", "{x-secret sk}", "{x-team a}", "{x-keep 1} {x-keep 2}", "{anthropic-version"} {
		if !strings.Contains(got, want) {
			t.Errorf("%s is not in %s", want, got)
		}
	}
	if strings.Contains(got, "mine") || strings.Contains(got, "x-drop") || !strings.Contains(string(c.Body.Materialize()), `"other"`) {
		t.Errorf("sent %s with %s", got, c.Body.Materialize())
	}
	// An answer without a body still tells why.
	r := x.ResponseHeaders(extproc.Head{Headers: headers(":status", "500"), End: true}, nil)
	if !r.Replace || !strings.Contains(string(r.Body.Materialize()), `"error"`) {
		t.Errorf("%+v", r)
	}
	x.Close(true)
	if n := testutil.ToFloat64(counters.requests.WithLabelValues("b", "500")); n != 1 {
		t.Errorf("counted %v", n)
	}
	tr.Delete("b")
	for name, tt := range map[string]struct {
		signer Signer
		body   string
		status int
	}{
		"gone":     {nil, ask, 503},
		"unsigned": {signer{errors.New("sk-hidden")}, ask, 401},
		"invalid":  {signer{}, `{"model":`, 400},
		"empty":    {signer{}, ``, 400},
	} {
		if tt.signer != nil {
			b.Name, b.Signer = name, tt.signer
			if err := tr.Set(b); err != nil {
				t.Fatal(err)
			}
		}
		_, c := decide(t, tr, name, "/v1/messages", tt.body, nil)
		var answer extprocv3.ImmediateResponse
		if err := proto.Unmarshal(c.Immediate, &answer); err != nil {
			t.Fatal(err)
		}
		if c.ImmediateStatus != tt.status || int(answer.Status.Code) != tt.status || !strings.Contains(string(answer.Body), `"type":"error"`) || strings.Contains(string(answer.Body), "sk-hidden") {
			t.Errorf("%s: %d %s", name, c.ImmediateStatus, answer.Body)
		}
	}
	if tr.Consult(t.Context(), "ns/pool") != nil {
		t.Error("a pool's name was taken for a backend's")
	}
}

// picker answers by pool.
type picker struct {
	pools map[string]error // nil when it can serve
	asked []string
}

func (p *picker) Pick(_ context.Context, q *extproc.Request) (extproc.Pick, error) {
	p.asked = append(p.asked, q.Pool)
	err := p.pools[q.Pool]
	if errors.Is(err, errHolds) {
		if err := q.Hold(time.Minute); err != nil {
			return extproc.Pick{}, fmt.Errorf("told: %w", err)
		}
		err = nil
	}
	return extproc.Pick{Destinations: "1.1.1.1:1"}, err
}

var errHolds = errors.New("holds")

func TestRouter(t *testing.T) {
	full := &extproc.Rejection{Status: 429, Code: "rejected_saturated"}
	empty := &extproc.Rejection{Status: 503, Code: "no_endpoints"}
	pool := func(name string) airoute.Target { return airoute.Target{Pool: name, Weight: 1} }
	cloud := func(name string) airoute.Target { return airoute.Target{Backend: name, Weight: 1} }
	chain := [][]airoute.Target{{pool("p")}, {cloud("a"), cloud("b")}, {pool("q")}}
	all := airoute.AllTriggers()
	for _, tt := range []struct {
		name   string
		groups [][]airoute.Target
		on     airoute.Triggers
		tries  int
		pools  map[string]error
		order  string // of the metadata, "" for none
		err    error
	}{
		{"serves", chain, all, 3, nil, "", nil},
		{"full", chain, all, 3, map[string]error{"p": full}, "1 2", nil},
		{"empty", chain, all, 3, map[string]error{"p": empty}, "1 2", nil},
		{"holds", chain, all, 3, map[string]error{"p": errHolds}, "1 2", nil},
		{"holds, alone", chain[:1], all, 1, map[string]error{"p": errHolds}, "", nil},
		{"full, not a reason", chain, airoute.Triggers{NoEndpoints: true}, 3, map[string]error{"p": full}, "", full},
		{"holds, not a reason", chain, airoute.Triggers{NoEndpoints: true}, 3, map[string]error{"p": errHolds}, "", nil},
		{"full, one try", chain, all, 1, map[string]error{"p": full}, "", full},
		{"two pools", [][]airoute.Target{{pool("p")}, {pool("q")}}, all, 2, map[string]error{"p": full}, "chosen=q", nil},
		{"two pools, both full", [][]airoute.Target{{pool("p")}, {pool("q")}}, all, 2, map[string]error{"p": empty, "q": full}, "", full},
		{"mixed", [][]airoute.Target{{pool("p"), cloud("a")}, {cloud("b")}}, all, 2, nil, "chosen=p 1", nil},
		{"mixed, full", [][]airoute.Target{{pool("p"), cloud("a")}, {cloud("b")}}, all, 2, map[string]error{"p": full}, "chosen=backend:a 1", nil},
		{"clouds", [][]airoute.Target{{cloud("a"), cloud("b")}}, all, 1, nil, "", nil},
	} {
		p := &picker{pools: tt.pools}
		r := &Router{Next: p, Random: func(uint64) uint64 { return 0 }}
		r.SetRules(&airoute.Config{Rules: []airoute.Rule{{Name: "n/r/0", Groups: tt.groups, On: tt.on, Attempts: tt.tries}}})
		q := extproc.NewRequest(headers("authorization", "mine", "x-fairway-route", "evil"), func(time.Duration) error { return nil })
		q.ID, q.Path = "id", "/v1/chat/completions?a"
		q.Body.Model = "m"
		got, err := r.Pick(t.Context(), q)
		if tt.err != nil {
			if !errors.Is(err, tt.err) {
				t.Errorf("%s: %v, want %v", tt.name, err, tt.err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		if last := got.SetHeaders[len(got.SetHeaders)-1]; last.Name != xds.RouteHeader || last.Value != "n/r/0" {
			t.Errorf("%s: sets %v", tt.name, got.SetHeaders)
		}
		var s structpb.Struct
		if err := proto.Unmarshal(got.Metadata, &s); err != nil {
			t.Fatal(err)
		}
		if o := orderOf(&s); o != tt.order {
			t.Errorf("%s: order %q, want %q", tt.name, o, tt.order)
		}
		if text, _ := protojson.Marshal(&s); strings.Contains(string(text), "evil") {
			t.Errorf("%s: metadata %s", tt.name, text)
		}
	}
}

// orderOf is the order of groups in short.
func orderOf(s *structpb.Struct) string {
	var out []string
	for _, g := range s.GetFields()[xds.OrderNamespace].GetStructValue().GetFields()["priority_groups"].GetListValue().GetValues() {
		f := g.GetStructValue().GetFields()
		name := f["name"].GetStringValue()
		for _, c := range f["clusters"].GetListValue().GetValues() {
			name += "=" + c.GetStructValue().GetFields()["cluster_name"].GetStringValue()
		}
		out = append(out, name)
	}
	return strings.Join(out, " ")
}

func TestRouterWithoutRules(t *testing.T) {
	p := &picker{}
	r := &Router{Next: p}
	q := extproc.NewRequest(nil, nil)
	for range 2 {
		if got, err := r.Pick(t.Context(), q); err != nil || len(got.SetHeaders) > 0 || got.Metadata != nil {
			t.Errorf("%+v, %v", got, err)
		}
		r.SetRules(&airoute.Config{})
	}
}

func TestUnknownModel(t *testing.T) {
	r := &Router{Next: &picker{}}
	c := &airoute.Config{}
	for i := range 100 {
		c.Rules = append(c.Rules, airoute.Rule{Name: fmt.Sprint(i), Attempts: 1, Matches: []airoute.Match{{Model: airoute.Equal(fmt.Sprintf("m%d", i))}}})
	}
	r.SetRules(c)
	for _, model := range []string{"", strings.Repeat("x", 5000)} {
		q := extproc.NewRequest(nil, nil)
		q.Body.Model = model
		_, err := r.Pick(t.Context(), q)
		var no *extproc.Rejection
		if !errors.As(err, &no) || no.Status != 404 || no.Code != "model_not_found" || !strings.Contains(no.Message, "m0, m1,") || len(no.Message) > 1000 {
			t.Errorf("%v", err)
		}
	}
}

func TestMetrics(t *testing.T) {
	reg := prometheus.NewRegistry()
	m, err := NewMetrics(reg)
	if err != nil {
		t.Fatal(err)
	}
	m.Answered(Outcome{Backend: "b", Status: 200, Usage: chat.Usage{Known: true, Input: 7, Cached: 2, Output: 3}, Complete: true})
	m.Answered(Outcome{Backend: "b", Usage: chat.Usage{Input: 9}})
	m.Refused(Outcome{Backend: "b", Status: 401})
	if err := testutil.GatherAndCompare(reg, strings.NewReader(`
# HELP fairway_backend_tokens_total Tokens that backends reported. cached and reasoning are parts of input and output.
# TYPE fairway_backend_tokens_total counter
fairway_backend_tokens_total{backend="b",kind="cached"} 2
fairway_backend_tokens_total{backend="b",kind="input"} 7
fairway_backend_tokens_total{backend="b",kind="output"} 3
`), "fairway_backend_tokens_total"); err != nil {
		t.Error(err)
	}
	if _, err := NewMetrics(reg); err == nil {
		t.Error("registered twice")
	}
}

// watcher notes what an Observer is told.
type watcher struct{ told []string }

func (w *watcher) ResponseHeaders(_ time.Time, status int, served string) []extproc.Header {
	w.told = append(w.told, fmt.Sprint("headers ", status, " ", served))
	return nil
}
func (w *watcher) FirstToken(time.Time) { w.told = append(w.told, "first") }
func (w *watcher) End(_ time.Time, o extproc.Outcome) {
	w.told = append(w.told, fmt.Sprint("end ", o.Status))
}

// A pool's picker learns that its endpoint failed, and not what another place did.
func TestElsewhere(t *testing.T) {
	for by, want := range map[string]string{
		"ns/p": "headers 200 1.1.1.1:1, first, end 200", "": "headers 200 1.1.1.1:1, first, end 200",
		"cloud": "headers 503 elsewhere, end 503",
	} {
		w := &reporter{}
		e := &elsewhere{Observer: w, target: airoute.Target{Pool: "ns/p"}}
		e.ReadHeaders(getter(headers(BackendHeader, by)).Get)
		e.ResponseHeaders(time.Time{}, 200, "1.1.1.1:1")
		e.FirstToken(time.Time{})
		// Through what tells clients of tries before, as well.
		if told := (&teller{Observer: e}).ResponseMetadata(observe.Usage{Known: true}); (told == nil) != (by == "cloud") {
			t.Errorf("%q: the picker reports %q", by, told)
		}
		e.End(time.Time{}, extproc.Outcome{Status: 200})
		if got := strings.Join(w.told, ", "); got != want {
			t.Errorf("%q: %s, want %s", by, got, want)
		}
	}
}
