package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"sync/atomic"
	"time"
)

// IdleOptions configure [Idle].
type IdleOptions struct {
	// Self is the fairway binary, whose command "epp" is started.
	Self string
	// Endpoints is the number of model servers.
	Endpoints int
	// Duration is how long the picker is watched.
	Duration time.Duration
	// Page is the metrics page of each server; nil for a simulated server's.
	Page []byte
}

// IdleResult is what a picker without requests uses.
type IdleResult struct {
	Endpoints int     `json:"endpoints"`
	PageBytes int     `json:"page_bytes"`
	Seconds   float64 `json:"seconds"`
	// Pages is how many metrics pages were read per second.
	Pages float64 `json:"pages_per_second"`
	// CPU is the picker's CPU time as a percentage of one core.
	CPU float64 `json:"cpu_percent"`
}

// settle is how long the picker is left alone before it is watched: longer than it
// takes an endpoint to count as idle.
const settle = 5 * time.Second

// Idle measures the CPU time of a picker that gets no requests. This process
// serves the metrics pages.
func Idle(ctx context.Context, o IdleOptions) (_ IdleResult, err error) {
	r := IdleResult{Endpoints: o.Endpoints}
	page := o.Page
	if page == nil {
		b, err := newBackend()
		if err != nil {
			return r, err
		}
		w := httptest.NewRecorder()
		b.metrics.ServeHTTP(w, httptest.NewRequestWithContext(ctx, http.MethodGet, "/metrics", nil))
		page = w.Body.Bytes()
	}
	r.PageBytes = len(page)
	var pages atomic.Int64
	addrs, stop, err := serveHTTP(o.Endpoints, func(int) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
			_, _ = w.Write(page) // an error means that nobody reads it
			pages.Add(1)
		})
	})
	if err != nil {
		return r, err
	}
	defer stop()
	dir, err := os.MkdirTemp("", "fairway-bench-")
	if err != nil {
		return r, fmt.Errorf("a folder for sockets: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	picker, _, err := startPicker(ctx, o.Self, dir, "picker", addrs)
	if err != nil {
		return r, err
	}
	defer picker.stop()
	if err := wait(ctx, settle); err != nil {
		return r, err
	}
	if pages.Load() < int64(o.Endpoints) {
		return r, fmt.Errorf("the picker read %d metrics pages of %d endpoints in %v", pages.Load(), o.Endpoints, settle)
	}
	before, err := cpuTime(picker.pid())
	if err != nil {
		return r, err
	}
	start, read := time.Now(), pages.Load()
	if err := wait(ctx, o.Duration); err != nil {
		return r, err
	}
	elapsed := time.Since(start).Seconds()
	after, err := cpuTime(picker.pid())
	if err != nil {
		return r, err
	}
	r.Seconds = elapsed
	r.Pages = float64(pages.Load()-read) / elapsed
	r.CPU = 100 * (after - before).Seconds() / elapsed
	return r, nil
}

// wait returns early, with an error, when ctx ends.
func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// WriteIdle prints a result.
func WriteIdle(out io.Writer, r IdleResult) error {
	_, err := fmt.Fprintf(out, "%d endpoints, pages of %d KB: %.2f%% of a core over %.0f s, %.1f pages/s\n",
		r.Endpoints, r.PageBytes>>10, r.CPU, r.Seconds, r.Pages)
	return err
}
