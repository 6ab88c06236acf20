package explain

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fairway-ai/fairway/scheduler"
	profiles "github.com/fairway-ai/fairway/scheduler/profile"
)

var update = flag.Bool("update", false, "write the golden files anew")

// fewest is a scorer that likes endpoints in order.
type fewest struct{}

func (fewest) Name() string { return "queue-scorer" }
func (fewest) Score(c *scheduler.Cycle, out []float32) {
	for _, i := range c.Candidates {
		out[i] = 1 - float32(i)/4
	}
}

// notFirst is a filter that drops endpoint 0.
type notFirst struct{}

func (notFirst) Name() string { return "decode-filter" }
func (notFirst) Filter(_ *scheduler.Cycle, in []int32) []int32 {
	return slices.DeleteFunc(in, func(i int32) bool { return i == 0 })
}

// top is a picker of the largest total.
type top struct{}

func (top) Name() string { return "max-score-picker" }
func (top) Pick(c *scheduler.Cycle, total []float32) []int32 {
	slices.SortFunc(c.Candidates, func(a, b int32) int {
		if total[a] > total[b] {
			return -1
		}
		return 1
	})
	return c.Candidates[:1]
}

// priced explains itself as the default policy does, by a formula of its own, so
// that the golden files do not follow every change of the real one.
type priced struct{ n int }

func (priced) Name() string { return "priced" }
func (p priced) Schedule(c *scheduler.Cycle) []int32 {
	uncached, cost := c.Column(), c.Column()
	for _, i := range c.Candidates {
		uncached[i] = float32(c.Uncached(i))
		cost[i] = float32(c.Loads[i].Backlog) + 2*uncached[i]
	}
	c.Explain.Policy = "priced"
	c.Explain.Add("uncached-tokens", scheduler.Price, 2, uncached)
	c.Explain.Add("price", scheduler.Total, 1, cost)
	slices.SortStableFunc(c.Candidates, func(a, b int32) int { return int(cost[a] - cost[b]) })
	return c.Candidates[:min(p.n, len(c.Candidates))]
}

func snapshot(n int) *scheduler.Snapshot {
	s := &scheduler.Snapshot{Slots: n}
	for i := range n {
		s.Endpoints = append(s.Endpoints, scheduler.Endpoint{
			ID: fmt.Sprintf("ns/pod-%d", i), Address: fmt.Sprintf("10.0.0.%d:8000", i+1), Slot: int32(i), Load: new(scheduler.Load),
		})
		s.Metrics = append(s.Metrics, scheduler.Metrics{Waiting: int32(i), KVUsage: .25})
	}
	return s
}

// decide runs policy over snap and records it.
func decide(t *testing.T, r *Ring, ref *Ref, policy scheduler.Policy, snap *scheduler.Snapshot, id string) {
	t.Helper()
	var ex scheduler.Explanation
	var dec scheduler.Decision
	req := &scheduler.Request{ID: id, Model: "llama", PromptTokens: 9000, Seed: 1}
	err := scheduler.New(policy, nil).Schedule(req, snap, &dec, &ex)
	r.Record(ref, Input{
		ID: id, Pool: "ns/pool", Model: "llama", PromptTokens: 9000, Time: time.Date(2026, 1, 2, 3, 4, 5, 6e6, time.UTC),
		Explanation: &ex, Snapshot: snap, Err: err,
	})
}

func TestRender(t *testing.T) {
	profile := scheduler.NewProfile("default", []scheduler.Filter{notFirst{}}, []scheduler.Weighted{{Scorer: fewest{}, Weight: 2}}, top{})
	disagg := profiles.NewDisagg("", profiles.Stages{
		Decode:    scheduler.NewProfile("decode", []scheduler.Filter{notFirst{}}, []scheduler.Weighted{{Scorer: fewest{}, Weight: 2}}, top{}),
		Prefill:   scheduler.NewProfile("prefill", nil, []scheduler.Weighted{{Scorer: fewest{}, Weight: 1}}, top{}),
		PrefillIf: profiles.NewAlways(""),
	})
	none := scheduler.NewProfile("default", []scheduler.Filter{notFirst{}}, nil, top{})
	for _, tt := range []struct {
		name   string
		policy scheduler.Policy
		n      int
		held   time.Duration
		out    *Outcome
	}{
		{"disagg", disagg, 3, 0, nil},
		{"priced", priced{2}, 3, 1500 * time.Millisecond, &Outcome{
			Served: "ns/pod-1", Status: 200, Complete: true, Seconds: 4, TTFTSeconds: 1.8,
			UsageKnown: true, PromptTokens: 8700, CompletionTokens: 120, CachedTokens: 8192,
		}},
		{"profile", profile, 3, 0, nil},
		{"refused", none, 1, 0, &Outcome{Status: 429, Seconds: .001}},
		{"one", priced{1}, 1, 0, nil},
		{"large", priced{4}, 70, 0, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			snap := snapshot(tt.n)
			if tt.n == 3 {
				snap.Metrics[2].Unreachable = true
				var f scheduler.Flight
				f.Bind(snap.Endpoints[0].Load, 1000, 2000)
			}
			for i := range snap.Endpoints {
				if tt.n > MaxRows {
					var f scheduler.Flight
					f.Bind(snap.Endpoints[i].Load, int64(1000-i), 0)
					snap.Metrics[i].Unreachable = i%30 == 7 // the first to be omitted
				}
			}
			r, ref := NewRing(4), Ref{}
			decide(t, r, &ref, tt.policy, snap, "req-1\x1b[31m")
			if tt.held > 0 {
				r.Held(ref, tt.held)
			}
			if tt.out != nil {
				r.Finish(ref, *tt.out)
			}
			var d Decision
			viaJSON(t, r, "req-1\x1b[31m", &d)
			var b bytes.Buffer
			if err := Render(&b, &d); err != nil {
				t.Fatal(err)
			}
			golden(t, tt.name, b.Bytes())
		})
	}
}

// viaJSON reads the decision the way the command does.
func viaJSON(t *testing.T, r *Ring, id string, d *Decision) {
	t.Helper()
	found, ok := r.Find(id)
	if !ok {
		t.Fatalf("no decision of %q", id)
	}
	b, err := json.Marshal(found)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, d); err != nil {
		t.Fatal(err)
	}
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", name+".txt")
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is not what was rendered:\n%s", file, got)
	}
}

func TestRenderList(t *testing.T) {
	r := NewRing(4)
	var a, b, c Ref
	decide(t, r, &a, priced{1}, snapshot(2), "first")
	decide(t, r, &b, priced{1}, snapshot(1), "second")
	decide(t, r, &c, priced{1}, snapshot(0), "third")
	r.Held(b, time.Second)
	r.Finish(b, Outcome{Served: "ns/pod-9", Status: 200, TTFTSeconds: .25})
	var out bytes.Buffer
	if err := RenderList(&out, r.Latest(2)); err != nil {
		t.Fatal(err)
	}
	golden(t, "list", out.Bytes())
}

func TestRingKeepsTheLatest(t *testing.T) {
	r := NewRing(3)
	refs := make([]Ref, 5)
	for i := range refs {
		decide(t, r, &refs[i], scheduler.Priced{}, snapshot(2), fmt.Sprint(i))
	}
	var ids []string
	for _, d := range r.Latest(10) {
		ids = append(ids, d.ID)
	}
	if want := []string{"4", "3", "2"}; !slices.Equal(ids, want) {
		t.Errorf("kept %v, want %v", ids, want)
	}
	if _, ok := r.Find("1"); ok {
		t.Error("a decision that was overwritten is found")
	}
	r.Finish(refs[1], Outcome{Status: 500}) // its place belongs to 4 now
	if d, _ := r.Find("4"); d.Outcome != nil {
		t.Errorf("request 4 got the outcome of request 1: %+v", d.Outcome)
	}
	decide(t, r, &refs[3], scheduler.Priced{}, snapshot(1), "3 again")
	if d, ok := r.Find("3 again"); !ok || len(d.Rows) != 1 {
		t.Error("a second decision did not replace the request's first")
	}
	if _, ok := r.Find("3"); ok {
		t.Error("the first decision is still there beside the second")
	}
}

func TestNilRing(t *testing.T) {
	var r *Ring
	var ref Ref
	r.Record(&ref, Input{})
	r.Finish(ref, Outcome{})
	r.Held(ref, 1)
	if _, ok := r.Find(""); ok || len(r.Latest(3)) != 0 || r.Line(ref) != "" {
		t.Error("a nil ring keeps something")
	}
}

func TestLine(t *testing.T) {
	for _, n := range []int{2, 60} {
		r, ref := NewRing(2), Ref{}
		snap := snapshot(n)
		for i := range snap.Endpoints {
			snap.Endpoints[i].ID = fmt.Sprintf("é%s/%d", strings.Repeat("n", 80), i)
		}
		decide(t, r, &ref, scheduler.Priced{}, snap, "r")
		l := r.Line(ref)
		if len(l) > maxLine {
			t.Errorf("%d bytes, want at most %d", len(l), maxLine)
		}
		for _, c := range []byte(l) {
			if c < ' ' || c > '~' {
				t.Fatalf("byte %#x in a header", c)
			}
		}
		var v line
		if err := json.Unmarshal([]byte(l), &v); err != nil || v.Why == "" || v.Prompt != 9000 {
			t.Errorf("%s: %v", l, err)
		}
	}
}

func TestHandler(t *testing.T) {
	r := NewRing(4)
	refs := make([]Ref, 2)
	decide(t, r, &refs[0], scheduler.Priced{}, snapshot(2), "a/b")
	decide(t, r, &refs[1], scheduler.Priced{}, snapshot(2), "c")
	for _, tt := range []struct {
		path string
		code int
		want string
	}{
		{Path, 200, `"id":"a/b"`},
		{Path + "?n=1", 200, `[{"id":"c"`},
		{Path + "?n=0", 200, "[]"},
		{Path + "?n=-1", 400, "n must be"},
		{Path + "?n=x", 400, "n must be"},
		{Path + "/c", 200, `{"id":"c"`},
		{Path + "/a%2Fb", 200, `{"id":"a/b"`},
		{Path + "/d", 404, "no decision"},
	} {
		w := httptest.NewRecorder()
		r.Handler().ServeHTTP(w, httptest.NewRequest("GET", tt.path, nil))
		if w.Code != tt.code || !strings.Contains(w.Body.String(), tt.want) {
			t.Errorf("%s: %d %s, want %d %s", tt.path, w.Code, w.Body, tt.code, tt.want)
		}
	}
	w := httptest.NewRecorder()
	(*Ring)(nil).Handler().ServeHTTP(w, httptest.NewRequest("GET", Path, nil))
	if w.Code != 200 || strings.TrimSpace(w.Body.String()) != "[]" {
		t.Errorf("without a ring: %d %s, want an empty list", w.Code, w.Body)
	}
}

func TestKeepBest(t *testing.T) {
	for n := range 40 {
		for k := range n + 1 {
			x, values := make([]int32, n), make([]float32, n)
			for i := range x {
				x[i], values[i] = int32(i), float32(i*i%17+i%3)
			}
			largest := func(a, b float32) int { return int(b - a) }
			want := slices.Clone(values)
			slices.SortFunc(want, largest)
			keepBest(x, k, values)
			var got []float32
			for _, i := range x[:k] {
				got = append(got, values[i])
			}
			slices.SortFunc(got, largest)
			if !slices.Equal(got, want[:k]) {
				t.Fatalf("the best %d of %d: %v, want %v", k, n, got, want[:k])
			}
		}
	}
}

func TestRecordAllocatesNothing(t *testing.T) {
	r := NewRing(2)
	snap := snapshot(100)
	var ex scheduler.Explanation
	var dec scheduler.Decision
	if err := scheduler.New(scheduler.Priced{Alternatives: 4}, nil).Schedule(&scheduler.Request{ID: "r"}, snap, &dec, &ex); err != nil {
		t.Fatal(err)
	}
	in := Input{ID: "r", Explanation: &ex, Snapshot: snap}
	record := func() {
		var ref Ref
		r.Record(&ref, in)
		r.Finish(ref, Outcome{})
	}
	record()
	record()
	if n := testing.AllocsPerRun(100, record); n > 0 {
		t.Errorf("%v allocations per decision, want none", n)
	}
}

func TestConcurrentUse(t *testing.T) {
	r := NewRing(4)
	snap := snapshot(3)
	var ex scheduler.Explanation
	var dec scheduler.Decision
	if err := scheduler.New(scheduler.Priced{}, nil).Schedule(&scheduler.Request{}, snap, &dec, &ex); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := range 300 {
				id := fmt.Sprint(w, i)
				var ref Ref
				r.Record(&ref, Input{ID: id, Explanation: &ex, Snapshot: snap, Err: errors.New("e")})
				r.Finish(ref, Outcome{Status: 200})
				r.Find(id)
				for _, d := range r.Latest(4) {
					if len(d.Rows) != 3 {
						t.Errorf("a torn decision: %+v", d)
					}
				}
			}
		})
	}
	wg.Wait()
}

// TestExactCaches: a row says whether its engine reports, or what it holds is guessed.
func TestExactCaches(t *testing.T) {
	d := Decision{
		ID: "r", Pool: "ns/p", PromptTokens: 1234, TokensExact: true, CachedTokens: 1000,
		Columns: []Column{{Name: scheduler.ExactFact, Kind: "fact"}},
		Rows:    []Row{{ID: "a", Rank: 1, Values: []Value{1}}, {ID: "b", Values: []Value{0}}},
	}
	var b strings.Builder
	if err := Render(&b, &d); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"1,234 tokens, counted by its tokenizer, 1,000 expected", "EXACT-CACHE", "a         exact", "b         approximate"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("lacks %q:\n%s", want, b.String())
		}
	}
}
