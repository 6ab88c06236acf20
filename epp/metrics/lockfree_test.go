package metrics

import (
	"fmt"
	"net/http/httptest"
	"sync"
	"testing"
	"time"
)

// TestRequestPathTakesNoLock: a request whose labels are known goes through while
// somebody holds every lock of the package, and asks none of the registry's vectors,
// which have locks as well.
func TestRequestPathTakesNoLock(t *testing.T) {
	m := New(Options{Legacy: true})
	all := paths(m)
	for _, p := range all {
		p.call()
	}
	r := m.Request("model-1", "t", "flow-1", 0)
	for _, mu := range []*sync.Mutex{
		&m.mu, &m.models.seen.mu, &m.fairness.seen.mu, &m.rewrites.seen.mu, &m.kinds.mu, &m.attempts.mu, &m.rewrote.mu,
		&m.ends.mu, &m.answers.mu, &m.cycles.mu, &r.failed.mu, &r.held.mu, &r.outcomes.mu, &r.enqueued.mu, &r.staged.mu,
	} {
		mu.Lock()
	}
	m.streamTotal, m.answered, m.flow.outcomes = nil, nil, nil
	for i := range m.names {
		m.requests[i] = requestVecs{}
		p := &m.plain[i]
		p.attempts, p.rewritten, p.disaggregated = nil, nil, nil
		m.flow.held[i], m.flow.cycle[i], m.flow.enqueue[i] = nil, nil, nil
		for j := range r.sets {
			r.sets[j].failed = nil
		}
	}
	for _, p := range all {
		through := make(chan any)
		go func() {
			defer func() { through <- recover() }()
			p.call()
		}()
		select {
		case v := <-through:
			if v != nil {
				t.Errorf("%s asks the registry: %v", p.name, v)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("%s waits for a lock", p.name)
		}
	}
}

// TestFullTablesTakeNoLock: nor does a request of a kind that is one too many, however
// new it is.
func TestFullTablesTakeNoLock(t *testing.T) {
	m := New(Options{})
	for i := range MaxRequestKinds {
		m.Request("m", "m", "f", i)
	}
	full := make(map[attempt]counters)
	for i := range maxAttemptKinds {
		full[attempt{model: fmt.Sprint(i)}] = counters{}
	}
	m.attempts.view.Store(&view[attempt, counters]{base: full})
	calls := func(name string) *Request {
		m.Scheduled(1, name, "ns/pod", "10.0.0.1:80")
		return m.Request(name, name, name, 0)
	}
	others := calls("new")
	for _, mu := range []*sync.Mutex{&m.models.seen.mu, &m.fairness.seen.mu, &m.kinds.mu, &m.attempts.mu} {
		mu.Lock()
	}
	through := make(chan *Request)
	go func() { through <- calls("newer") }()
	select {
	case r := <-through:
		if r != others || r.kind != (kind{Other, Other, Other, 0}) {
			t.Errorf("counts as %v", r.kind)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("waits for a lock")
	}
	if got := series(t, m, "llm_d_epp_scheduler_attempts_total", map[string]string{"endpoint_name": "pod"}).GetCounter().GetValue(); got != 2 {
		t.Errorf("%v attempts, want 2", got)
	}
}

// TestPathsAllocateNothing: nor does what is folded, unless it must be cut or mended.
func TestPathsAllocateNothing(t *testing.T) {
	for _, legacy := range []bool{false, true} {
		for _, p := range paths(New(Options{Legacy: legacy})) {
			p.call()
			if n := testing.AllocsPerRun(100, p.call); n != 0 {
				t.Errorf("legacy %t, %s: %v allocations", legacy, p.name, n)
			}
		}
	}
}

// TestCountingWhileForgetting: requests of new and known kinds, endpoints that go, and
// scrapes, all at once. Nothing is lost of what stays, and the bounds hold.
func TestCountingWhileForgetting(t *testing.T) {
	m := New(Options{Legacy: true})
	const workers, rounds = 4, 260
	m.Scheduled(1, "m", "ns/stays", "10.0.0.1:80")
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := range rounds {
				r := m.Request(fmt.Sprint("model-", w, i), "t", fmt.Sprint("flow-", i), 0)
				r.Started(1)
				r.Failed([]string{"a", "b"}[i%2])
				m.Held("ns/pool", r, HeldDispatched, time.Second)
				m.FlowEnqueued(r, "Dispatched", 1)
				m.FlowOutcome("ns/pool", r, "Dispatched")
				m.FlowCycle(1)
				m.Disaggregated(r, "split", true, false)
				r.Ended(Outcome{})
				m.Request("m", "m", "f", 0).Started(1)
				m.Rewritten("by", fmt.Sprint("rewritten-", w, i), "t")
				m.Scheduled(1, "m", "ns/stays", "10.0.0.1:80")
				m.Scheduled(1, "m", fmt.Sprint("ns/goes-", i%7), "10.0.0.1:80")
				m.StreamEnded("OK")
				m.Answered(500 + i%3)
			}
		})
	}
	wg.Go(func() {
		for i := range rounds {
			m.ForgetEndpoint(fmt.Sprint("ns/goes-", i%7))
		}
	})
	for range 3 {
		w := httptest.NewRecorder()
		m.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
		if w.Code != 200 {
			t.Errorf("status %d", w.Code)
		}
	}
	wg.Wait()
	for i := range 7 {
		m.ForgetEndpoint(fmt.Sprint("ns/goes-", i))
	}
	families, err := m.Registry().Gather()
	if err != nil {
		t.Fatal(err)
	}
	sums, series := map[string]float64{}, map[string]int{}
	for _, f := range families {
		for _, s := range f.Metric {
			sums[f.GetName()] += s.GetCounter().GetValue()
			series[f.GetName()]++
		}
	}
	const all = workers * rounds
	for name, want := range map[string]float64{
		"llm_d_epp_scheduler_attempts_total": all + 1, "llm_d_epp_request_total": 2 * all, "llm_d_epp_request_error_total": all,
		"llm_d_epp_model_rewrite_decisions_total": all, "llm_d_epp_disagg_decision_total": all,
		"llm_d_epp_flow_control_requests_total": all, "llm_d_epp_extproc_streams_total": all, "llm_d_epp_extproc_answered_total": all,
		"inference_extension_scheduler_attempts_total": all + 1, "inference_objective_request_total": 2 * all,
	} {
		if sums[name] != want {
			t.Errorf("%s adds up to %v, want %v", name, sums[name], want)
		}
	}
	if n := series["llm_d_epp_scheduler_attempts_total"]; n != 1 {
		t.Errorf("%d series of attempts, want 1", n)
	}
	if n := series["llm_d_epp_model_rewrite_decisions_total"]; n > MaxLabelValues+1 {
		t.Errorf("%d series of rewritten models, want at most %d", n, MaxLabelValues+1)
	}
	if n := m.models.seen.len(); n != MaxLabelValues {
		t.Errorf("%d models are told apart, want %d", n, MaxLabelValues)
	}
	if n := m.attempts.len(); n != 1 {
		t.Errorf("%d kinds of attempts are kept, want 1", n)
	}
}
