package metrics

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// path is one thing that requests make the metrics do.
type path struct {
	name string
	call func()
}

// paths are all that a request does once its kind is known. The metrics have seen so
// many models and fairness ids that those of "others" are folded.
func paths(m *Metrics) []path {
	for i := range MaxLabelValues + 1 {
		m.Request(fmt.Sprint("model-", i), "t", fmt.Sprint("flow-", i), 0)
	}
	r := m.Request("model-1", "t", "flow-1", 0)
	long := strings.Repeat("x", 300)
	return []path{
		{"request", func() { m.Request("model-1", "t", "flow-1", 0) }},
		{"request/others", func() { m.Request("model-1", "t", "flow-x", 0) }},
		{"request/long", func() { m.Request(long, "t", "flow-1", 0) }},
		{"scheduled", func() { m.Scheduled(time.Millisecond, "model-1", "ns/pod-0", "10.0.0.1:8000") }},
		{"scheduled/others", func() { m.Scheduled(time.Millisecond, "model-x", "ns/pod-0", "10.0.0.1:8000") }},
		{"unscheduled", func() { m.Unscheduled(time.Millisecond, "model-1") }},
		{"rewritten", func() { m.Rewritten("split", "model-1", "model-2") }},
		{"rewritten/others", func() { m.Rewritten("split", "model-x", "model-2") }},
		{"disaggregated", func() { m.Disaggregated(r, "split", true, false) }},
		{"failed", func() { r.Failed("ModelServerError") }},
		{"held", func() { m.Held("ns/pool", r, HeldDispatched, time.Second) }},
		{"flow", func() {
			m.FlowEnqueued(r, "Dispatched", time.Microsecond)
			m.FlowCycle(time.Microsecond)
			m.FlowOutcome("ns/pool", r, "Dispatched")
		}},
		{"answered", func() { m.Answered(503) }},
		{"stream", func() {
			m.StreamOpened()
			m.StreamEnded("OK")
			m.StreamClosed(time.Second)
		}},
		{"all", func() {
			r := m.Request("model-1", "t", "flow-1", 0)
			r.Started(100)
			m.Scheduled(time.Millisecond, "model-1", "ns/pod-0", "10.0.0.1:8000")
			m.Prefix(1, 2, 4)
			m.Processed(1)
			r.FirstToken(1, true)
			r.Gap(1)
			r.Ended(Outcome{Duration: 1, Responded: true, UsageKnown: true, InputTokens: 1, OutputTokens: 2})
		}},
	}
}

// BenchmarkPaths is what each costs, alone and beside others.
func BenchmarkPaths(b *testing.B) {
	for _, p := range paths(New(Options{})) {
		p.call()
		b.Run(p.name+"/serial", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				p.call()
			}
		})
		b.Run(p.name+"/parallel", func(b *testing.B) {
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					p.call()
				}
			})
		})
	}
}

// BenchmarkForget is an endpoint that comes and goes beside others.
func BenchmarkForget(b *testing.B) {
	m := New(Options{})
	for i := range 1000 {
		m.Scheduled(1, "m", fmt.Sprint("ns/pod-", i), "10.0.0.1:80")
	}
	b.ReportAllocs()
	for b.Loop() {
		m.Scheduled(1, "m", "ns/pod", "10.0.0.1:80")
		m.ForgetEndpoint("ns/pod")
	}
}
