package kvcache_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/fairway-ai/fairway/epp"
	"github.com/fairway-ai/fairway/epp/explain"
	"github.com/fairway-ai/fairway/epp/kvcache"
	"github.com/fairway-ai/fairway/extproc"
	"github.com/fairway-ai/fairway/extproc/scan"
	"github.com/fairway-ai/fairway/internal/testkit"
	"github.com/fairway-ai/fairway/pool"
	"github.com/fairway-ai/fairway/scheduler"
	"github.com/fairway-ai/fairway/sim/engine"
	"github.com/fairway-ai/fairway/sim/server"
)

const (
	poolName = "ns/pool"
	patience = 15 * time.Second
)

// engineAt is a simulated server at an address of its own.
type engineAt struct {
	t       *testing.T
	address string // of its API
	config  server.Config
	sim     *server.Server
	http    *httptest.Server
}

// startEngine starts a server; address may be "127.0.0.1:0".
func startEngine(t *testing.T, address string, kv server.KVEvents) (*engineAt, error) {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	e := &engineAt{t: t, address: l.Addr().String()}
	kv.Topic = "kv@" + e.address + "@m"
	e.config = server.Config{Speed: 2000, Model: "m", Adapters: []string{"sql"}, Engine: engine.Config{Blocks: 512, BlockTokens: 16}, KVEvents: kv}
	if e.sim, err = server.New(e.config); err != nil {
		return nil, err
	}
	e.http = httptest.NewUnstartedServer(e.sim)
	e.http.Listener.Close()
	e.http.Listener = l
	e.http.Start()
	t.Cleanup(e.stop)
	return e, nil
}

func (e *engineAt) stop() {
	if e.sim != nil {
		e.http.CloseClientConnections()
		e.http.Close()
		e.sim.Close()
		e.sim = nil
	}
}

// again starts the server anew, with an empty cache, where it was.
func (e *engineAt) again() *engineAt {
	e.t.Helper()
	var next *engineAt
	eventually(e.t, "the server is back", func() error {
		var err error
		next, err = startEngine(e.t, e.address, e.config.KVEvents)
		return err
	})
	return next
}

func (e *engineAt) post(path, body string) []byte {
	e.t.Helper()
	res, err := http.Post("http://"+e.address+path, "application/json", strings.NewReader(body))
	if err != nil {
		e.t.Fatal(err)
	}
	defer res.Body.Close()
	out, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != 200 {
		e.t.Fatalf("%s: %d %s %v", path, res.StatusCode, out, err)
	}
	return out
}

func eventually(t *testing.T, what string, f func() error) {
	t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(2 * time.Millisecond) {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%s: %v", what, err)
		}
	}
}

// world is a picker over a pool whose engines report.
type world struct {
	t       *testing.T
	log     *testkit.Log
	caches  *kvcache.Set
	picker  *epp.Picker
	pools   *epp.PoolSet
	ring    *explain.Ring
	scanner *scan.Scanner
	n       int
}

func newWorld(t *testing.T, o kvcache.Options) *world {
	t.Helper()
	w := &world{t: t, log: &testkit.Log{}, ring: explain.NewRing(0), scanner: scan.New(scan.Options{})}
	o.Log = slog.New(slog.NewTextHandler(w.log, nil))
	o.Tokens.Engines = true
	if o.Tokens.Budget == 0 {
		o.Tokens.Budget = patience // the machine may be busy
	}
	var err error
	if w.caches, err = kvcache.New(o); err != nil {
		t.Fatal(err)
	}
	if w.picker, err = epp.New(epp.Options{Explain: w.ring, Seed: 1}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.picker.Close)
	w.pools = epp.NewPoolSet(epp.PoolSetOptions{Picker: w.picker, KVCache: w.caches})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.caches.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return w
}

// serve makes the pool the ranks of one server.
func (w *world) serve(engines ...*engineAt) {
	var specs []pool.Spec
	for i, e := range engines {
		specs = append(specs, pool.Spec{ID: fmt.Sprintf("ns/pod-rank-%d", i), Address: e.address})
	}
	w.pools.Update([]epp.PoolConfig{{Name: poolName, Specs: specs}}, nil)
}

// live waits until that many endpoints are known.
func (w *world) live(n int) {
	w.t.Helper()
	eventually(w.t, fmt.Sprintf("%d live endpoints", n), func() error {
		if p := w.caches.Stats().Pools; len(p) != 1 || p[0].Live != n {
			return fmt.Errorf("%+v", p)
		}
		return nil
	})
}

// blocks waits until that many of the engines' blocks are known.
func (w *world) blocks(n int64) {
	w.t.Helper()
	eventually(w.t, fmt.Sprintf("%d blocks", n), func() error {
		if s := w.caches.Stats(); s.Index.Blocks != n {
			return fmt.Errorf("%+v", s)
		}
		return nil
	})
}

// logged waits until the log has lines with that text.
func (w *world) logged(text string, n int) {
	w.t.Helper()
	eventually(w.t, fmt.Sprintf("%d lines %q", n, text), func() error {
		if got := strings.Count(w.log.String(), text); got != n {
			return fmt.Errorf("%d", got)
		}
		return nil
	})
}

// request is a request to the chat API as the server would pass it on.
func (w *world) request(body string) *extproc.Request {
	w.t.Helper()
	return scanned(w.t, w.scanner, "/v1/chat/completions", body)
}

func scanned(t testing.TB, s *scan.Scanner, path, body string) *extproc.Request {
	t.Helper()
	s.Reset(scan.APIFromPath(path))
	if err := s.Write([]byte(body)); err != nil {
		t.Fatal(err)
	}
	found, err := s.Finish()
	if err != nil {
		t.Fatal(err)
	}
	r := extproc.NewRequest(nil, nil)
	r.ID, r.Method, r.Path, r.Body, r.BodyBytes = "r", "POST", path, *found, int64(len(body))
	r.SetBody([]byte(body))
	return r
}

// pick routes a request, has it end at once, and returns how it was decided.
func (w *world) pick(body string) explain.Decision {
	w.t.Helper()
	req := w.request(body)
	w.n++
	req.ID = fmt.Sprint("r", w.n)
	p, err := w.picker.Pick(context.Background(), req)
	if err != nil {
		w.t.Fatal(err)
	}
	now := time.Now()
	p.Observer.ResponseHeaders(now, 200, "")
	p.Observer.FirstToken(now)
	p.Observer.End(now, extproc.Outcome{Status: 200, Complete: true})
	d, ok := w.ring.Find(req.ID)
	if !ok {
		w.t.Fatal("the decision is not kept")
	}
	return d
}

// exact is the endpoints that a decision knew exactly.
func exact(d explain.Decision) (ids string) {
	for _, row := range d.Rows {
		for i, c := range d.Columns {
			if c.Name == scheduler.ExactFact && row.Values[i] == 1 {
				ids += row.ID + " "
			}
		}
	}
	return ids
}

func chat(text string) string {
	b, err := json.Marshal(map[string]any{"model": "m", "max_tokens": 1, "messages": []any{map[string]any{"role": "user", "content": text}}})
	if err != nil {
		panic(err)
	}
	return string(b)
}

// long is a prompt of some 300 tokens.
func long(name string) string { return chat(strings.Repeat(name+": the quick brown fox. ", 40)) }

// adjacent starts two servers, as ranks of one, at neighbouring event ports.
func adjacent(t *testing.T, replay bool, format string) (a, b *engineAt, events, replays int) {
	t.Helper()
	eventually(t, "two servers at neighbouring ports", func() error {
		kv := server.KVEvents{Endpoint: "tcp://*:0", Format: format}
		if replay {
			kv.ReplayEndpoint = "tcp://127.0.0.1:0"
		}
		var err error
		if a, err = startEngine(t, "127.0.0.1:0", kv); err != nil {
			return err
		}
		addr, again := a.sim.KVEventAddrs()
		events = addr.(*net.TCPAddr).Port
		kv.Endpoint = fmt.Sprintf("tcp://*:%d", events+1)
		a.config.KVEvents.Endpoint = fmt.Sprintf("tcp://*:%d", events)
		if replay {
			replays = again.(*net.TCPAddr).Port
			a.config.KVEvents.ReplayEndpoint = fmt.Sprintf("tcp://127.0.0.1:%d", replays)
			kv.ReplayEndpoint = fmt.Sprintf("tcp://127.0.0.1:%d", replays+1)
		}
		if b, err = startEngine(t, "127.0.0.1:0", kv); err != nil {
			a.stop()
		}
		return err
	})
	return a, b, events, replays
}
