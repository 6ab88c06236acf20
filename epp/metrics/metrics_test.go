package metrics

import (
	"fmt"
	"io"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"

	"github.com/fairway-ai/fairway/epp/kvcache"
	"github.com/fairway-ai/fairway/pool/scrape"
	"github.com/fairway-ai/fairway/scheduler"
)

// exercise makes every metric show.
func exercise(m *Metrics) {
	r := m.Request("llama", "llama", "default-flow", 0)
	r.Started(1000)
	r.FirstToken(time.Second, true)
	r.Gap(20 * time.Millisecond)
	r.Failed("ModelServerError")
	r.Ended(Outcome{
		Duration: 3 * time.Second, Responded: true, ResponseBytes: 10, UsageKnown: true,
		InputTokens: 100, OutputTokens: 11, CachedTokens: 64, PerToken: 200 * time.Millisecond,
	})
	m.Scheduled(time.Millisecond, "llama", "ns/pod-0", "10.0.0.1:8000")
	m.Unscheduled(time.Millisecond, "llama")
	m.Prefix(50, 100, 4)
	m.Rewritten("split", "llama", "llama-v1")
	m.Held("ns/pool", r, HeldDispatched, time.Second)
	m.Processed(time.Second)
	m.Answering(time.Second)
	m.Disaggregated(r, "split", true, false)
	m.Unread(io.ErrUnexpectedEOF)
	m.Unread(fmt.Errorf("the page: %w", scrape.ErrNoSeries))
	m.Tokenized(time.Second)
	m.StreamOpened()
	m.StreamClosed(time.Second)
	m.StreamEnded("OK")
	m.Answered(503)
	m.WatchKVCache(func() kvcache.Stats {
		return kvcache.Stats{Pools: []kvcache.PoolStats{{Name: "ns/pool", Followed: 2, Live: 1}}}
	})
	l := new(scheduler.Load)
	var f scheduler.Flight
	f.Bind(l, 70, 100)
	snap := &scheduler.Snapshot{
		Endpoints: []scheduler.Endpoint{
			{ID: "ns/pod-0", Address: "10.0.0.1:8000", Load: l},
			{ID: "ns/pod-1", Address: "10.0.0.2:8000", Load: new(scheduler.Load)},
		},
		Metrics: []scheduler.Metrics{{Waiting: 4, Running: 2, KVUsage: .5}, {Unreachable: true}},
	}
	m.Watch(func(yield func(PoolView) bool) {
		// The second pool has the same endpoints under another name.
		_ = yield(PoolView{Name: "ns/pool", Snapshot: snap, Held: 3}) && yield(PoolView{Name: "ns/other", Snapshot: snap})
	})
}

func TestNames(t *testing.T) {
	for file, o := range map[string]Options{
		"testdata/names.txt":        {Commit: "abc", BuildRef: "v1"},
		"testdata/names-legacy.txt": {Legacy: true, Commit: "abc", BuildRef: "v1"},
	} {
		m := New(o)
		exercise(m)
		families, err := m.Registry().Gather()
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, f := range families {
			var labels []string
			for _, l := range f.Metric[0].Label {
				labels = append(labels, l.GetName())
			}
			got = append(got, fmt.Sprintf("%s %s {%s}", f.GetName(), strings.ToLower(f.GetType().String()), strings.Join(labels, ",")))
		}
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if want := strings.Split(strings.TrimSpace(string(b)), "\n"); !slices.Equal(got, want) {
			t.Errorf("%s does not list what is exported:\n%s", file, strings.Join(got, "\n"))
		}
	}
}

// series returns the metric of a family whose labels contain all of want.
func series(t *testing.T, m *Metrics, name string, want map[string]string) *dto.Metric {
	t.Helper()
	families, err := m.Registry().Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, s := range f.Metric {
			n := 0
			for _, l := range s.Label {
				if v, ok := want[l.GetName()]; ok && v == l.GetValue() {
					n++
				}
			}
			if n == len(want) {
				return s
			}
		}
	}
	t.Fatalf("no series %s%v", name, want)
	return nil
}

// count is the number of series of a family.
func count(t *testing.T, m *Metrics, name string) int {
	t.Helper()
	families, err := m.Registry().Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			return len(f.Metric)
		}
	}
	return 0
}

func TestValues(t *testing.T) {
	m := New(Options{Legacy: true})
	exercise(m)
	pool := map[string]string{"name": "ns/pool"}
	model := map[string]string{"model_name": "llama"}
	for _, tt := range []struct {
		name   string
		labels map[string]string
		want   float64
	}{
		{"llm_d_epp_average_queue_size", pool, 2},
		{"llm_d_epp_std_dev_queue_size", pool, 2},
		{"llm_d_epp_average_kv_cache_utilization", pool, .25},
		{"llm_d_epp_ready_endpoints", pool, 1},
		{"inference_pool_ready_pods", pool, 1},
		{"llm_d_epp_per_endpoint_queue_size", map[string]string{"name": "ns/pool", "model_server_endpoint": "ns/pod-0"}, 4},
		{"llm_d_epp_inflight_tokens", map[string]string{"namespace": "ns", "endpoint_name": "pod-0"}, 70},
		{"llm_d_epp_flow_control_queue_size", map[string]string{"inference_pool": "ns/pool"}, 3},
		{"llm_d_epp_request_running", model, 0},
		{"inference_objective_running_requests", model, 0},
	} {
		if got := series(t, m, tt.name, tt.labels).GetGauge().GetValue(); got != tt.want {
			t.Errorf("%s = %v, want %v", tt.name, got, tt.want)
		}
	}
	for name, want := range map[string]float64{
		"llm_d_epp_request_ttft_seconds": 1, "llm_d_epp_request_duration_seconds": 3,
		"llm_d_epp_request_streaming_tpot_seconds": .2, "llm_d_epp_request_ntpot_seconds": 3. / 11,
		"llm_d_epp_request_cached_tokens": 64, "inference_objective_prompt_cached_tokens": 64,
		"llm_d_epp_request_size_bytes": 1000,
	} {
		labels := model
		if strings.Contains(name, "ttft") {
			labels = map[string]string{"streaming": "true"}
		}
		if got := series(t, m, name, labels).GetHistogram().GetSampleSum(); got != want {
			t.Errorf("sum of %s = %v, want %v", name, got, want)
		}
	}
	attempt := series(t, m, "llm_d_epp_scheduler_attempts_total", map[string]string{
		"status": "success", "endpoint_name": "pod-0", "namespace": "ns", "port": "8000", "target_model_name": "llama",
	})
	if got := attempt.GetCounter().GetValue(); got != 1 {
		t.Errorf("attempts %v, want 1", got)
	}
}

func TestForgetEndpoint(t *testing.T) {
	m := New(Options{})
	m.Scheduled(0, "llama", "ns/pod-0", "10.0.0.1:8000")
	m.Scheduled(0, "llama", "ns/pod-1", "10.0.0.2:8000")
	m.ForgetEndpoint("ns/pod-0")
	if got := count(t, m, "llm_d_epp_scheduler_attempts_total"); got != 1 {
		t.Errorf("%d series of attempts, want 1", got)
	}
	m.Scheduled(0, "llama", "ns/pod-0", "10.0.0.3:8000") // it is back
	if got := count(t, m, "llm_d_epp_scheduler_attempts_total"); got != 2 {
		t.Errorf("%d series of attempts, want 2", got)
	}
}

func TestLabelsAreBounded(t *testing.T) {
	m := New(Options{})
	for i := range MaxLabelValues + 200 {
		m.Request(fmt.Sprint("model-", i), "t", "f", 0).Started(1)
	}
	m.Request("bad \xff "+strings.Repeat("x", 5000), "t", "f", 0).Started(1)
	families, err := m.Registry().Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "llm_d_epp_request_total" && len(f.Metric) > MaxLabelValues+1 {
			t.Errorf("%d series, want at most %d", len(f.Metric), MaxLabelValues+1)
		}
	}
	if got := series(t, m, "llm_d_epp_request_total", map[string]string{"model_name": "other"}).GetCounter().GetValue(); got < 200 {
		t.Errorf("%v requests counted as other, want at least 200", got)
	}
	for i := range 4 {
		for j := range MaxLabelValues {
			m.Request(fmt.Sprint("model-", i), "t", fmt.Sprint("flow-", j), 0)
		}
	}
	if n := m.kinds.len(); n > MaxRequestKinds+1 {
		t.Errorf("%d combinations kept, want at most %d", n, MaxRequestKinds+1)
	}
}

// TestFairnessIDs: fewer fairness ids are told apart when that is wanted, or none, and
// names go without their namespace.
func TestFairnessIDs(t *testing.T) {
	for limit, want := range map[int]int{0: 3, 2: 3, -1: 1} { // "other" is one more
		m := New(Options{FairnessIDs: limit, BareNames: true})
		for i := range 3 {
			m.Request("m", "m", fmt.Sprint("flow-", i), 0).Started(1)
		}
		if got := count(t, m, "llm_d_epp_request_total"); got != want {
			t.Errorf("limit %d: %d series, want %d", limit, got, want)
		}
		exercise(m)
		series(t, m, "llm_d_epp_per_endpoint_queue_size", map[string]string{"name": "pool", "model_server_endpoint": "pod-0"})
		series(t, m, "llm_d_epp_flow_control_request_queue_duration_seconds", map[string]string{"inference_pool": "pool"})
	}
}

func TestCountingAllocatesNothing(t *testing.T) {
	m := New(Options{Legacy: true})
	count := func() {
		r := m.Request("llama", "llama", "default-flow", 0)
		r.Started(100)
		m.Scheduled(1, "llama", "ns/pod-0", "10.0.0.1:8000")
		m.Prefix(1, 2, 4)
		m.Processed(1)
		r.FirstToken(1, true)
		r.Ended(Outcome{Duration: 1, Responded: true, UsageKnown: true, InputTokens: 1, OutputTokens: 2})
	}
	count()
	if n := testing.AllocsPerRun(100, count); n > 0 {
		t.Errorf("%v allocations per request, want none", n)
	}
}

func TestHandlerWhileCounting(t *testing.T) {
	m := New(Options{Process: true})
	exercise(m)
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := range 50 {
				r := m.Request(fmt.Sprint(w, i), "t", "f", 0)
				r.Started(1)
				r.Ended(Outcome{})
				m.Scheduled(1, "m", fmt.Sprint("ns/", i), "10.0.0.1:80")
				m.ForgetEndpoint(fmt.Sprint("ns/", i))
			}
		})
	}
	for range 3 {
		w := httptest.NewRecorder()
		m.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
		if w.Code != 200 || !strings.Contains(w.Body.String(), "go_goroutines") {
			t.Fatalf("status %d", w.Code)
		}
	}
	wg.Wait()
}
