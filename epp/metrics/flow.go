package metrics

import (
	"strconv"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/fairway-ai/fairway/epp/flowcontrol"
)

// FlowView is what a scrape shows of a pool's queue.
type FlowView struct {
	// Saturation is the pool's, and Stale the number of endpoints whose metrics are
	// missing or too old.
	Saturation float64
	Stale      int
	// Flows are the flows with waiting requests, Bands the active bands.
	Flows []flowcontrol.FlowView
	Bands []flowcontrol.BandView
	// Requests and Bytes wait; MaxRequests and MaxBytes may, and 0 is no bound.
	Requests              int
	Bytes                 int64
	MaxRequests, MaxBytes int64
}

var flowLabels = []string{"inference_pool", "fairness_id", "priority"}

// flowDescs are the metrics of queues.
type flowDescs struct {
	bytes, saturation, stale *prometheus.Desc
	bandRequests, bandBytes  *prometheus.Desc
	allRequests, allBytes    *prometheus.Desc
}

func newFlowDescs() flowDescs {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(canonical.extension+"_flow_control_"+name, help, labels, nil)
	}
	return flowDescs{
		bytes: prometheus.NewDesc(canonical.extension+"_flow_control_queue_bytes", "Bytes of the requests that wait for their pool.",
			flowLabels, prometheus.Labels{"model_name": "", "target_model_name": ""}),
		saturation:   desc("pool_saturation", "The pool's saturation; at 1 requests wait.", "inference_pool", "stage"),
		stale:        prometheus.NewDesc(canonical.extension+"_flow_control_stale_endpoints", "Endpoints whose metrics are missing or too old.", nil, prometheus.Labels{"detector": flowcontrol.UtilizationType}),
		bandRequests: desc("capacity_utilization_requests", "Used share of the requests that may wait in a priority band.", "priority", "inference_pool"),
		bandBytes:    desc("capacity_utilization_bytes", "Used share of the bytes that may wait in a priority band.", "priority", "inference_pool"),
		allRequests:  desc("global_capacity_utilization_requests", "Used share of the requests that may wait in all.", "inference_pool"),
		allBytes:     desc("global_capacity_utilization_bytes", "Used share of the bytes that may wait in all.", "inference_pool"),
	}
}

func (d *flowDescs) all() []*prometheus.Desc {
	return []*prometheus.Desc{d.bytes, d.saturation, d.stale, d.bandRequests, d.bandBytes, d.allRequests, d.allBytes}
}

// collectFlow shows one pool's queue, and adds to stale.
func (c *poolCollector) collectFlow(gauge func(*prometheus.Desc, float64, ...string), pool string, v *FlowView, stale *int) {
	for _, stage := range [...]string{"decode", "effective"} { // all endpoints do both stages here
		gauge(c.flow.saturation, v.Saturation, pool, stage)
	}
	*stale = max(0, *stale) + v.Stale
	type key struct {
		fairness string
		priority int
	}
	sums := map[key]flowcontrol.FlowView{} // what folds into "other" adds up
	for _, f := range v.Flows {
		k := key{c.fold(f.Flow), f.Priority}
		sum := sums[k]
		sum.Requests += f.Requests
		sum.Bytes += f.Bytes
		sums[k] = sum
	}
	for k, sum := range sums {
		priority := strconv.Itoa(k.priority)
		gauge(c.held, float64(sum.Requests), pool, k.fairness, priority)
		gauge(c.flow.bytes, float64(sum.Bytes), pool, k.fairness, priority)
	}
	share := func(d *prometheus.Desc, n, limit int64, labels ...string) {
		if limit > 0 {
			gauge(d, float64(n)/float64(limit), labels...)
		}
	}
	for _, b := range v.Bands {
		priority := strconv.Itoa(b.Priority)
		share(c.flow.bandRequests, int64(b.Requests), b.MaxRequests, priority, pool)
		share(c.flow.bandBytes, b.Bytes, b.MaxBytes, priority, pool)
	}
	share(c.flow.allRequests, int64(v.Requests), v.MaxRequests, pool)
	share(c.flow.allBytes, v.Bytes, v.MaxBytes, pool)
}

// foldFairness is a fairness id as a label value.
func (m *Metrics) foldFairness(id string) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.fairness.fold(strings.Clone(label(id)))
}

func newFlowOutcomes() *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: canonical.extension + "_flow_control_requests_total", Help: "Requests by what became of them at their pool's queue.",
	}, []string{"outcome", "priority", "inference_pool"})
}

// FlowOutcome counts what became of a request at its pool's queue.
func (m *Metrics) FlowOutcome(pool string, r *Request, outcome string) {
	m.flowed.WithLabelValues(outcome, r.priority, bareName(pool, m.bare)).Inc()
}
