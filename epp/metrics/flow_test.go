package metrics

import (
	"fmt"
	"testing"
	"time"

	"github.com/fairway-ai/fairway/epp/flowcontrol"
	"github.com/fairway-ai/fairway/scheduler"
)

func TestFlowMetrics(t *testing.T) {
	m := New(Options{})
	v := &FlowView{
		Saturation: 0.75, Stale: 2, Requests: 6, Bytes: 600, MaxRequests: 12,
		Flows: []flowcontrol.FlowView{
			{Priority: 1, Flow: "team", Requests: 2, Bytes: 200},
			{Priority: 1, Flow: "team", Requests: 1, Bytes: 100}, // of another subset
			{Priority: 0, Flow: "team", Requests: 3, Bytes: 300},
		},
		Bands: []flowcontrol.BandView{{Band: flowcontrol.Band{Priority: 1, MaxRequests: 6, MaxBytes: 1200}, Requests: 3, Bytes: 300}},
	}
	m.Watch(func(yield func(PoolView) bool) {
		_ = yield(PoolView{Name: "a", Snapshot: new(scheduler.Snapshot), Flow: v}) && yield(PoolView{Name: "b", Snapshot: new(scheduler.Snapshot), Flow: &FlowView{Stale: 3}})
	})
	m.FlowOutcome("a", m.Request("m", "m", "f", -1), "EvictedTTL")
	for _, tt := range []struct {
		name   string
		labels map[string]string
		want   float64
	}{
		{"queue_size", map[string]string{"inference_pool": "a", "fairness_id": "team", "priority": "1"}, 3},
		{"queue_bytes", map[string]string{"inference_pool": "a", "fairness_id": "team", "priority": "0"}, 300},
		{"pool_saturation", map[string]string{"inference_pool": "a", "stage": "effective"}, 0.75},
		{"stale_endpoints", map[string]string{"detector": "utilization-detector"}, 5},
		{"capacity_utilization_requests", map[string]string{"priority": "1", "inference_pool": "a"}, 0.5},
		{"capacity_utilization_bytes", map[string]string{"priority": "1", "inference_pool": "a"}, 0.25},
		{"global_capacity_utilization_requests", map[string]string{"inference_pool": "a"}, 0.5},
	} {
		if got := series(t, m, "llm_d_epp_flow_control_"+tt.name, tt.labels).GetGauge().GetValue(); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
	if n := count(t, m, "llm_d_epp_flow_control_global_capacity_utilization_bytes"); n != 0 {
		t.Errorf("%d series of a bound that there is not", n)
	}
	total := series(t, m, "llm_d_epp_flow_control_requests_total", map[string]string{"outcome": "EvictedTTL", "priority": "-1", "inference_pool": "a"})
	if got := total.GetCounter().GetValue(); got != 1 {
		t.Errorf("%v requests, want 1", got)
	}
}

// TestFlowLabelsAreBounded: clients choose the names of flows.
func TestFlowLabelsAreBounded(t *testing.T) {
	m := New(Options{})
	v := &FlowView{}
	for i := range MaxLabelValues + 500 {
		v.Flows = append(v.Flows, flowcontrol.FlowView{Flow: fmt.Sprint(i, "\xff"), Requests: 1})
	}
	m.Watch(func(yield func(PoolView) bool) {
		yield(PoolView{Name: "a", Snapshot: new(scheduler.Snapshot), Flow: v})
	})
	if n := count(t, m, "llm_d_epp_flow_control_queue_size"); n > MaxLabelValues+2 {
		t.Errorf("%d series", n)
	}
	if got := series(t, m, "llm_d_epp_flow_control_queue_size", map[string]string{"fairness_id": Other}).GetGauge().GetValue(); got != 500 {
		t.Errorf("%v requests of others, want 500", got)
	}
}

// TestFlowCounts: what is counted as it happens, and shown only where there is flow
// control, under the old names where those are wanted.
func TestFlowCounts(t *testing.T) {
	for _, legacy := range []bool{false, true} {
		m := New(Options{Legacy: legacy})
		families := []string{"dispatch_cycle_duration_seconds", "request_enqueue_duration_seconds", "request_queue_duration_seconds"}
		for _, f := range families {
			if n := count(t, m, "llm_d_epp_flow_control_"+f); n != 0 {
				t.Errorf("%d series of %s without flow control", n, f)
			}
		}
		r := m.Request("m", "m", "team", 2)
		m.FlowCycle(3 * time.Microsecond)
		m.FlowEnqueued(r, EnqueueWaits, time.Millisecond)
		m.Held("a", r, HeldDispatched, time.Second)
		m.Revoking("a", 2)
		m.Revoked("a", RevocationConfirmed, 0)
		m.Revoked("a", RevocationTimedOut, 2)
		m.RevocationTook("a", time.Millisecond)
		m.Watch(func(yield func(PoolView) bool) {
			yield(PoolView{Name: "a", Snapshot: new(scheduler.Snapshot), Flow: &FlowView{
				Saturation: 1.5, Evicts: true, Target: 0.5, Owed: 0.25, Flows: []flowcontrol.FlowView{{Flow: "team", Requests: 3, Bytes: 30}},
			}})
		})
		prefixes := map[string]bool{"llm_d_epp_": true, "inference_extension_": legacy, "llm_d_router_epp_": legacy}
		for prefix, there := range prefixes {
			for _, f := range append(families, "queue_size", "queue_bytes", "pool_saturation") {
				if n := count(t, m, prefix+"flow_control_"+f); (n > 0) != there {
					t.Errorf("legacy %t: %d series of %s%s", legacy, n, prefix, f)
				}
			}
		}
		if h := series(t, m, "llm_d_epp_flow_control_request_enqueue_duration_seconds", map[string]string{"fairness_id": "team", "priority": "2", "outcome": "NotYetFinalized"}).GetHistogram(); h.GetSampleCount() != 1 || h.GetSampleSum() != 0.001 {
			t.Errorf("enqueued %v", h)
		}
		a := map[string]string{"inference_pool": "a"}
		for name, want := range map[string]float64{"reclaim_target": 0.5, "pending_reclaim": 0.25} {
			if got := series(t, m, "llm_d_epp_flow_control_"+name, a).GetGauge().GetValue(); got != want {
				t.Errorf("%s: %v, want %v", name, got, want)
			}
		}
		if n := count(t, m, "llm_d_epp_flow_control_revocations_total"); n != 1 {
			t.Errorf("%d outcomes of revocations, want one", n)
		}
		if got := series(t, m, "llm_d_epp_flow_control_revocations_total", map[string]string{"inference_pool": "a", "outcome": "timed_out"}).GetCounter().GetValue(); got != 2 {
			t.Errorf("%v revocations timed out, want 2", got)
		}
		if got := series(t, m, "llm_d_epp_flow_control_revocations_issued_total", map[string]string{"inference_pool": "a", "priority": "2"}).GetCounter().GetValue(); got != 1 {
			t.Errorf("%v revocations, want 1", got)
		}
	}
}

// TestProgramMetrics: of all pools together, and equal waits are fair.
func TestProgramMetrics(t *testing.T) {
	m := New(Options{})
	program := func(id string, tokens float64, waits int64, waited time.Duration) flowcontrol.ProgramView {
		return flowcontrol.ProgramView{ID: id, Service: tokens, Waits: waits, Waited: waited}
	}
	views := []*FlowView{
		{Programs: []flowcontrol.ProgramView{program("x", 10, 2, 3*time.Second), program("y", 5, 1, time.Second)}},
		{Programs: []flowcontrol.ProgramView{program("x", 20, 1, 0), program("new", 0, 0, 0)}},
	}
	m.Watch(func(yield func(PoolView) bool) {
		for i, v := range views {
			if !yield(PoolView{Name: fmt.Sprint(i), Snapshot: new(scheduler.Snapshot), Flow: v}) {
				return
			}
		}
	})
	get := func(name string, labels map[string]string) float64 {
		return series(t, m, "llm_d_epp_program_aware_"+name, labels).GetGauge().GetValue()
	}
	x := map[string]string{"program_id": "x"}
	if got := get("attained_service_tokens", x); got != 30 {
		t.Errorf("%v tokens, want 30", got)
	}
	if got := get("avg_wait_time_milliseconds", x); got != 1000 {
		t.Errorf("a mean wait of %v ms, want 1000", got)
	}
	if got := get("jains_fairness_index", nil); got != 1 {
		t.Errorf("index %v of equal waits, want 1", got)
	}
	if n := count(t, m, "llm_d_epp_program_aware_avg_wait_time_milliseconds"); n != 2 {
		t.Errorf("%d mean waits, want 2: one program has none", n)
	}
	views[0].Programs[1].Waited = 0
	if got := get("jains_fairness_index", nil); got != 0.5 {
		t.Errorf("index %v where one of two waits, want 0.5", got)
	}
}
