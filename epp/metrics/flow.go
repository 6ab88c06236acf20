package metrics

import (
	"slices"
	"strconv"

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
	// Programs are the flows that program-aware-fairness knows.
	Programs []flowcontrol.ProgramView
	// Evicts says that running requests may be ended for others. Target is by how much
	// the saturation was too high when that happened last, and Owed by how much it will
	// fall when all has come to pass.
	Evicts       bool
	Target, Owed float64
}

var flowLabels = []string{"inference_pool", "fairness_id", "priority"}

// flowDescs are the metrics of queues that are found out when they are scraped.
type flowDescs struct {
	// size, bytes and saturation are there under each naming; the saturation of a legacy
	// one has no stage.
	size, bytes, saturation []*prometheus.Desc
	stale                   *prometheus.Desc
	bandRequests, bandBytes *prometheus.Desc
	allRequests, allBytes   *prometheus.Desc
	target, owed            *prometheus.Desc
	jain, wait, service     *prometheus.Desc
}

func newFlowDescs(names []naming) flowDescs {
	desc := func(n naming, name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(n.extension+"_"+name, help, labels, nil)
	}
	var d flowDescs
	models := prometheus.Labels{"model_name": "", "target_model_name": ""}
	for _, n := range names {
		d.size = append(d.size, prometheus.NewDesc(n.extension+"_flow_control_queue_size",
			"Requests held for their endpoint, and with flow control those that wait for their pool.", flowLabels, models))
		d.bytes = append(d.bytes, prometheus.NewDesc(n.extension+"_flow_control_queue_bytes", "Bytes of the requests that wait for their pool.", flowLabels, models))
		labels := []string{"inference_pool", "stage"}
		if !n.full {
			labels = labels[:1]
		}
		d.saturation = append(d.saturation, desc(n, "flow_control_pool_saturation", "The pool's saturation; at 1 requests wait.", labels...))
	}
	d.stale = prometheus.NewDesc(canonical.extension+"_flow_control_stale_endpoints", "Endpoints whose metrics are missing or too old.", nil,
		prometheus.Labels{"detector": flowcontrol.UtilizationType})
	d.bandRequests = desc(canonical, "flow_control_capacity_utilization_requests", "Used share of the requests that may wait in a priority band.", "priority", "inference_pool")
	d.bandBytes = desc(canonical, "flow_control_capacity_utilization_bytes", "Used share of the bytes that may wait in a priority band.", "priority", "inference_pool")
	d.allRequests = desc(canonical, "flow_control_global_capacity_utilization_requests", "Used share of the requests that may wait in all.", "inference_pool")
	d.allBytes = desc(canonical, "flow_control_global_capacity_utilization_bytes", "Used share of the bytes that may wait in all.", "inference_pool")
	d.target = desc(canonical, "flow_control_reclaim_target", "By how much the saturation was too high when running requests were ended for others last.", "inference_pool")
	d.owed = desc(canonical, "flow_control_pending_reclaim", "By how much the saturation will fall when running requests that were to end have ended and metrics show it.", "inference_pool")
	d.jain = desc(canonical, "program_aware_jains_fairness_index", "Jain's fairness index of the mean waits of programs; 1 is equal.")
	d.wait = desc(canonical, "program_aware_avg_wait_time_milliseconds", "Mean time that the requests of a program waited for their pool.", "program_id")
	d.service = desc(canonical, "program_aware_attained_service_tokens", "Tokens that a program was served with, older ones counting less.", "program_id")
	return d
}

func (d *flowDescs) all() []*prometheus.Desc {
	all := slices.Concat(d.size, d.bytes, d.saturation)
	return append(all, d.stale, d.bandRequests, d.bandBytes, d.allRequests, d.allBytes, d.target, d.owed, d.jain, d.wait, d.service)
}

// flowTotals are what all pools have in common.
type flowTotals struct {
	any      bool
	stale    int
	programs map[string]flowcontrol.ProgramView // by label value
}

// addPrograms adds up what folds into one label value.
func (t *flowTotals) addPrograms(all []flowcontrol.ProgramView, fold func(string) string) {
	if t.programs == nil && len(all) > 0 {
		t.programs = map[string]flowcontrol.ProgramView{}
	}
	for _, p := range all {
		id := fold(p.ID)
		sum := t.programs[id]
		sum.Service += p.Service
		sum.Waits += p.Waits
		sum.Waited += p.Waited
		t.programs[id] = sum
	}
}

func (c *poolCollector) collectTotals(gauge func(*prometheus.Desc, float64, ...string), t *flowTotals) {
	if t.any {
		gauge(c.flow.stale, float64(t.stale))
	}
	var sum, squares, n float64
	for id, p := range t.programs {
		gauge(c.flow.service, p.Service, id)
		if p.Waits == 0 {
			continue
		}
		mean := p.Waited.Seconds() * 1000 / float64(p.Waits)
		gauge(c.flow.wait, mean, id)
		n, sum, squares = n+1, sum+mean, squares+mean*mean
	}
	switch {
	case squares > 0:
		gauge(c.flow.jain, sum*sum/(n*squares))
	case n > 0:
		gauge(c.flow.jain, 1) // nobody waited
	}
}

// collectFlow shows one pool's queue, and adds to stale.
func (c *poolCollector) collectFlow(gauge func(*prometheus.Desc, float64, ...string), pool string, v *FlowView, t *flowTotals) {
	for i, d := range c.flow.saturation {
		if !c.names[i].full {
			gauge(d, v.Saturation, pool)
			continue
		}
		for _, stage := range [...]string{"decode", "effective"} { // all endpoints do both stages here
			gauge(d, v.Saturation, pool, stage)
		}
	}
	t.any, t.stale = true, t.stale+v.Stale
	t.addPrograms(v.Programs, c.fold)
	if v.Evicts {
		gauge(c.flow.target, v.Target, pool)
		gauge(c.flow.owed, v.Owed, pool)
	}
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
		for i := range c.flow.size {
			gauge(c.flow.size[i], float64(sum.Requests), pool, k.fairness, priority)
			gauge(c.flow.bytes[i], float64(sum.Bytes), pool, k.fairness, priority)
		}
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
