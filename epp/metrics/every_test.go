package metrics

import (
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

func TestEvery(t *testing.T) {
	asked := 0
	g := collector{prometheus.NewGauge(prometheus.GaugeOpts{Name: "g"}), &asked}
	if c := every(0, g); c != prometheus.Collector(g) {
		t.Error("without an interval, want the collector itself")
	}
	k := every(time.Minute, g).(*kept)
	now := time.Unix(100, 0)
	k.now = func() time.Time { return now }
	for _, tc := range []struct {
		after time.Duration
		asked int
	}{{0, 1}, {59 * time.Second, 1}, {time.Second, 2}, {30 * time.Second, 2}, {30 * time.Second, 3}} {
		now = now.Add(tc.after)
		if n := testutil.CollectAndCount(k); n != 1 || asked != tc.asked {
			t.Errorf("after %v more: %d metrics, asked %v times, want %v", tc.after, n, asked, tc.asked)
		}
	}
}

func TestNoStreams(t *testing.T) {
	for _, off := range []bool{false, true} {
		m := New(Options{NoStreams: off})
		m.StreamOpened()
		n, err := testutil.GatherAndCount(m.Registry(), "llm_d_epp_extproc_streams_inflight")
		if err != nil || (n == 0) != off {
			t.Errorf("off %t: %d %v", off, n, err)
		}
	}
}

// collector counts how often it is asked.
type collector struct {
	prometheus.Gauge
	asked *int
}

func (c collector) Collect(out chan<- prometheus.Metric) {
	*c.asked++
	c.Gauge.Collect(out)
}
