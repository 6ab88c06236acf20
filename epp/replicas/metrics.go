package replicas

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

// replicaMetrics count what is exchanged.
type replicaMetrics struct {
	peers, lag                   prometheus.Gauge
	sent, received               prometheus.Counter
	ringLost, queueLost, unknown prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) (*replicaMetrics, error) {
	events := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "fairway_replica_events_total",
		Help: "Endpoints' totals and prompts that replicas told each other, by direction: sent or received.",
	}, []string{"direction"})
	dropped := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "fairway_replica_dropped_total",
		Help: "What was not told or not taken in, by reason: ring (prompts, too many at once), queue (frames, a replica is slow), unknown (its endpoint is not known here).",
	}, []string{"reason"})
	m := &replicaMetrics{
		peers: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "fairway_replica_peers", Help: "Other replicas that share what they do with this one.",
		}),
		lag: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "fairway_replica_lag_seconds", Help: "From the making of a frame to its acknowledgement, of the slowest other replica.",
		}),
		sent: events.WithLabelValues("sent"), received: events.WithLabelValues("received"),
		ringLost: dropped.WithLabelValues("ring"), queueLost: dropped.WithLabelValues("queue"), unknown: dropped.WithLabelValues("unknown"),
	}
	if reg == nil {
		return m, nil
	}
	var errs []error
	for _, c := range []prometheus.Collector{events, dropped, m.peers, m.lag} {
		errs = append(errs, reg.Register(c))
	}
	return m, errors.Join(errs...)
}
