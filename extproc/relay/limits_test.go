package relay

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fairway-ai/fairway/internal/testkit"
)

// TestLimits bounds what one picker takes.
func TestLimits(t *testing.T) {
	gate := make(chan struct{})
	d := dialect{streams: true}
	addr, _ := serve(t, func(f foreign) error {
		select {
		case <-gate:
		case <-f.Context().Done():
		}
		return d.serve(f)
	})
	r := newRig(t, func(o *Options) { o.MaxStreams, o.MaxHeldBytes = 2, 10_000 })
	r.set(addr, true)
	a := r.open()
	a.ask(post(buffered, streamed))
	a.send(reqBody(prompt(6000), true))
	eventually(t, "held", func() error {
		if n := (*r.registry.pools.Load())["ns/p"].client.held.Load(); n < 6000 {
			return fmt.Errorf("%d bytes", n)
		}
		return nil
	})
	b := r.open()
	wantOpen(t, b.request(buffered, prompt(6000)))
	r.wantOutcome("fail_open overload")
	c := r.open()
	wantOpen(t, c.request(buffered, prompt(10)))
	close(gate)
	wantPick(t, a.recv(), picked)
	a.finish()
	b.finish()
	c.finish()
}

// TestHold: Envoy is told when the picker takes long, and the client's leaving ends
// the wait.
func TestHold(t *testing.T) {
	gate, left := make(chan struct{}), make(chan struct{}, 1)
	d := dialect{streams: true}
	addr, _ := serve(t, func(f foreign) error {
		select {
		case <-gate:
			return d.serve(f)
		case <-f.Context().Done():
			left <- struct{}{}
			return nil
		}
	})
	r := newRig(t, func(o *Options) { o.HoldAfter = time.Millisecond })
	r.set(addr, false)
	c := r.open()
	c.ask(post(buffered, streamed))
	c.send(reqBody(prompt(100), true))
	m, err := c.s.Recv()
	if err != nil || m.GetOverrideMessageTimeout().AsDuration() < patience {
		t.Fatalf("got %v, %v, want more time", m, err)
	}
	gone := r.open()
	gone.ask(post(buffered, streamed))
	gone.send(reqBody(prompt(100), true))
	if m, err := gone.s.Recv(); err != nil || m.GetOverrideMessageTimeout() == nil {
		t.Fatalf("got %v, %v", m, err)
	}
	gone.cancel()
	select {
	case <-left:
	case <-time.After(patience):
		t.Error("the picker was not told that the client left")
	}
	close(gate)
	wantPick(t, c.recv(), picked)
	c.finish()
}

// TestLog: what an operator should know is said once, with the pool and the picker.
func TestLog(t *testing.T) {
	var mu sync.Mutex
	var text bytes.Buffer
	r := newRig(t, func(o *Options) {
		o.Log = slog.New(slog.NewTextHandler(writer(func(b []byte) { mu.Lock(); defer mu.Unlock(); text.Write(b) }), nil))
	})
	addr := testkit.Refused(t)
	r.set(addr, true, briefly)
	for range 3 {
		wantOpen(t, ask2(r))
	}
	mu.Lock()
	defer mu.Unlock()
	got := text.String()
	if strings.Count(got, "\n") != 1 || !strings.Contains(got, "ns/p") || !strings.Contains(got, addr) || !strings.Contains(got, "check") {
		t.Errorf("logged %q", got)
	}
}

type writer func([]byte)

func (w writer) Write(b []byte) (int, error) { w(b); return len(b), nil }
