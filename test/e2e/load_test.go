package e2e

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const (
	// requestTimeout bounds one request of a load, with its answer.
	requestTimeout = 60 * time.Second
	// maxAnswer bounds an answer, in bytes.
	maxAnswer = 1 << 20
	// serverHeader names the simulated server that answered.
	serverHeader = "x-sim-server"
	// backendHeader names the pool or AIBackend that answered.
	backendHeader = "x-fairway-backend"
)

// target is what a request is for.
type target struct {
	address string // the Gateway's, host:port
	scheme  string // "" means http
	host    string
	model   string
	tokens  int
	stream  bool
}

// outcome is one request's.
type outcome struct {
	status  int    // 0 when there was no answer
	server  string // who answered
	backend string // the pool or AIBackend, where an AIRoute led there
	reason  string // why it failed, "" when it did not
	began   time.Time
	ended   time.Time
}

// send makes one request and reads the whole answer.
func (g target) send(ctx context.Context, client *http.Client, text string) (o outcome) {
	o.began = time.Now()
	defer func() { o.ended = time.Now() }()
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	body := fmt.Sprintf(`{"model":%q,"stream":%t,"max_tokens":%d,"messages":[{"role":"user","content":%q}]}`, g.model, g.stream, g.tokens, text)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, cmp.Or(g.scheme, "http")+"://"+g.address+"/v1/chat/completions", strings.NewReader(body))
	if err != nil {
		o.reason = err.Error()
		return o
	}
	req.Host = g.host
	req.Header.Set("content-type", "application/json")
	resp, err := client.Do(req)
	if err != nil {
		o.reason = "no answer: " + err.Error()
		return o
	}
	defer resp.Body.Close()
	o.status, o.server, o.backend = resp.StatusCode, resp.Header.Get(serverHeader), resp.Header.Get(backendHeader)
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	switch {
	case err != nil:
		o.reason = fmt.Sprintf("status %d, cut after %d bytes: %v", o.status, len(answer), err)
	case o.status != http.StatusOK:
		o.reason = fmt.Sprintf("status %d: %.200s", o.status, answer)
	case g.stream && !strings.HasSuffix(string(answer), "data: [DONE]\n\n"):
		o.reason = fmt.Sprintf("the stream was cut after %d bytes", len(answer))
	case !g.stream && !strings.Contains(string(answer), `"finish_reason"`):
		o.reason = fmt.Sprintf("an answer without an end: %.200s", answer)
	}
	return o
}

// load keeps a number of requests in flight, until stopped.
type load struct {
	t    *testing.T
	stop context.CancelFunc
	wg   sync.WaitGroup

	mu       sync.Mutex
	outcomes []outcome // guarded by mu
	changed  chan struct{}
}

// startLoad keeps n requests in flight, each with a prompt of its own.
func startLoad(t *testing.T, g target, n int) *load {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	l := &load{t: t, stop: stop, changed: make(chan struct{}, 1)}
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: n, IdleConnTimeout: time.Minute}}
	var number atomic.Int64
	for range n {
		l.wg.Go(func() {
			for ctx.Err() == nil {
				// The request itself is not cut when the load ends.
				l.note(g.send(context.Background(), client, fmt.Sprintf("question number %d", number.Add(1))))
			}
		})
	}
	t.Cleanup(func() { l.end(); client.CloseIdleConnections() })
	return l
}

func (l *load) note(o outcome) {
	l.mu.Lock()
	l.outcomes = append(l.outcomes, o)
	l.mu.Unlock()
	select {
	case l.changed <- struct{}{}:
	default:
	}
	if o.reason != "" {
		// What refuses at once shall not be asked in a tight loop.
		time.Sleep(20 * time.Millisecond)
	}
}

// end lets the requests under way finish and returns all outcomes.
func (l *load) end() []outcome {
	l.stop()
	l.wg.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.outcomes
}

// waitFor waits until n more requests succeeded and returns false if they did not in
// time.
func (l *load) waitFor(n int, timeout time.Duration) bool {
	deadline := time.After(timeout)
	good := func() (sum int) {
		l.mu.Lock()
		defer l.mu.Unlock()
		for _, o := range l.outcomes {
			if o.reason == "" {
				sum++
			}
		}
		return sum
	}
	for want := good() + n; good() < want; {
		select {
		case <-l.changed:
		case <-deadline:
			return false
		}
	}
	return true
}

// failures counts the reasons of requests that failed.
func failures(outcomes []outcome) map[string]int {
	m := map[string]int{}
	for _, o := range outcomes {
		if o.reason != "" {
			m[o.reason]++
		}
	}
	return m
}

// mustBeFlawless fails the test for every reason that a request failed for.
func mustBeFlawless(t *testing.T, outcomes []outcome) {
	t.Helper()
	bad := failures(outcomes)
	for _, reason := range slices.Sorted(maps.Keys(bad)) {
		t.Errorf("%d of %d requests failed: %s", bad[reason], len(outcomes), reason)
	}
	t.Logf("%d requests, %d failed, answered by %v", len(outcomes), sum(bad), servers(outcomes))
}

func servers(outcomes []outcome) map[string]int {
	m := map[string]int{}
	for _, o := range outcomes {
		if o.reason == "" {
			m[o.server]++
		}
	}
	return m
}

func sum(m map[string]int) (n int) {
	for _, v := range m {
		n += v
	}
	return n
}
