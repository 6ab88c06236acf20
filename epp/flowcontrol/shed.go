package flowcontrol

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/fairway-ai/fairway/scheduler"
)

// ProbabilisticType is the type name of [Probabilistic].
const ProbabilisticType = "probabilistic-admitter"

// Probabilistic sheds requests of a priority below 0 with a probability of
// min(saturation^Power × K, 1), by the mean of each endpoint's larger share of its
// thresholds. A pool without endpoints sheds nothing.
type Probabilistic struct {
	QueueDepthThreshold, KVCacheUtilThreshold, Power, K float64
}

// DefaultProbabilistic is the published one.
func DefaultProbabilistic() Probabilistic {
	return Probabilistic{QueueDepthThreshold: 5, KVCacheUtilThreshold: 0.8, Power: 5, K: 300}
}

// Validate reports the first parameter that makes no sense.
func (p *Probabilistic) Validate() error {
	for _, f := range [...]struct {
		name  string
		value float64
	}{
		{"queueDepthThreshold", p.QueueDepthThreshold}, {"kvCacheUtilThreshold", p.KVCacheUtilThreshold},
		{"power", p.Power}, {"k", p.K},
	} {
		if !(f.value > 0) || math.IsInf(f.value, 1) {
			return fmt.Errorf("%s is %v: must be above 0", f.name, f.value)
		}
	}
	if p.KVCacheUtilThreshold > 1 {
		return errors.New("kvCacheUtilThreshold must be at most 1")
	}
	return nil
}

// Probability is with which a request of a negative priority is shed.
func (p *Probabilistic) Probability(s *scheduler.Snapshot) float64 {
	var sum float64
	for i := range s.Metrics {
		m := &s.Metrics[i]
		if !m.Known {
			sum++
			continue
		}
		sum += max(float64(m.Waiting)/p.QueueDepthThreshold, float64(m.KVUsage)/p.KVCacheUtilThreshold)
	}
	if len(s.Metrics) == 0 {
		return 0
	}
	return min(1, math.Pow(sum/float64(len(s.Metrics)), p.Power)*p.K)
}

// Shedder decides whether a request is refused at once, by its priority and the
// pool's state.
type Shedder struct {
	// Detector refuses priorities below 0 while the pool's saturation is 1 or more;
	// nil does not, as where a [Queue] decides.
	Detector Detector
	// Probabilistic refuses some of them before that; nil does not.
	Probabilistic *Probabilistic
}

// Refuses reports whether a request is shed. chance is in [0, 1).
func (s *Shedder) Refuses(now time.Time, priority int, snap *scheduler.Snapshot, chance float64) bool {
	if priority >= 0 || snap.Len() == 0 {
		return false // without endpoints there is another answer
	}
	if s.Detector != nil && Read(s.Detector, now, snap).With(Pending{}) >= 1 {
		return true
	}
	return s.Probabilistic != nil && chance < s.Probabilistic.Probability(snap)
}
