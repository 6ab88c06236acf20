package filter

import (
	"errors"
	"fmt"
	"math"

	"github.com/fairway-ai/fairway/scheduler"
)

// UtilizationType is the type name of [Utilization].
const UtilizationType = "utilization-filter"

// Metrics of a [Condition].
const (
	// ActiveRequests is the requests in flight from here.
	ActiveRequests = "active-requests"
	// RunningRequests and WaitingQueue are the engine's batch and queue.
	RunningRequests = "running-requests"
	WaitingQueue    = "waiting-queue"
	// KVCacheUtilization is the used share of the KV cache, 0 to 1.
	KVCacheUtilization = "kv-cache-utilization"
)

// Condition is the most of a metric that an endpoint may have.
type Condition struct {
	Metric string `json:"metric"`
	// MaxValue is still allowed.
	MaxValue *float64 `json:"maxValue"`
}

// UtilizationParameters are the parameters of [Utilization].
type UtilizationParameters struct {
	// Conditions must all hold.
	Conditions []Condition `json:"conditions"`
	// FallbackOnEmpty keeps all endpoints when none would be left.
	FallbackOnEmpty bool `json:"fallbackOnEmpty"`
	// InFlightLoadProducerName names the data producer to read. Requests are counted
	// once here, so it changes nothing.
	InFlightLoadProducerName string `json:"inFlightLoadProducerName"`
}

const maxConditions = 64

// Validate reports the first parameter that makes no sense.
func (p UtilizationParameters) Validate() error {
	if len(p.Conditions) == 0 {
		return errors.New("conditions is empty: name a metric and its maxValue")
	}
	if len(p.Conditions) > maxConditions {
		return fmt.Errorf("conditions has %d entries: at most %d are allowed", len(p.Conditions), maxConditions)
	}
	for i, c := range p.Conditions {
		switch c.Metric {
		case ActiveRequests, RunningRequests, WaitingQueue, KVCacheUtilization:
		default:
			return fmt.Errorf("conditions[%d].metric is %.60q: must be %s, %s, %s or %s", i, c.Metric, ActiveRequests, RunningRequests, WaitingQueue, KVCacheUtilization)
		}
		switch {
		case c.MaxValue == nil:
			return fmt.Errorf("conditions[%d].maxValue is missing", i)
		case !(*c.MaxValue >= 0) || math.IsInf(*c.MaxValue, 1):
			return fmt.Errorf("conditions[%d].maxValue is %v: must be 0 or more", i, *c.MaxValue)
		case c.Metric == KVCacheUtilization && *c.MaxValue > 1:
			return fmt.Errorf("conditions[%d].maxValue is %v: must be at most 1, since it is a share", i, *c.MaxValue)
		}
	}
	return nil
}

// Utilization keeps the endpoints of which every metric is within its bound.
type Utilization struct {
	name   string
	params UtilizationParameters
}

// NewUtilization returns the filter; an empty name means its type.
func NewUtilization(name string, p UtilizationParameters) *Utilization {
	return &Utilization{nameOr(name, UtilizationType), p}
}

// Name implements scheduler.Filter.
func (f *Utilization) Name() string { return f.name }

// Filter implements scheduler.Filter.
func (f *Utilization) Filter(c *scheduler.Cycle, in []int32) []int32 {
	return keep(in, f.params.FallbackOnEmpty, func(i int32) bool {
		for _, cond := range f.params.Conditions {
			if !(metric(c, i, cond.Metric) <= *cond.MaxValue) {
				return false
			}
		}
		return true
	})
}

// metric is a metric of endpoint i. Of an endpoint whose engine says nothing, what is
// in flight from here is known.
func metric(c *scheduler.Cycle, i int32, name string) float64 {
	m, l := &c.Snapshot.Metrics[i], &c.Loads[i]
	switch name {
	case ActiveRequests:
		return float64(l.Requests)
	case RunningRequests:
		if !m.Known {
			return float64(max(m.Running, l.Dispatched-l.Waiting))
		}
		return float64(m.Running)
	case WaitingQueue:
		if !m.Known {
			return float64(max(m.Waiting, l.Waiting))
		}
		return float64(m.Waiting)
	}
	return float64(m.KVUsage)
}
