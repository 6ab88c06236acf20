package extproc

import (
	"context"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

type countingMetrics struct{ opened, closed, answered atomic.Int64 }

func (m *countingMetrics) StreamOpened()              { m.opened.Add(1) }
func (m *countingMetrics) StreamClosed(time.Duration) { m.closed.Add(1) }
func (m *countingMetrics) Answered(status int)        { m.answered.Store(int64(status)) }

func TestMetrics(t *testing.T) {
	metrics := &countingMetrics{}
	h := newHarness(t, Options{Metrics: metrics})
	h.picker.pick = func(context.Context, *Request) (Pick, error) { return Pick{}, &Rejection{Status: 429} }
	answered(t, h.open(), ended(post("/", duplex, duplex)))
	if err := h.srv.Drain(context.Background()); err != nil {
		t.Fatal(err)
	}
	if metrics.opened.Load() != 1 || metrics.answered.Load() != 429 {
		t.Errorf("%d opened, answered %d", metrics.opened.Load(), metrics.answered.Load())
	}
	for metrics.closed.Load() == 0 { // just after the stream counts as closed
		time.Sleep(time.Millisecond)
	}
}

// TestInternalErrorIsLogged: the operator sees what the client does not.
func TestInternalErrorIsLogged(t *testing.T) {
	var log strings.Builder
	h := newHarness(t, Options{Log: slog.New(slog.NewTextHandler(&log, nil))})
	h.picker.pick = func(context.Context, *Request) (Pick, error) { panic("the cause") }
	answered(t, h.open(), ended(post("/", duplex, duplex)))
	if err := h.srv.Drain(context.Background()); err != nil {
		t.Fatal(err)
	}
	if s := log.String(); !strings.Contains(s, "the cause") || !strings.Contains(s, "request_id=generated-id") {
		t.Errorf("log: %s", s)
	}
}

// TestStreamedWarning: an arrangement that cannot work is reported, once.
func TestStreamedWarning(t *testing.T) {
	var log strings.Builder
	h := newHarness(t, Options{Log: slog.New(slog.NewTextHandler(&log, nil))})
	for range 2 {
		c := h.open()
		c.ask(ended(post("/", streamed, streamed)))
		c.finish()
	}
	if n := strings.Count(log.String(), "picks come too late"); n != 1 {
		t.Errorf("warned %d times: %s", n, log.String())
	}
}

func TestNewRequest(t *testing.T) {
	var held time.Duration
	r := NewRequest([]Header{{"a", "1"}, {"a", "2"}}, func(d time.Duration) error { held = d; return nil })
	if r.Header("a") != "1" || r.Header("b") != "" || r.Hold(time.Second) != nil || held != time.Second {
		t.Errorf("header %q, held %v", r.Header("a"), held)
	}
	if r := (&Request{}); r.Header("a") != "" || r.Hold(time.Second) != nil {
		t.Error("an empty request is not usable")
	}
}

// Whoever waits for the last stream is woken, however its end and the wait interleave.
func TestDrainRaces(t *testing.T) {
	s := New(nil, Options{})
	for range 2000 {
		s.opened()
		done := make(chan error, 2)
		for range 2 {
			go func() { done <- s.Drain(t.Context()) }()
		}
		go s.closed(0)
		for range 2 {
			if err := <-done; err != nil {
				t.Fatal(err)
			}
		}
	}
}
