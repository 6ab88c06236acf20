package filter

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/fairway-ai/fairway/scheduler"
)

// AttributeType is the type name of [Attribute].
const AttributeType = "endpoint-attribute-filter"

// AttributeParameters are the parameters of [Attribute].
type AttributeParameters struct {
	// Attribute names a custom metric of the endpoints.
	Attribute string `json:"attribute"`
	// Producer is the plugin that publishes it; nil means core-metrics-extractor.
	Producer *string `json:"producer"`
	// OnMissing keeps ("Pass") or removes ("Fail") endpoints without the attribute.
	OnMissing string `json:"onMissing"`
	// FallbackOnEmpty keeps all endpoints when none would be left.
	FallbackOnEmpty bool `json:"fallbackOnEmpty"`
	// Algorithm says which values are kept.
	Algorithm AttributeAlgorithm `json:"algorithm"`
}

// DefaultAttributeParameters are llm-d's.
func DefaultAttributeParameters() AttributeParameters { return AttributeParameters{OnMissing: "Pass"} }

// AttributeAlgorithm is one of four.
type AttributeAlgorithm struct {
	// Type is threshold, range, topK or percentile.
	Type string `json:"type"`
	// Threshold keeps values that compare so with Value.
	Threshold *struct {
		Operator string   `json:"operator"`
		Value    *float64 `json:"value"`
	} `json:"threshold"`
	// Range keeps Min to Max, both included.
	Range *struct {
		Min *float64 `json:"min"`
		Max *float64 `json:"max"`
	} `json:"range"`
	// TopK keeps the K best.
	TopK *struct {
		K              int   `json:"k"`
		HigherIsBetter *bool `json:"higherIsBetter"`
	} `json:"topK"`
	// Percentile keeps what is as good as that percentile or better.
	Percentile *struct {
		Percentile     *float64 `json:"percentile"`
		HigherIsBetter *bool    `json:"higherIsBetter"`
	} `json:"percentile"`
}

// Comparisons of a threshold.
const (
	lessThan           = "LessThan"
	lessThanOrEqual    = "LessThanOrEqual"
	greaterThan        = "GreaterThan"
	greaterThanOrEqual = "GreaterThanOrEqual"
	equal              = "Equal"
	notEqual           = "NotEqual"
)

// Validate reports the first parameter that makes no sense.
func (p AttributeParameters) Validate() error {
	if p.Attribute == "" {
		return errors.New("attribute is missing: name a custom metric")
	}
	if p.OnMissing != "" && p.OnMissing != "Pass" && p.OnMissing != "Fail" {
		return fmt.Errorf("onMissing is %.60q: must be Pass or Fail", p.OnMissing)
	}
	a := &p.Algorithm
	for typ, set := range map[string]bool{
		"threshold": a.Threshold != nil, "range": a.Range != nil, "topK": a.TopK != nil, "percentile": a.Percentile != nil,
	} {
		if set != (typ == a.Type) && (set || slices.Contains([]string{"threshold", "range", "topK", "percentile"}, a.Type)) {
			return fmt.Errorf("algorithm: type is %.60q: set the object of that name, and no other", a.Type)
		}
	}
	switch a.Type {
	case "threshold":
		if a.Threshold.Value == nil {
			return errors.New("algorithm.threshold.value is missing")
		}
		if !slices.Contains([]string{lessThan, lessThanOrEqual, greaterThan, greaterThanOrEqual, equal, notEqual}, a.Threshold.Operator) {
			return fmt.Errorf("algorithm.threshold.operator is %.60q: must be %s, %s, %s, %s, %s or %s", a.Threshold.Operator, lessThan, lessThanOrEqual, greaterThan, greaterThanOrEqual, equal, notEqual)
		}
	case "range":
		if a.Range.Min == nil || a.Range.Max == nil || !(*a.Range.Min <= *a.Range.Max) {
			return errors.New("algorithm.range: set min and max, the smaller one first")
		}
	case "topK":
		if a.TopK.K < 1 {
			return fmt.Errorf("algorithm.topK.k is %d: must be 1 or more", a.TopK.K)
		}
	case "percentile":
		if q := a.Percentile.Percentile; q == nil || !(*q >= 0 && *q <= 100) {
			return errors.New("algorithm.percentile.percentile: must be 0 to 100")
		}
	default:
		return fmt.Errorf("algorithm.type is %.60q: must be threshold, range, topK or percentile", a.Type)
	}
	return nil
}

// Attribute keeps endpoints by a custom metric.
type Attribute struct {
	name   string
	params AttributeParameters
	at     int
}

// NewAttribute returns the filter; at is the metric's place in
// scheduler.Metrics.Custom, and an empty name means the filter's type.
func NewAttribute(name string, p AttributeParameters, at int) *Attribute {
	return &Attribute{nameOr(name, AttributeType), p, at}
}

// Name implements scheduler.Filter.
func (f *Attribute) Name() string { return f.name }

// Filter implements scheduler.Filter.
func (f *Attribute) Filter(c *scheduler.Cycle, in []int32) []int32 {
	accept := f.accept(c, in)
	return keep(in, f.params.FallbackOnEmpty, func(i int32) bool {
		v, ok := c.Snapshot.Metrics[i].CustomValue(f.at)
		if !ok {
			return f.params.OnMissing != "Fail"
		}
		return accept(v)
	})
}

// accept tells which values are kept, of those that the candidates have.
func (f *Attribute) accept(c *scheduler.Cycle, in []int32) func(float64) bool {
	a := &f.params.Algorithm
	switch a.Type {
	case "threshold":
		return func(v float64) bool { return compare(v, a.Threshold.Operator, *a.Threshold.Value) }
	case "range":
		return func(v float64) bool { return v >= *a.Range.Min && v <= *a.Range.Max }
	case "topK":
		return f.topK(c, in)
	}
	return f.percentile(c, in)
}

func compare(v float64, operator string, with float64) bool {
	switch operator {
	case lessThan:
		return v < with
	case lessThanOrEqual:
		return v <= with
	case greaterThan:
		return v > with
	case greaterThanOrEqual:
		return v >= with
	case equal:
		return v == with
	}
	return v != with
}

// sorted is the candidates' values, ascending, or descending when sign is -1, each
// times sign.
func (f *Attribute) sorted(c *scheduler.Cycle, in []int32, sign float64) []float64 {
	values := make([]float64, 0, len(in))
	for _, i := range in {
		if v, ok := c.Snapshot.Metrics[i].CustomValue(f.at); ok {
			values = append(values, sign*v)
		}
	}
	slices.Sort(values)
	return values
}

// topK accepts the k best, of equal ones the first.
func (f *Attribute) topK(c *scheduler.Cycle, in []int32) func(float64) bool {
	a := f.params.Algorithm.TopK
	sign := 1.0
	if a.HigherIsBetter == nil || *a.HigherIsBetter {
		sign = -1
	}
	values := f.sorted(c, in, sign)
	if len(values) <= a.K {
		return func(float64) bool { return true }
	}
	cut := values[a.K-1]
	better, _ := slices.BinarySearch(values, cut)
	atCut := a.K - better // how many of those equal to the cut
	return func(v float64) bool {
		switch v *= sign; {
		case v < cut:
			return true
		case v == cut && atCut > 0:
			atCut--
			return true
		}
		return false
	}
}

// percentile accepts what is at the nearest-rank percentile or better.
func (f *Attribute) percentile(c *scheduler.Cycle, in []int32) func(float64) bool {
	a := f.params.Algorithm.Percentile
	values := f.sorted(c, in, 1)
	if len(values) == 0 {
		return func(float64) bool { return true }
	}
	rank := max(1, int(math.Ceil(*a.Percentile/100*float64(len(values)))))
	cut := values[rank-1]
	if a.HigherIsBetter == nil || *a.HigherIsBetter {
		return func(v float64) bool { return v >= cut }
	}
	return func(v float64) bool { return v <= cut }
}
