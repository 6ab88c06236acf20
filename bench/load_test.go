package bench

import (
	"bytes"
	"encoding/json"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestConversations(t *testing.T) {
	for _, size := range bodySizes {
		for _, stream := range []bool{false, true} {
			all := conversations(rand.New(rand.NewPCG(1, 2)), 10, size, stream)
			for i, b := range all {
				if n := len(b.bytes); n > size || n < size-size/20-40 {
					t.Errorf("body %d has %d bytes, want about %d", i, n, size)
				}
				putNonce(b.bytes[b.nonce:b.nonce+nonceBytes], 0xabc)
				var q struct {
					Stream   bool
					Messages []struct{ Role, Content string }
				}
				if err := json.Unmarshal(b.bytes, &q); err != nil {
					t.Fatalf("body %d: %v", i, err)
				}
				last := q.Messages[len(q.Messages)-1]
				if q.Stream != stream || last.Role != "user" || !strings.HasPrefix(last.Content, "0000000000000abc ") {
					t.Errorf("body %d: stream %v, last message %s %.40q", i, q.Stream, last.Role, last.Content)
				}
			}
			shared := len(all[0].bytes) / 5
			if !bytes.Equal(all[0].bytes[:shared], all[7].bytes[:shared]) {
				t.Error("conversations 0 and 7 share no system prompt")
			}
			if bytes.Equal(all[0].bytes[:shared], all[8].bytes[:shared]) {
				t.Error("conversations 0 and 8 share a system prompt")
			}
		}
	}
}

// recorder notes request bodies in front of a backend.
type recorder struct {
	http.Handler
	mu     sync.Mutex
	bodies map[string]bool
}

func (r *recorder) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	body, err := io.ReadAll(q.Body)
	if err != nil {
		return
	}
	r.mu.Lock()
	r.bodies[string(body)] = true
	r.mu.Unlock()
	q.Body = io.NopCloser(bytes.NewReader(body))
	r.Handler.ServeHTTP(w, q)
}

func (r *recorder) seen() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Collect(maps.Keys(r.bodies))
}

func TestHTTPLoad(t *testing.T) {
	b, err := newBackend()
	if err != nil {
		t.Fatal(err)
	}
	for _, stream := range []bool{false, true} {
		seen := &recorder{Handler: b, bodies: map[string]bool{}}
		addrs, stop, err := serveHTTP(1, func(int) http.Handler { return seen })
		if err != nil {
			t.Fatal(err)
		}
		defer stop()
		var nonce atomic.Uint64
		l := newHTTPLoad(conversations(rand.New(rand.NewPCG(1, 2)), 3, 1024, stream), stream, &nonce)
		r, err := l.run(t.Context(), addrs[0], 3, 20, 0)
		if err != nil {
			t.Fatal(err)
		}
		bodies := seen.seen()
		if r.requests != 20 || len(r.latencies) != 20 || len(bodies) != 20 {
			t.Errorf("stream %v: %d requests, %d latencies, %d different bodies; want 20 of each",
				stream, r.requests, len(r.latencies), len(bodies))
		}
		for _, body := range bodies {
			if !json.Valid([]byte(body)) {
				t.Fatalf("not JSON: %.200s", body)
			}
		}
		if r, err = l.run(t.Context(), addrs[0], 2, 0, 5*time.Millisecond); err != nil || r.requests == 0 {
			t.Errorf("for a time: %d requests, %v", r.requests, err)
		}
	}
}

func TestHTTPLoadReportsFailure(t *testing.T) {
	addrs, stop, err := serveHTTP(1, func(int) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "out of order", http.StatusServiceUnavailable)
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	var nonce atomic.Uint64
	l := newHTTPLoad(conversations(rand.New(rand.NewPCG(1, 2)), 1, 1024, false), false, &nonce)
	if _, err := l.run(t.Context(), addrs[0], 2, 10, 0); err == nil || !strings.Contains(err.Error(), "out of order") {
		t.Errorf("got %v, want the server's answer", err)
	}
}

func TestBackend(t *testing.T) {
	b, err := newBackend()
	if err != nil {
		t.Fatal(err)
	}
	if !json.Valid([]byte(answer)) {
		t.Error("the answer is not JSON")
	}
	for _, e := range strings.Split(strings.TrimSuffix(b.token+b.last, "\n\n"), "\n\n") {
		data, ok := strings.CutPrefix(e, "data: ")
		if !ok || data != "[DONE]" && !json.Valid([]byte(data)) {
			t.Errorf("event %q", e)
		}
	}
}

func TestStats(t *testing.T) {
	if got, want := spread([]float64{3, 1, 2, 10}), (Spread{2.5, 1, 10}); got != want {
		t.Errorf("spread: %+v, want %+v", got, want)
	}
	if got := spread(nil); got != (Spread{}) {
		t.Errorf("spread of nothing: %+v", got)
	}
	sorted := []time.Duration{1, 2, 3, 4}
	for q, want := range map[float64]time.Duration{0: 1, .5: 2, .75: 3, .99: 4, 1: 4} {
		if got := quantile(sorted, q); got != want {
			t.Errorf("quantile %v: %v, want %v", q, got, want)
		}
	}
	if quantile(nil, .5) != 0 {
		t.Error("a quantile of nothing")
	}
}

func TestTables(t *testing.T) {
	cpu := .25
	var out bytes.Buffer
	rows := []GatewayRow{{Case: "1 KB", Envoy: GatewaySide{EnvoyCPU: &cpu}, AddedP50: .5}, {Case: "220 KB"}}
	if err := WriteGateway(&out, rows, 16); err != nil {
		t.Fatal(err)
	}
	if err := WriteRequests(&out, []RequestsRow{{Case: "1 KB BUFFERED", Server: "a", CPU: &Spread{.1, .1, .2}, Ratio: 1}, {Case: "1 KB BUFFERED", Server: "b"}}); err != nil {
		t.Fatal(err)
	}
	if err := WriteIdle(&out, IdleResult{Endpoints: 7, CPU: 1.5}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"16 requests at a time", "0.250 → -", "0.100 ms", "7 endpoints", "1.50% of a core"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in:\n%s", want, out.String())
		}
	}
	if n := strings.Count(out.String(), "1 KB BUFFERED"); n != 1 {
		t.Errorf("the case is named %d times, want once", n)
	}
}
