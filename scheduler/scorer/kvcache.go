package scorer

import "github.com/fairway-ai/fairway/scheduler"

// KVCacheUtilizationType is the type name of [KVCacheUtilization].
const KVCacheUtilizationType = "kv-cache-utilization-scorer"

// KVCacheUtilization prefers empty KV caches: 1 - usage.
type KVCacheUtilization struct{ named }

// NewKVCacheUtilization returns the scorer; an empty name means its type.
func NewKVCacheUtilization(name string) *KVCacheUtilization {
	return &KVCacheUtilization{nameOr(name, KVCacheUtilizationType)}
}

// Score implements scheduler.Scorer.
func (s *KVCacheUtilization) Score(c *scheduler.Cycle, out []float32) {
	var sum float32
	known := 0
	for _, i := range c.Candidates {
		if m := &c.Snapshot.Metrics[i]; m.Known {
			sum += m.KVUsage
			known++
		}
	}
	mean := float32(0)
	if known > 0 {
		mean = sum / float32(known)
	}
	for _, i := range c.Candidates {
		m := &c.Snapshot.Metrics[i]
		usage := m.KVUsage
		if !m.Known {
			usage = max(usage, mean)
		}
		out[i] = 1 - usage
	}
}
