package egress

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/fairway-ai/fairway/aibackend"
	"github.com/fairway-ai/fairway/aibackend/chat"
	"github.com/fairway-ai/fairway/api/v1alpha1"
	"github.com/fairway-ai/fairway/extproc"
	"github.com/fairway-ai/fairway/extproc/observe"
	"github.com/fairway-ai/fairway/extproc/scan"
	"github.com/fairway-ai/fairway/gateway/airoute"
)

func tokens(name string, kind v1alpha1.CostType) v1alpha1.Cost {
	return v1alpha1.Cost{Name: name, Type: kind}
}

func formula(name, text string) v1alpha1.Cost {
	return v1alpha1.Cost{Name: name, Type: v1alpha1.CostCEL, CEL: text}
}

func newCosts(t *testing.T, r prometheus.Registerer, rules ...airoute.Rule) *Costs {
	t.Helper()
	c, err := NewCosts(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.SetRules(&airoute.Config{Rules: rules}); err != nil {
		t.Fatal(err)
	}
	return c
}

// readTold is encoded metadata as "namespace.key=value", in order of the keys wanted.
func readTold(t *testing.T, b []byte, keys ...string) string {
	t.Helper()
	var s structpb.Struct
	if err := proto.Unmarshal(b, &s); err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, k := range keys {
		ns, key, _ := strings.Cut(k, "/")
		if v := s.Fields[ns].GetStructValue().GetFields()[key]; v != nil {
			out = append(out, fmt.Sprint(v.AsInterface()))
		} else {
			out = append(out, "-")
		}
	}
	return strings.Join(out, " ")
}

// reporter is a picker's observer that reports the prompt's tokens.
type reporter struct {
	watcher
	last observe.Usage
}

func (r *reporter) ResponseMetadata(u observe.Usage) []byte {
	if u == r.last {
		return nil
	}
	r.last = u
	b, err := proto.Marshal(&structpb.Struct{Fields: map[string]*structpb.Value{
		"envoy.lb": structpb.NewStructValue(&structpb.Struct{Fields: map[string]*structpb.Value{"cost": structpb.NewNumberValue(float64(u.PromptTokens))}}),
	}})
	if err != nil {
		panic(err)
	}
	return b
}

func TestCostsOfRules(t *testing.T) {
	registry := prometheus.NewRegistry()
	rule := airoute.Rule{Name: "ns/r/0", Route: "ns/r", Costs: []v1alpha1.Cost{
		tokens("in", v1alpha1.CostInputToken), tokens("cached", v1alpha1.CostCachedInputToken), tokens("written", v1alpha1.CostCacheCreationInputToken),
		tokens("out", v1alpha1.CostOutputToken), tokens("thought", v1alpha1.CostReasoningToken), tokens("all", v1alpha1.CostTotalToken),
		formula("who", "model == 'm' && backend == 'ns/b' && route_name == 'ns/r' ? 1 : 0"), formula("less", "int(output_tokens) - 100"),
	}}
	c := newCosts(t, registry, rule, airoute.Rule{Name: "ns/r/1"})
	o := &Outcome{Rule: "ns/r/0", Model: "m", Backend: "ns/b", Usage: chat.Usage{Known: true, Input: 10, Cached: 4, CacheWrite: 3, Output: 5, Reasoning: 2}}
	if got, want := fmt.Sprint(c.Of(o)), "map[all:15 cached:4 in:10 less:0 out:5 thought:2 who:1 written:3]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if n := testutil.ToFloat64(c.failures.WithLabelValues("ns/r/0", "less")); n != 1 {
		t.Errorf("%v failures", n)
	}
	for _, o := range []*Outcome{{Rule: "ns/r/0", Model: "m", Backend: "ns/b"}, {Rule: "ns/r/0", Model: "m", Backend: "ns/b", Status: 503}} {
		if got := c.Of(o); len(got) != 8 || got["who"] != 0 {
			t.Errorf("what did not answer costs %v", got)
		}
	}
	if got := c.Of(&Outcome{Rule: "ns/r/0", Model: "m", Backend: "ns/b", Status: 200}); got["who"] != 1 {
		t.Errorf("an answer without usage costs %v", got)
	}
	o.Usage = chat.Usage{Known: true, Input: 1 << 62, Output: -5}
	if got := c.Of(o); got["in"] != maxTokens || got["out"] != 0 || got["all"] != maxTokens {
		t.Errorf("absurd counts cost %v", got)
	}
	for _, rule := range []string{"ns/r/1", "", "other"} {
		if got := c.Of(&Outcome{Rule: rule}); got != nil {
			t.Errorf("%q costs %v", rule, got)
		}
	}
	// What is there stays, what is wrong is named, what is gone leaves no series.
	before := (*c.rules.Load())["ns/r/0"]
	err := c.SetRules(&airoute.Config{Rules: []airoute.Rule{rule, {Name: "ns/r/1", Costs: []v1alpha1.Cost{formula("x", "tokens")}}}})
	if err == nil || !strings.Contains(err.Error(), "rule ns/r/1: costs[0].cel: line 1, column 1") || (*c.rules.Load())["ns/r/0"] != before {
		t.Errorf("got %v", err)
	}
	if err := c.SetRules(&airoute.Config{}); err != nil || c.Of(o) != nil {
		t.Error("a rule that is gone costs something", err)
	}
	if n := testutil.CollectAndCount(c.failures); n != 0 {
		t.Errorf("%d series are left", n)
	}
}

func TestFailuresAreLoggedRarely(t *testing.T) {
	var log strings.Builder
	c, err := NewCosts(prometheus.NewRegistry(), slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	now := time.Unix(1e9, 0)
	c.now = func() time.Time { return now }
	if err := c.SetRules(&airoute.Config{Rules: []airoute.Rule{{Name: "r", Costs: []v1alpha1.Cost{formula("x", "-1")}}}}); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		c.Of(&Outcome{Rule: "r", Status: 200})
	}
	now = now.Add(logEvery)
	c.Of(&Outcome{Rule: "r", Status: 200})
	if n := strings.Count(log.String(), "counts as 0"); n != 2 || testutil.ToFloat64(c.failures.WithLabelValues("r", "x")) != 6 {
		t.Errorf("logged %d times: %s", n, log.String())
	}
}

// A try tells who answers, and its numbers whenever they change.
func TestTryTellsCosts(t *testing.T) {
	c := newCosts(t, prometheus.NewRegistry(), airoute.Rule{Name: "ns/r/0", Costs: []v1alpha1.Cost{tokens("all", v1alpha1.CostTotalToken)}})
	tr := &Translators{Costs: c.Of}
	if err := tr.Set(Backend{Name: "b", Label: "ns/b", Host: "h", Provider: aibackend.Backend{Schema: aibackend.Anthropic}}); err != nil {
		t.Fatal(err)
	}
	x, _ := decide(t, tr, "b", "/v1/messages", strings.Replace(ask, "{", `{"stream":true,`, 1), &Original{Path: "/v1/messages", Rule: "ns/r/0", Asked: "m"})
	defer x.Close(true)
	x.ResponseHeaders(extproc.Head{Headers: headers(":status", "200", "content-type", "text/event-stream")}, nil)
	keys := []string{"dev.fairway/backend", "dev.fairway/rule", "dev.fairway/model", "dev.fairway/input_tokens", "dev.fairway/total_tokens", "dev.fairway.costs/all"}
	for i, tt := range []struct{ part, want string }{
		{"event: ping\ndata: {\"type\":\"ping\"}\n\n", "ns/b ns/r/0 m - - 0"},
		{"event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"x\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"m\",\"content\":[],\"usage\":{\"input_tokens\":5,\"output_tokens\":1}}}\n\n", "- - - 5 6 6"},
		{"event: ping\ndata: {\"type\":\"ping\"}\n\n", "nothing"},
		{"event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":9}}\n\n", "- - - 5 14 14"},
	} {
		got := "nothing"
		if b := x.ResponseBody(mem.BufferSlice{mem.SliceBuffer(tt.part)}, false, false, nil).Metadata; b != nil {
			got = readTold(t, b, keys...)
		}
		if got != tt.want {
			t.Errorf("part %d: told %s, want %s", i, got, tt.want)
		}
	}
}

// outcomes notes what an egress Observer is told.
type outcomes struct{ all []Outcome }

func (o *outcomes) Answered(x Outcome) { o.all = append(o.all, x) }
func (o *outcomes) Refused(x Outcome)  { o.all = append(o.all, x) }

func TestPoolAnswers(t *testing.T) {
	at := time.Unix(1e9, 0)
	rule := &airoute.Rule{Name: "ns/r/0", Route: "ns/r", TrimModel: "our/", Costs: []v1alpha1.Cost{tokens("out", v1alpha1.CostOutputToken)}, Groups: [][]airoute.Target{
		{{Pool: "ns/p"}, {Pool: "ns/q", Backend: "ns/translated"}}, {{Backend: "ns/cloud"}},
	}}
	c := newCosts(t, prometheus.NewRegistry(), *rule)
	for _, tt := range []struct {
		name, by string
		alone    bool // no picker observes
		want     bool
	}{
		{"the pool", "ns/p", false, true},
		{"its cluster in a cluster", "fairway/ns/p", false, true},
		{"after a provider", "restore:ns/p", true, true},
		{"nobody says", "", false, true},
		{"nobody says, and nobody picked", "", true, false},
		{"a provider", "ns/cloud", false, false},
		{"a pool that is translated for", "ns/q", false, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			told, next := &outcomes{}, &reporter{}
			p := &PoolAnswers{Costs: c.Of, Observer: told, Now: func() time.Time { return at }}
			req := extproc.NewRequest(headers("traceparent", "theirs"), nil)
			req.ID, req.Path, req.Received, req.Body = "id", "/v1/chat/completions?x", at.Add(-time.Second), scan.Result{Model: "our/m", Stream: true}
			pick := &extproc.Pick{SetHeaders: headers("traceparent", "pickers")}
			if !tt.alone {
				pick.Observer = next
			}
			o := p.watch(rule, req, pick, "").(*watched)
			o.ReadHeaders(func(name string) string { return map[string]string{BackendHeader: tt.by}[name] })
			o.ResponseHeaders(at.Add(time.Second), 200, "1.2.3.4:80")
			if o.SkipsBody() == tt.want && tt.alone || tt.want && o.SkipsBody() {
				t.Errorf("skips the body: %v", o.SkipsBody())
			}
			o.FirstToken(at.Add(2 * time.Second))
			usage := observe.Usage{Known: true, PromptTokens: 7, CachedTokens: 4, CacheCreationTokens: 1, CompletionTokens: 3, ReasoningTokens: 2}
			first, second, third := o.ResponseMetadata(observe.Usage{}), o.ResponseMetadata(usage), o.ResponseMetadata(usage)
			o.End(at.Add(3*time.Second), extproc.Outcome{Status: 200, Complete: true, Usage: usage})
			if !tt.alone && strings.Join(next.told, ", ") != "headers 200 1.2.3.4:80, first, end 200" {
				t.Errorf("the picker's observer was told %v", next.told)
			}
			if !tt.want {
				if len(told.all) > 0 || first != nil || second != nil {
					t.Errorf("told %v, %q, %q", told.all, first, second)
				}
				return
			}
			reports := !tt.alone
			if got := readTold(t, second, "envoy.lb/cost"); (got == "7") != reports {
				t.Errorf("the picker told %s beside it", got)
			}
			if got := readTold(t, first, "dev.fairway/backend", "dev.fairway/rule", "dev.fairway/model", "dev.fairway/input_tokens", "dev.fairway.costs/out"); got != "ns/p ns/r/0 m - 0" {
				t.Errorf("told first %s", got)
			}
			if got := readTold(t, second, "dev.fairway/backend", "dev.fairway/cached_tokens", "dev.fairway/cache_write_tokens", "dev.fairway/reasoning_tokens", "dev.fairway/total_tokens", "dev.fairway.costs/out"); got != "- 4 1 2 10 3" || third != nil {
				t.Errorf("told then %s, then %q", got, third)
			}
			if len(told.all) != 1 {
				t.Fatalf("told %v", told.all)
			}
			got := told.all[0]
			want := Outcome{
				RequestID: "id", TraceParent: "pickers", Rule: "ns/r/0", Backend: "ns/p", Operation: OperationChat, Model: "our/m", SentModel: "m", Stream: true,
				Status: 200, Usage: usageOf(usage), Complete: true, Began: at.Add(-time.Second), Sent: at, FirstByte: at.Add(2 * time.Second), Ended: at.Add(3 * time.Second),
			}
			if got != want {
				t.Errorf("told %+v, want %+v", got, want)
			}
		})
	}
}

func TestNobodyWatchesWithoutPools(t *testing.T) {
	req, pick := extproc.NewRequest(nil, nil), &extproc.Pick{}
	if o := (*PoolAnswers)(nil).watch(&airoute.Rule{}, req, pick, ""); o != nil {
		t.Error("nobody watches")
	}
	only := &airoute.Rule{Groups: [][]airoute.Target{{{Backend: "b"}, {Pool: "p", Backend: "c"}}}}
	if o := (&PoolAnswers{}).watch(only, req, pick, ""); o != nil {
		t.Error("a rule without pools of its own is watched")
	}
}
