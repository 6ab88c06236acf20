package models

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fairway-ai/fairway/pool"
	"github.com/fairway-ai/fairway/pool/scrape"
	"github.com/fairway-ai/fairway/scheduler"
)

// fakeReader answers for endpoints by their addresses.
type fakeReader struct {
	mu    sync.Mutex
	lists map[string][]Model // none is an error
	reads map[string]int
}

func (f *fakeReader) Read(_ context.Context, address string) ([]Model, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.reads[address]++
	if l, ok := f.lists[address]; ok {
		return l, nil
	}
	return nil, errors.New("refused")
}

func (f *fakeReader) set(address string, models ...Model) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lists[address] = models
}

func (f *fakeReader) count(address string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.reads[address]
}

// clock hands out ticks, and keeps how long was waited for each.
type clock struct {
	ticks chan time.Time
	mu    sync.Mutex
	waits []time.Duration
}

func (c *clock) after(d time.Duration) <-chan time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waits = append(c.waits, d)
	return c.ticks
}

func (c *clock) asked(n int) []time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.waits) < n {
		return nil
	}
	return append([]time.Duration(nil), c.waits...)
}

func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !f(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

func spec(i int) pool.Spec {
	return pool.Spec{ID: fmt.Sprintf("ns/pod-%d", i), Address: fmt.Sprintf("10.0.0.%d:8000", i)}
}

// kept are the endpoints that may serve a model, as their numbers.
func kept(l *Lists, p *pool.Pool, model string) string {
	snap := p.Snapshot()
	in := make([]int32, snap.Len())
	for i := range in {
		in[i] = int32(i)
	}
	c := &scheduler.Cycle{Request: &scheduler.Request{Model: model}, Snapshot: snap}
	var out []string
	for _, i := range l.Filter(c, in) {
		out = append(out, strings.TrimPrefix(snap.Endpoints[i].ID, "ns/pod-"))
	}
	return strings.Join(out, " ")
}

func answer(lists ...*Lists) string {
	body, ok := Answer(lists)
	if !ok {
		return "unknown"
	}
	return string(body)
}

// start runs a Set until the test ends.
func start(t *testing.T, o Options) *Set {
	t.Helper()
	s := New(o)
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return s
}

var (
	base = Model{ID: "llama", Object: "model", OwnedBy: "vllm"}
	sql  = Model{ID: "sql", Adapter: true}
)

func TestListsFollowEndpoints(t *testing.T) {
	r := &fakeReader{lists: map[string][]Model{}, reads: map[string]int{}}
	ticks := &clock{ticks: make(chan time.Time)}
	stop := make(chan struct{})
	go func() { // time passes
		for {
			select {
			case ticks.ticks <- time.Time{}:
			case <-stop:
				return
			}
		}
	}()
	t.Cleanup(func() { close(stop) })
	s := start(t, Options{Reader: r, After: ticks.after})
	p := pool.New("ns/p", pool.Options{})
	p.Set([]pool.Spec{spec(1), spec(2), spec(3)})
	l := s.Open("ns/p", p)
	defer l.Close()
	if got := answer(l); got != "unknown" {
		t.Errorf("before anybody has said: %s", got)
	}
	if got := kept(l, p, "llama"); got != "1 2 3" {
		t.Errorf("before anybody has said: kept %s", got)
	}
	r.set("10.0.0.2:8000", base)
	r.set("10.0.0.3:8000", base, sql)
	eventually(t, "two have said", func() bool {
		return l.view.Load().known == 2 && answer(l) == `{"object":"list","data":[{"id":"llama","object":"model","owned_by":"vllm"},{"id":"sql"}]}`
	})
	for model, want := range map[string]string{
		"llama": "1 2 3", // the first may have it as well
		"sql":   "3",
		"other": "1", // nobody lists it, and one has not said
		"":      "1 2 3",
	} {
		if got := kept(l, p, model); got != want {
			t.Errorf("%q: kept %s, want %s", model, got, want)
		}
	}
	r.set("10.0.0.1:8000", Model{ID: "llama", OwnedBy: "first"})
	eventually(t, "the first endpoint's word counts", func() bool { return strings.Contains(answer(l), `"owned_by":"first"`) })
	if got := kept(l, p, "other"); got != "1 2 3" {
		t.Errorf("a model that nobody lists: kept %s", got)
	}
	// An adapter moves.
	r.set("10.0.0.3:8000", base)
	r.set("10.0.0.2:8000", base, sql)
	eventually(t, "the adapter is elsewhere", func() bool { return kept(l, p, "sql") == "2" })
	// Its endpoint goes, and another takes its slot's place.
	p.Set([]pool.Spec{spec(1), spec(4)})
	eventually(t, "the adapter is gone", func() bool { return !strings.Contains(answer(l), "sql") })
	if got := kept(l, p, "sql"); got != "4" {
		t.Errorf("an adapter that is gone: kept %s", got)
	}
	n := r.count("10.0.0.2:8000")
	again := r.count("10.0.0.1:8000")
	eventually(t, "time passes", func() bool { return r.count("10.0.0.1:8000") > again+5 })
	if r.count("10.0.0.2:8000") > n+1 {
		t.Error("an endpoint that is gone is still asked")
	}
}

func TestListsOfSeveralPools(t *testing.T) {
	r := &fakeReader{lists: map[string][]Model{"10.0.0.1:8000": {{ID: "b"}, {ID: "a", OwnedBy: "one"}}, "10.0.0.2:8000": {{ID: "a", OwnedBy: "two"}, {ID: "c"}}}, reads: map[string]int{}}
	s := start(t, Options{Reader: r})
	var all []*Lists
	for i := 1; i <= 2; i++ {
		p := pool.New(fmt.Sprint("ns/", i), pool.Options{})
		p.Set([]pool.Spec{spec(i)})
		l := s.Open(p.Name(), p)
		defer l.Close()
		all = append(all, l)
	}
	eventually(t, "all have said", func() bool {
		return answer(all...) == `{"object":"list","data":[{"id":"a","owned_by":"one"},{"id":"b"},{"id":"c"}]}`
	})
	if got := answer(all[1]); got != `{"object":"list","data":[{"id":"a","owned_by":"two"},{"id":"c"}]}` {
		t.Errorf("the second pool: %s", got)
	}
}

// A list is read rarely; after failures sooner, and they are logged once.
func TestIntervals(t *testing.T) {
	r := &fakeReader{lists: map[string][]Model{}, reads: map[string]int{}}
	ticks := &clock{ticks: make(chan time.Time)}
	var mu sync.Mutex
	var log bytes.Buffer
	s := start(t, Options{
		Reader: r, After: ticks.after, Rand: func() float64 { return 0.5 }, Interval: time.Millisecond,
		Log: slog.New(slog.NewTextHandler(locked{&mu, &log}, nil)),
	})
	p := pool.New("ns/p", pool.Options{})
	p.Set([]pool.Spec{spec(1)})
	l := s.Open("ns/p", p)
	defer l.Close()
	for range 3 {
		ticks.ticks <- time.Time{}
	}
	var waits []time.Duration
	eventually(t, "three failures", func() bool { waits = ticks.asked(4); return waits != nil })
	r.set("10.0.0.1:8000", base)
	ticks.ticks <- time.Time{}
	eventually(t, "success", func() bool { waits = ticks.asked(5); return waits != nil })
	if got, want := fmt.Sprint(waits), fmt.Sprint([]time.Duration{time.Millisecond, 500 * time.Millisecond, time.Second, time.Second, time.Second}); got != want {
		t.Errorf("waited %s, want %s", got, want)
	}
	mu.Lock()
	defer mu.Unlock()
	if got := log.String(); strings.Count(got, "cannot be read") != 1 || strings.Count(got, "can be read again") != 1 {
		t.Errorf("logged %s", got)
	}
}

type locked struct {
	mu *sync.Mutex
	w  *bytes.Buffer
}

func (l locked) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(b)
}

func TestRunOnce(t *testing.T) {
	s := New(Options{})
	ctx, stop := context.WithCancel(context.Background())
	stop()
	if err := s.Run(ctx); err != nil {
		t.Error(err)
	}
	if err := s.Run(ctx); err == nil {
		t.Error("it ran twice")
	}
}

func TestReader(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("/v1/models", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"data":[{"id":"m"}]}`) })
	mux.HandleFunc("/large", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write(bytes.Repeat([]byte(" "), maxPage+1))
	})
	mux.HandleFunc("/moved", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/v1/models", http.StatusFound) })
	mux.HandleFunc("/page", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>") })
	srv := httptest.NewServer(mux)
	defer srv.Close()
	for path, want := range map[string]string{"": "", "/large": "too large", "/moved": "HTTP 302", "/page": "no JSON object", "/none": "HTTP 404"} {
		r, err := NewReader(scrape.ClientOptions{Path: path})
		if err != nil {
			t.Fatal(err)
		}
		models, err := r.Read(t.Context(), srv.Listener.Addr().String())
		if want == "" && (err != nil || len(models) != 1 || models[0].ID != "m") || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: %v, %v, want %q", path, models, err, want)
		}
	}
	if _, err := NewReader(scrape.ClientOptions{CAFile: "/nowhere"}); err == nil {
		t.Error("a missing CA file is accepted")
	}
}

// Asking which endpoints may serve a request allocates nothing.
func TestFilterAllocatesNothing(t *testing.T) {
	r := &fakeReader{lists: map[string][]Model{"10.0.0.1:8000": {base}, "10.0.0.2:8000": {base, sql}}, reads: map[string]int{}}
	s := start(t, Options{Reader: r})
	p := pool.New("ns/p", pool.Options{})
	p.Set([]pool.Spec{spec(1), spec(2)})
	l := s.Open("ns/p", p)
	defer l.Close()
	eventually(t, "both have said", func() bool { return l.view.Load().known == 2 })
	c := &scheduler.Cycle{Request: &scheduler.Request{Model: "sql"}, Snapshot: p.Snapshot()}
	in := make([]int32, 2)
	if n := testing.AllocsPerRun(100, func() {
		in[0], in[1] = 0, 1
		if out := l.Filter(c, in); len(out) != 1 {
			t.Errorf("kept %v", out)
		}
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}
