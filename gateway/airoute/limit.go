package airoute

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/fairway-ai/fairway/api/v1alpha1"
)

// Limit bounds what clients may use of a rule in a period.
type Limit struct {
	// Type is what it counts, Cost the name of the cost for that type.
	Type v1alpha1.LimitType
	Cost string
	// Max is how much may be used in any Period.
	Max    int64
	Period time.Duration
	// Per tells clients apart, "" does not; Header is the header's lower-case name.
	Per    v1alpha1.LimitKeyType
	Header string
}

const (
	maxLimits   = 8
	maxLimit    = 1_000_000_000_000
	maxPeriod   = 30 * 24 * time.Hour
	longestName = 256
)

// limits reads the limits of a rule. cost says whether the rule has a cost of that name.
func (p *problems) limits(at string, in []v1alpha1.Limit, cost func(string) bool) (out []Limit) {
	if len(in) > maxLimits {
		p.invalid(at+".limits", "must have at most %d limits", maxLimits)
		in = in[:maxLimits]
	}
	for i := range in {
		out = append(out, p.limit(fmt.Sprintf("%s.limits[%d]", at, i), &in[i], cost))
	}
	return out
}

func (p *problems) limit(at string, in *v1alpha1.Limit, cost func(string) bool) Limit {
	out := Limit{Type: in.Type, Cost: in.Cost, Max: in.Max, Period: p.period(at+".period", in.Period)}
	switch in.Type {
	case v1alpha1.LimitRequests, v1alpha1.LimitInputTokens, v1alpha1.LimitOutputTokens, v1alpha1.LimitTotalTokens:
		if in.Cost != "" {
			p.invalid(at+".cost", "is for type Cost; remove it")
		}
	case v1alpha1.LimitCost:
		if !cost(in.Cost) {
			p.invalid(at+".cost", "must name one of the rule's costs")
		}
	default:
		p.invalid(at+".type", "must be Requests, InputTokens, OutputTokens, TotalTokens or Cost")
	}
	if in.Max < 1 || in.Max > maxLimit {
		p.invalid(at+".max", "must be 1 to %d", int64(maxLimit))
	}
	if in.Per == nil {
		return out
	}
	out.Per = in.Per.Type
	switch header := in.Per.Header; {
	case in.Per.Type != v1alpha1.LimitPerHeader && in.Per.Type != v1alpha1.LimitPerUser && in.Per.Type != v1alpha1.LimitPerSPIFFEID:
		p.invalid(at+".per.type", "must be Header, User or SPIFFEID")
	case in.Per.Type == v1alpha1.LimitPerHeader:
		if header != nil {
			out.Header = strings.ToLower(string(*header))
		}
		if out.Header == "" || len(out.Header) > longestName || strings.HasPrefix(out.Header, "x-fairway-") {
			p.invalid(at+".per.header", "must be a header that requests come with")
		}
	case header != nil:
		p.invalid(at+".per.header", "is for type Header; remove it")
	}
	return out
}

var periodForm = regexp.MustCompile(`^([1-9][0-9]{0,6})([smhd])$`)

// period reads a period, at most maxPeriod.
func (p *problems) period(at string, in v1alpha1.LimitPeriod) time.Duration {
	switch in {
	case "Minute":
		return time.Minute
	case "Hour":
		return time.Hour
	case "Day":
		return 24 * time.Hour
	}
	if m := periodForm.FindStringSubmatch(string(in)); m != nil {
		n, _ := strconv.Atoi(m[1]) // up to 7 digits
		unit := map[string]time.Duration{"s": time.Second, "m": time.Minute, "h": time.Hour, "d": 24 * time.Hour}[m[2]]
		if time.Duration(n) <= maxPeriod/unit {
			return time.Duration(n) * unit
		}
	}
	p.invalid(at, "must be Minute, Hour, Day, or as in 30s, 5m, 12h or 30d, at most 30 days")
	return time.Minute
}

// hasCost says whether there is a cost of that name.
func hasCost(costs []v1alpha1.Cost) func(string) bool {
	return func(name string) bool {
		return slices.ContainsFunc(costs, func(c v1alpha1.Cost) bool { return c.Name == name })
	}
}
