package pool

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/fairway-ai/fairway/pool/scrape"
	"github.com/fairway-ai/fairway/scheduler"
)

var (
	errRefused = fmt.Errorf("dial: %w", syscall.ECONNREFUSED)
	errStatus  = &scrape.StatusError{Code: 500}
	errTimeout = context.DeadlineExceeded
	errOther   = errors.New("connection reset")
)

// fakeScraper answers scrapes from memory.
type fakeScraper struct {
	mu      sync.Mutex
	fetch   func(ctx context.Context, url string) (scrape.Values, error)
	probe   error
	fetches map[string]int
	open    map[string]int
	overlap bool
}

func newFake() *fakeScraper {
	return &fakeScraper{fetches: map[string]int{}, open: map[string]int{}}
}

func (f *fakeScraper) URL(address string) string { return "http://" + address + "/metrics" }

func (f *fakeScraper) Fetch(ctx context.Context, url string, e *scrape.Engine) (scrape.Values, error) {
	f.mu.Lock()
	f.fetches[url]++
	f.open[url]++
	f.overlap = f.overlap || f.open[url] > 1
	fetch := f.fetch
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		f.open[url]--
		f.mu.Unlock()
	}()
	if fetch == nil {
		return scrape.Values{Running: 1}, nil
	}
	return fetch(ctx, url)
}

func (f *fakeScraper) Probe(ctx context.Context, address string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.probe
}

func (f *fakeScraper) answer(v scrape.Values, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fetch = func(context.Context, string) (scrape.Values, error) { return v, err }
}

// count returns the scrapes so far and forgets them.
func (f *fakeScraper) count() (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, k := range f.fetches {
		n += k
	}
	clear(f.fetches)
	return n
}

func (f *fakeScraper) countOf(url string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.fetches[url]
}

func specsOf(n int) []Spec {
	specs := make([]Spec, n)
	for i := range specs {
		specs[i] = Spec{ID: fmt.Sprintf("default/e%d", i), Address: fmt.Sprintf("10.0.%d.%d:8000", i/250, i%250+1)}
	}
	return specs
}

func newPool(t testing.TB, f *fakeScraper, change ...func(*Options)) *Pool {
	t.Helper()
	o := Options{Scraper: f, Logger: slog.New(slog.NewTextHandler(io.Discard, nil)), Rand: func() float64 { return 0.5 }}
	for _, c := range change {
		c(&o)
	}
	return New("default/test", o)
}

// run scrapes until the test ends, or the returned function is called.
func run(t testing.TB, p *Pool) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	return sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}

// lines collects log lines.
type lines struct {
	mu  sync.Mutex
	all []string
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, string(b))
	return len(b), nil
}

func (l *lines) count(part string) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.all {
		if strings.Contains(s, part) {
			n++
		}
	}
	return n
}

func only(t testing.TB, p *Pool) scheduler.Metrics {
	t.Helper()
	s := p.Snapshot()
	if s.Len() != 1 || len(s.Metrics) != 1 {
		t.Fatalf("snapshot has %d endpoints and %d metrics, want 1", s.Len(), len(s.Metrics))
	}
	return s.Metrics[0]
}
