package main

import (
	"bytes"
	"log/slog"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/fairway-ai/fairway/gateway/xds"
	"github.com/fairway-ai/fairway/pool"
	"github.com/fairway-ai/fairway/pool/file"
)

func TestRunOptions(t *testing.T) {
	for _, tt := range []struct {
		change func(*runOptions)
		want   string // in the error, "" for none
	}{
		{func(*runOptions) {}, ""},
		{func(o *runOptions) { o.listen = "0.0.0.0:0" }, ""},
		{func(o *runOptions) { o.listen = "[::1]:8080" }, ""},
		{func(o *runOptions) { o.listen = "localhost:8080" }, "--listen"},
		{func(o *runOptions) { o.listen = ":8080" }, "--listen"},
		{func(o *runOptions) { o.sims = 0 }, "--sim: 0"},
		{func(o *runOptions) { o.sims = 257 }, "--sim: 257"},
		{func(o *runOptions) { o.sims, o.file = 0, "fairway.yaml" }, ""},
		{func(o *runOptions) { o.admin = "9090" }, "--admin"},
		{func(o *runOptions) { o.admin = ":9090" }, ""},
		{func(o *runOptions) { o.maxBody = 1<<30 + 1 }, "--max-body-bytes"},
		{func(o *runOptions) { o.concurrency = -1 }, "--concurrency"},
		{func(o *runOptions) { o.drainTimeout = 0 }, "--drain-timeout"},
	} {
		o := runOptions{listen: "127.0.0.1:8080", sims: 8, maxBody: 1, drainTimeout: time.Second}
		tt.change(&o)
		if err := o.validate(); (err != nil) != (tt.want != "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%+v: %v, want %q", o, err, tt.want)
		}
	}
}

func TestRunCommandValidates(t *testing.T) {
	cmd := newRootCommand()
	cmd.SetArgs([]string{"run", "--sim", "0"})
	if err := cmd.ExecuteContext(t.Context()); err == nil || !strings.Contains(err.Error(), "--sim: 0") {
		t.Errorf("%v, want an error about --sim", err)
	}
}

func TestXDSPools(t *testing.T) {
	got := xdsPools(&file.Config{Pools: []file.PoolConfig{
		{Name: "a", Namespace: "ns", FailureMode: "FailOpen", AppProtocol: "http",
			Specs: []pool.Spec{{ID: "ns/x", Address: "10.0.0.1:8000"}, {ID: "ns/y", Address: "10.0.0.2:8000"}}},
		{Name: "b", Namespace: "ns", FailureMode: "FailClose", AppProtocol: "kubernetes.io/h2c"},
	}})
	want := []xds.Pool{
		{Name: "ns/a", FailOpen: true, Endpoints: []string{"10.0.0.1:8000", "10.0.0.2:8000"}},
		{Name: "ns/b", HTTP2: true},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestUnion(t *testing.T) {
	got := union(
		[]xds.Pool{{Name: "stays", Endpoints: []string{"new"}, FailOpen: true}, {Name: "comes"}},
		[]xds.Pool{{Name: "goes", Endpoints: []string{"x"}}, {Name: "stays", Endpoints: []string{"old"}}},
	)
	want := []xds.Pool{
		{Name: "stays", Endpoints: []string{"new", "old"}, FailOpen: true}, {Name: "comes"},
		{Name: "goes", Endpoints: []string{"x"}},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestAnnouncer(t *testing.T) {
	var out, logged bytes.Buffer
	log := slog.New(slog.NewTextHandler(&logged, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}))
	announcer(&out, log, true)("ready", "address", "http://127.0.0.1:8080", "pools", 2)
	if out.String() != "ready  http://127.0.0.1:8080  2\n" || logged.Len() > 0 {
		t.Errorf("on a terminal: %q, logged %q", &out, &logged)
	}
	out.Reset()
	announcer(&out, log, false)("ready", "address", "http://127.0.0.1:8080")
	if out.Len() > 0 || logged.String() != "level=INFO msg=ready address=http://127.0.0.1:8080\n" {
		t.Errorf("without one: %q, logged %q", &out, &logged)
	}
}

func TestTableLines(t *testing.T) {
	table := liveTable{
		rows: []tableRow{
			{name: "default/sim-0", state: "ok", requests: 3, tokens: 12345, prompt: 1000, cached: 250, ttft: []float64{.3, .1, .2}, rate: 1.5},
			{name: "default/sim-1", state: "unreachable"},
			{name: "default/sim-2", state: "no metrics", ttft: []float64{12.3}, prompt: 1},
		},
		total: tableRow{name: "all", requests: 3, tokens: 12345, rate: 1.5},
	}
	for n, want := range map[int]string{
		3: `
       endpoint        state  in flight  tokens  cache hits  TTFT p50     p90  picks/s
  default/sim-0           ok          3   12345         25%    200 ms  300 ms      1.5
  default/sim-1  unreachable          0       0           -         -       -      0.0
  default/sim-2   no metrics          0       0          0%    12.3 s  12.3 s      0.0
            all                       3   12345           -         -       -      1.5`,
		1: `
       endpoint  state  in flight  tokens  cache hits  TTFT p50     p90  picks/s
  default/sim-0     ok          3   12345         25%    200 ms  300 ms      1.5
       … 2 more                                                                 
            all                 3   12345           -         -       -      1.5`,
	} {
		if got := "\n" + string(bytes.Join(table.lines(n), []byte("\n"))); got != want {
			t.Errorf("%d endpoints: got%s\nwant%s", n, got, want)
		}
	}
}
