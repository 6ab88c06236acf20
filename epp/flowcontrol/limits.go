package flowcontrol

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
)

// Types of usage limit policies.
const (
	StaticLimit    = "static-usage-limit-policy"
	HoldbackLimit  = "priority-holdback-policy"
	SoftReflective = "soft-reflective-ceiling-policy"
)

// UsageLimit gives each band a ceiling: it is served while the saturation of its
// endpoints is below it.
type UsageLimit struct {
	// Type is one of StaticLimit, HoldbackLimit and SoftReflective.
	Type string
	// Threshold is StaticLimit's ceiling of all bands.
	Threshold float64
	// Holdback are HoldbackLimit's parameters.
	Holdback Holdback
}

// Domains of [Holdback]: how a priority becomes a place between the ceilings.
const (
	DomainRank     = "rank"
	DomainValue    = "value"
	DomainExplicit = "explicit"
)

// Holdback are the parameters of priority-holdback-policy: the ceiling falls
// linearly from the highest priority's to the lowest's, by rank or by value, or is
// listed for each priority.
type Holdback struct {
	Domain                 string
	MinCeiling, MaxCeiling float64
	// Ceilings are for DomainExplicit; a priority that is not listed gets 0.
	Ceilings map[int]float64
}

// Validate reports the first parameter that makes no sense.
func (h *Holdback) Validate() error {
	switch h.Domain {
	case DomainRank, DomainValue:
		switch {
		case len(h.Ceilings) > 0:
			return fmt.Errorf("ceilings: must not be set unless domain is %q", DomainExplicit)
		case !(h.MinCeiling >= 0 && h.MinCeiling < 1):
			return fmt.Errorf("minCeiling is %v: must be 0 or more and below 1", h.MinCeiling)
		case !(h.MaxCeiling > 0 && h.MaxCeiling <= 1):
			return fmt.Errorf("maxCeiling is %v: must be above 0 and at most 1", h.MaxCeiling)
		case h.MinCeiling >= h.MaxCeiling:
			return fmt.Errorf("minCeiling is %v: must be below maxCeiling, %v", h.MinCeiling, h.MaxCeiling)
		}
		return nil
	case DomainExplicit:
		if len(h.Ceilings) == 0 {
			return errors.New("ceilings is missing: list the ceiling of each priority")
		}
		last := math.Inf(1)
		for _, p := range slices.Backward(slices.Sorted(maps.Keys(h.Ceilings))) {
			c := h.Ceilings[p]
			if !(c >= 0 && c <= 1) {
				return fmt.Errorf("ceilings[%d] is %v: must be 0 to 1", p, c)
			}
			if c > last {
				return fmt.Errorf("ceilings[%d] is %v: must not exceed that of a higher priority, %v", p, c, last)
			}
			last = c
		}
		return nil
	}
	return fmt.Errorf("domain is %.60q: must be %s, %s or %s", h.Domain, DomainRank, DomainValue, DomainExplicit)
}

// String is the policy as a YAML flow mapping.
func (u UsageLimit) String() string {
	switch u.Type {
	case StaticLimit:
		return fmt.Sprintf("{type: %s, threshold: %g}", u.Type, u.Threshold)
	case HoldbackLimit:
		h := u.Holdback
		if h.Domain != DomainExplicit {
			return fmt.Sprintf("{type: %s, domain: %s, minCeiling: %g, maxCeiling: %g}", u.Type, h.Domain, h.MinCeiling, h.MaxCeiling)
		}
		var list []string
		for _, p := range slices.Backward(slices.Sorted(maps.Keys(h.Ceilings))) {
			list = append(list, fmt.Sprintf("%d: %g", p, h.Ceilings[p]))
		}
		return fmt.Sprintf("{type: %s, domain: %s, ceilings: {%s}}", u.Type, h.Domain, strings.Join(list, ", "))
	}
	return fmt.Sprintf("{type: %s}", u.Type)
}

// limiter computes ceilings. SoftReflective counts its calls, so each queue has a
// limiter of its own.
type limiter struct {
	UsageLimit
	ticks []int64
}

// ceilings fills out for priorities, highest first, at a saturation.
func (l *limiter) ceilings(saturation float64, priorities []int, out []float64) {
	l.steady(saturation, priorities, out)
	if l.Type == SoftReflective {
		l.tick(saturation, out[:len(priorities)])
	}
}

// steady does so without what only goes for a single call.
func (l *limiter) steady(saturation float64, priorities []int, out []float64) {
	n := len(priorities)
	switch {
	case l.Type == HoldbackLimit && l.Holdback.Domain == DomainExplicit:
		for i, p := range priorities {
			out[i] = l.Holdback.Ceilings[p]
		}
	case l.Type == HoldbackLimit && n == 1:
		out[0] = l.Holdback.MaxCeiling // there is nobody to hold capacity back for
	case l.Type == HoldbackLimit:
		h := &l.Holdback
		spread := h.MaxCeiling - h.MinCeiling
		lowest := float64(priorities[n-1])
		span := float64(priorities[0]) - lowest
		for i, p := range priorities {
			share := 1 - float64(i)/float64(n-1)
			if h.Domain == DomainValue {
				share = (float64(p) - lowest) / span
			}
			out[i] = h.MinCeiling + share*spread
		}
	case l.Type == SoftReflective:
		for i := range out[:n] {
			out[i] = 0
			if i == 0 || saturation < 1-float64(i)*saturation/float64(n-1) {
				out[i] = 1
			}
		}
	default:
		for i := range out[:n] {
			out[i] = l.Threshold
		}
	}
}

// tick opens the lower bands that steady leaves shut, up to a saturation of 1, once in
// round(saturation / (1 - saturation)) calls.
func (l *limiter) tick(saturation float64, out []float64) {
	for len(l.ticks) < len(out) {
		l.ticks = append(l.ticks, 0)
	}
	if saturation >= 1 {
		return
	}
	period := max(1, int64(math.Round(saturation/(1-saturation))))
	for i := range out {
		if out[i] > 0 {
			continue
		}
		l.ticks[i]++
		if l.ticks[i] >= period {
			l.ticks[i] = 0
			out[i] = 1
		}
	}
}
