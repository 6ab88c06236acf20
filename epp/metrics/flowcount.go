package metrics

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Terminal outcomes of an eviction.
const (
	// RevocationConfirmed: the request has ended.
	RevocationConfirmed = "confirmed"
	// RevocationTimedOut: it has not in the time that is counted on.
	RevocationTimedOut = "timed_out"
)

// EnqueueWaits is the outcome of coming to a queue for a request that waits.
const EnqueueWaits = "NotYetFinalized"

// lookBuckets are for what takes microseconds.
var lookBuckets = []float64{.000001, .000002, .000005, .00001, .00002, .00005, .0001, .0002, .0005, .001, .002, .005, .01, .02, .05, .1, .2, .5, 1}

// flowCounts are the counters and histograms of queues.
type flowCounts struct {
	// held, cycle and enqueue are there under each naming.
	held, cycle, enqueue []*prometheus.HistogramVec

	outcomes, issued, revoked *prometheus.CounterVec
	confirmed                 *prometheus.HistogramVec
}

func newFlowCounts(reg *prometheus.Registry, names []naming) flowCounts {
	var f flowCounts
	histogram := func(n naming, name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
		v := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: n.extension + "_flow_control_" + name, Help: help, Buckets: buckets}, labels)
		reg.MustRegister(v)
		return v
	}
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: canonical.extension + "_flow_control_" + name, Help: help}, labels)
		reg.MustRegister(v)
		return v
	}
	for _, n := range names {
		f.held = append(f.held, histogram(n, "request_queue_duration_seconds", "How long requests that had to wait were held for their pool or endpoint.",
			[]float64{.001, .005, .01, .05, .1, .25, .5, 1, 2.5, 5, 10, 15, 20, 30, 60},
			"fairness_id", "priority", "outcome", "inference_pool", "model_name", "target_model_name"))
		f.cycle = append(f.cycle, histogram(n, "dispatch_cycle_duration_seconds", "Time of one look at who may go.", lookBuckets))
		f.enqueue = append(f.enqueue, histogram(n, "request_enqueue_duration_seconds", "Time until a request that came to its pool's queue was let through, refused or put into it.", lookBuckets,
			"fairness_id", "priority", "outcome"))
	}
	f.outcomes = counter("requests_total", "Requests by what became of them at their pool's queue.", "outcome", "priority", "inference_pool")
	f.issued = counter("revocations_issued_total", "Running requests that were ended for others, by the priority of those.", "priority", "inference_pool")
	f.revoked = counter("revocations_total", "Running requests that were ended for others, by whether that came to pass.", "outcome", "inference_pool")
	f.confirmed = histogram(canonical, "revocation_confirmation_seconds", "Time from when a running request was to be ended until it had.", lookBuckets, "inference_pool")
	return f
}

// Outcomes of a request that was held.
const (
	HeldDispatched  = "Dispatched"
	HeldCancelled   = "EvictedContextCancelled"
	HeldNoEndpoints = "EvictedNoEndpoints"
	HeldOther       = "EvictedOther"
)

// stay is where a request was held and what became of it.
type stay struct{ pool, outcome string }

// Held counts a request that was held for its pool or its endpoint.
func (m *Metrics) Held(pool string, r *Request, outcome string, d time.Duration) {
	r.held.of(stay{pool, outcome}, func(s stay) observers {
		os := make(observers, len(m.flow.held))
		for i, v := range m.flow.held {
			os[i] = v.WithLabelValues(r.kind.fairness, r.priority, s.outcome, bareName(s.pool, m.bare), r.kind.model, r.kind.target)
		}
		return os
	}).observe(d)
}

// FlowOutcome counts what became of a request at its pool's queue.
func (m *Metrics) FlowOutcome(pool string, r *Request, outcome string) {
	r.outcomes.of(stay{pool, outcome}, func(s stay) prometheus.Counter {
		return m.flow.outcomes.WithLabelValues(s.outcome, r.priority, bareName(s.pool, m.bare))
	}).Inc()
}

// FlowCycle counts a look at who may go.
func (m *Metrics) FlowCycle(d time.Duration) {
	m.cycles.of(struct{}{}, func(struct{}) observers {
		os := make(observers, len(m.flow.cycle))
		for i, v := range m.flow.cycle {
			os[i] = v.WithLabelValues()
		}
		return os
	}).observe(d)
}

// FlowEnqueued counts a request that came to its pool's queue. outcome is EnqueueWaits
// for one that waits, else what FlowOutcome gets.
func (m *Metrics) FlowEnqueued(r *Request, outcome string, d time.Duration) {
	r.enqueued.of(outcome, func(outcome string) observers {
		os := make(observers, len(m.flow.enqueue))
		for i, v := range m.flow.enqueue {
			os[i] = v.WithLabelValues(r.kind.fairness, r.priority, outcome)
		}
		return os
	}).observe(d)
}

// Revoking counts a running request that is ended for one of a priority.
func (m *Metrics) Revoking(pool string, priority int) {
	m.flow.issued.WithLabelValues(strconv.Itoa(priority), bareName(pool, m.bare)).Inc()
}

// Revoked counts n running requests by what became of ending them.
func (m *Metrics) Revoked(pool, outcome string, n int) {
	if n > 0 {
		m.flow.revoked.WithLabelValues(outcome, bareName(pool, m.bare)).Add(float64(n))
	}
}

// RevocationTook counts how long ending a running request took.
func (m *Metrics) RevocationTook(pool string, d time.Duration) {
	m.flow.confirmed.WithLabelValues(bareName(pool, m.bare)).Observe(d.Seconds())
}
