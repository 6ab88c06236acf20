package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/fairway-ai/fairway/epp"
	"github.com/fairway-ai/fairway/extproc"
	"github.com/fairway-ai/fairway/extproc/scan"
	"github.com/fairway-ai/fairway/internal/filewatch"
	"github.com/fairway-ai/fairway/internal/testkit"
	"github.com/fairway-ai/fairway/pool"
)

// mounted is a file as in a mounted ConfigMap: its directory is a link that is swapped.
type mounted struct {
	t    *testing.T
	dir  string
	path string
	n    int
}

func mount(t *testing.T, text string) *mounted {
	m := &mounted{t: t, dir: t.TempDir()}
	m.path = filepath.Join(m.dir, "config.yaml")
	m.swap(text)
	if err := os.Symlink(filepath.Join("..data", "config.yaml"), m.path); err != nil {
		t.Fatal(err)
	}
	return m
}

func (m *mounted) swap(text string) {
	m.t.Helper()
	m.n++
	version := fmt.Sprint("..", m.n)
	for _, err := range []error{
		os.Mkdir(filepath.Join(m.dir, version), 0o700),
		os.WriteFile(filepath.Join(m.dir, version, "config.yaml"), []byte(text), 0o600),
		os.Symlink(version, filepath.Join(m.dir, "..data_tmp")),
		os.Rename(filepath.Join(m.dir, "..data_tmp"), filepath.Join(m.dir, "..data")),
	} {
		if err != nil {
			m.t.Fatal(err)
		}
	}
}

// labelled is a configuration that picks the endpoints with a label.
func labelled(value string) string {
	return "apiVersion: llm-d.ai/v1alpha1\nkind: EndpointPickerConfig\nplugins:\n" +
		"- {type: label-selector-filter, parameters: {matchLabels: {gpu: " + value + "}}}\n" +
		"- {type: queue-scorer}\n"
}

// reloading is a picker that follows a file.
type reloading struct {
	*reloader
	file   *mounted
	picker *epp.Picker
	pools  *epp.PoolSet
	log    testkit.Log
	events chan string
}

func startReloading(t *testing.T, text string) *reloading {
	t.Helper()
	r := &reloading{file: mount(t, text), events: make(chan string, 100)}
	f := parsed(t, "--config-file", r.file.path, "--pool-name", "x")
	c, err := f.loadConfig()
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(&r.log, nil))
	if r.picker, err = epp.New(epp.Options{Hold: true, ServedHeader: c.servedHeader}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.picker.Close)
	r.pools = epp.NewPoolSet(epp.PoolSetOptions{Picker: r.picker, Policy: c.policy})
	r.pools.SetPool(epp.PoolConfig{Name: "default/x", Specs: []pool.Spec{
		{ID: "default/a", Address: "127.0.0.1:1", Labels: map[string]string{"gpu": "a"}},
		{ID: "default/b", Address: "127.0.0.1:2", Labels: map[string]string{"gpu": "b"}},
	}})
	r.reloader = newReloader(f, c, r.pools, r.picker, f.parseChanged, prometheus.NewRegistry(), log)
	r.watch = filewatch.Options{Debounce: time.Millisecond, Poll: 50 * time.Millisecond}
	r.event = func(_ context.Context, ok bool, note string) { r.events <- fmt.Sprint(ok, " ", note) }
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- r.run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return r
}

// told waits for the next event.
func (r *reloading) told(t *testing.T, want string) {
	t.Helper()
	select {
	case got := <-r.events:
		if !strings.Contains(got, want) {
			t.Fatalf("event %q, want %q", got, want)
		}
	case <-time.After(20 * time.Second):
		t.Fatalf("no event, want %q\n%s", want, &r.log)
	}
}

func (r *reloading) pick(t *testing.T) extproc.Pick {
	t.Helper()
	req := extproc.NewRequest(nil, nil)
	req.ID, req.Received, req.Body = "r", time.Now(), scan.Result{API: scan.ChatCompletions, Model: "m", PromptBytes: 40}
	p, err := r.picker.Pick(t.Context(), req)
	if err != nil {
		t.Error(err)
	}
	return p
}

func (r *reloading) counts() string {
	return fmt.Sprint(testutil.ToFloat64(r.reloads.WithLabelValues(reloadUsed)), testutil.ToFloat64(r.reloads.WithLabelValues(reloadRefused)), testutil.ToFloat64(r.last))
}

func TestReload(t *testing.T) {
	r := startReloading(t, labelled("a"))
	end := func(p extproc.Pick) { p.Observer.End(time.Now(), extproc.Outcome{Status: 200, Complete: true}) }
	first := r.pick(t)
	if first.Destinations != "127.0.0.1:1" {
		t.Fatalf("destinations %q", first.Destinations)
	}
	index := r.pools.Pool("default/x").Index()
	r.file.swap(labelled("b"))
	r.told(t, "true ")
	second := r.pick(t)
	if second.Destinations != "127.0.0.1:2" {
		t.Errorf("destinations %q, want those of the changed file", second.Destinations)
	}
	if got := r.counts(); got != "1 0 1" {
		t.Errorf("reloads %s", got)
	}
	p := r.pools.Pool("default/x")
	if p.Index() != index || p.Snapshot().Endpoints[0].Load.View().Requests != 1 {
		t.Error("the index or what is in flight was lost")
	}
	end(first)
	end(second)
	for _, e := range p.Snapshot().Endpoints {
		if n := e.Load.View().Requests; n != 0 {
			t.Errorf("%s: %d requests after their end", e.ID, n)
		}
	}

	for i, tc := range []struct{ text, want string }{
		{"plugins: [{type: queue-scorrer}]", `unknown plugin type "queue-scorrer"; did you mean "queue-scorer"?`},
		{"plugins: [", "is not valid YAML"},
		{labelled("a") + "- {type: approx-prefix-cache-producer, parameters: {autoTune: false, blockSizeTokens: 64}}\n", "changes the prefix index, which takes a restart"},
		{labelled("a") + "- {name: f, type: file-discovery, parameters: {path: e}}\ndataLayer: {discovery: {pluginRef: f}}\n", "changes dataLayer.discovery, which takes a restart"},
		{labelled("a") + "- {type: metrics-data-source, parameters: {port: 1}}\n", "changes how metrics are read, which takes a restart"},
	} {
		r.file.swap(tc.text)
		r.told(t, tc.want)
		if got, want := r.counts(), fmt.Sprint(1, i+1, 0); got != want {
			t.Errorf("reloads %s, want %s", got, want)
		}
		if p := r.pick(t); p.Destinations != "127.0.0.1:2" {
			t.Errorf("%s: destinations %q, want those of before", tc.text, p.Destinations)
		} else {
			end(p)
		}
	}
	if !strings.Contains(r.log.String(), "the configuration is refused, the one in force stays") {
		t.Errorf("log:\n%s", &r.log)
	}
	// Gone and back, as it was.
	if err := os.Remove(r.file.path); err != nil {
		t.Fatal(err)
	}
	r.told(t, "no such file")
	r.file.write(labelled("b"))
	r.told(t, "true ")
	if got := r.counts(); got != "2 6 1" {
		t.Errorf("reloads %s", got)
	}
	// The default policy, from a file that says nothing. (An empty one may not be complete.)
	if err := os.WriteFile(r.file.path, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	r.told(t, "true ")
	end(r.pick(t))
}

// TestReloadUnderLoad: while the file changes, each request is picked for by one policy
// or the other, and nothing stays in flight.
func TestReloadUnderLoad(t *testing.T) {
	r := startReloading(t, labelled("a"))
	var picked [2]atomic.Int64
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var clients sync.WaitGroup
	for range 4 {
		clients.Go(func() {
			for ctx.Err() == nil {
				p := r.pick(t)
				switch p.Destinations {
				case "127.0.0.1:1":
					picked[0].Add(1)
				case "127.0.0.1:2":
					picked[1].Add(1)
				default:
					t.Errorf("destinations %q", p.Destinations)
					return
				}
				p.Observer.ResponseHeaders(time.Now(), 200, "")
				p.Observer.FirstToken(time.Now())
				p.Observer.End(time.Now(), extproc.Outcome{Status: 200, Complete: true})
			}
		})
	}
	for i := range 10 {
		to, other := 1-i%2, i%2
		r.file.swap(labelled([]string{"a", "b"}[to]))
		r.told(t, "true ")
		// One that has begun may still end with the policy of before.
		before := [2]int64{picked[to].Load(), picked[other].Load()}
		eventually(t, "requests follow the file", &r.log, func() bool { return picked[to].Load() > before[0]+20 })
		if late := picked[other].Load() - before[1]; late > 4 {
			t.Errorf("%d requests were picked for by the policy of before", late)
		}
	}
	stop()
	clients.Wait()
	for _, e := range r.pools.Pool("default/x").Snapshot().Endpoints {
		if n := e.Load.View().Requests; n != 0 {
			t.Errorf("%s: %d requests after their end", e.ID, n)
		}
	}
}
