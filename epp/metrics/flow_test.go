package metrics

import (
	"fmt"
	"testing"

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
