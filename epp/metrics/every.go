package metrics

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// kept shows what a collector showed last until that is old enough.
type kept struct {
	prometheus.Collector
	interval time.Duration
	now      func() time.Time

	mu   sync.Mutex
	at   time.Time // of last
	last []prometheus.Metric
}

// every asks c at most once in each interval; 0 asks it each time.
func every(interval time.Duration, c prometheus.Collector) prometheus.Collector {
	if interval <= 0 {
		return c
	}
	return &kept{Collector: c, interval: interval, now: time.Now}
}

// Collect implements prometheus.Collector.
func (k *kept) Collect(out chan<- prometheus.Metric) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if now := k.now(); k.at.IsZero() || now.Sub(k.at) >= k.interval {
		found := make(chan prometheus.Metric)
		go func() {
			defer close(found)
			k.Collector.Collect(found)
		}()
		k.last, k.at = nil, now
		for m := range found {
			k.last = append(k.last, m)
		}
	}
	for _, m := range k.last {
		out <- m
	}
}
