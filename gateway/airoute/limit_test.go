package airoute

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/fairway-ai/fairway/api/v1alpha1"
)

// limitsText is a route with limits, to a pool.
const limitsText = `apiVersion: fairway.dev/v1alpha1
kind: AIRoute
metadata: {name: r}
spec:
  rules:
  - name: chat
    costs: [{name: cents, type: TotalToken}]
    limits: [%s]
    backendRefs: [{group: inference.networking.k8s.io, kind: InferencePool, name: p}]
---
apiVersion: inference.networking.k8s.io/v1
kind: InferencePool
metadata: {name: p}
spec: {selector: {matchLabels: {a: b}}, targetPorts: [{number: 80}], endpointPickerRef: {name: f}}
`

func TestLimits(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want string // the limit, or where it is wrong
	}{
		{"type: Requests, max: 5, period: Minute", "{Requests  5 1m0s  }"},
		{"type: InputTokens, max: 5, period: Hour", "{InputTokens  5 1h0m0s  }"},
		{"type: OutputTokens, max: 5, period: Day", "{OutputTokens  5 24h0m0s  }"},
		{"type: TotalTokens, max: 5, period: 30d", "{TotalTokens  5 720h0m0s  }"},
		{"type: Cost, cost: cents, max: 5, period: 1s", "{Cost cents 5 1s  }"},
		{"type: Requests, max: 5, period: 90m, per: {type: Header, header: X-Team}", "{Requests  5 1h30m0s Header x-team}"},
		{"type: Requests, max: 5, period: 12h, per: {type: User}", "{Requests  5 12h0m0s User }"},
		{"type: Requests, max: 5, period: 7d, per: {type: SPIFFEID}", "{Requests  5 168h0m0s SPIFFEID }"},
		{"max: 5, period: Day", "type: must be Requests,"},
		{"type: Requests, max: 0, period: Day", "max: must be 1 to"},
		{"type: Requests, max: 1000000000001, period: Day", "max: must be 1 to"},
		{"type: Requests, cost: cents, max: 5, period: Day", "cost: is for type Cost"},
		{"type: Cost, max: 5, period: Day", "cost: must name one"},
		{"type: Cost, cost: other, max: 5, period: Day", "cost: must name one"},
		{"type: Requests, max: 5", "period: must be Minute"},
		{"type: Requests, max: 5, period: 0s", "period: must be Minute"},
		{"type: Requests, max: 5, period: 31d", "period: must be Minute"},
		{"type: Requests, max: 5, period: 9999999d", "period: must be Minute"},
		{"type: Requests, max: 5, period: 1h30m", "period: must be Minute"},
		{"type: Requests, max: 5, period: Day, per: {}", "per.type: must be Header"},
		{"type: Requests, max: 5, period: Day, per: {type: Header}", "per.header: must be a header"},
		{"type: Requests, max: 5, period: Day, per: {type: Header, header: X-Fairway-Route}", "per.header: must be a header"},
		{"type: Requests, max: 5, period: Day, per: {type: User, header: a}", "per.header: is for type Header"},
	} {
		r := Compile(world(t, fmt.Sprintf(limitsText, "{"+tt.in+"}")))
		route := r.Routes[parseName("default/r")]
		if !strings.HasPrefix(tt.want, "{") {
			if len(route.Problems) != 1 || route.Problems[0].Reason != ReasonInvalid || !strings.HasPrefix(route.Problems[0].Field+": "+route.Problems[0].Message, "spec.rules[0].limits[0]."+tt.want) {
				t.Errorf("%s: %+v", tt.in, route.Problems)
			}
			continue
		}
		if len(route.Problems) > 0 || len(r.Config.Rules) != 1 || fmt.Sprint(r.Config.Rules[0].Limits) != "["+tt.want+"]" {
			t.Errorf("%s: %+v, %+v", tt.in, route.Problems, r.Config.Rules)
		}
	}
	many := strings.Repeat("{type: Requests, max: 5, period: Day}, ", 9)
	if p := Compile(world(t, fmt.Sprintf(limitsText, many))).Routes[parseName("default/r")].Problems; len(p) != 1 || p[0].Field != "spec.rules[0].limits" {
		t.Errorf("9 limits: %+v", p)
	}
}

// TestLimitsAreNotEnvoys: limits are none of Envoy's business, which is not bothered when
// they change.
func TestLimitsAreNotEnvoys(t *testing.T) {
	hash := func(limits string) string {
		return Compile(world(t, fmt.Sprintf(limitsText, limits))).Routes[parseName("default/r")].Hash
	}
	if hash("") != hash("{type: Requests, max: 5, period: Day}") {
		t.Error("a limit changes what Envoy must know")
	}
}

func FuzzPeriod(f *testing.F) {
	for _, s := range []string{"", "Day", "30d", "2592000s", "9999999d", "1x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p := &problems{}
		if d := p.period("x", v1alpha1.LimitPeriod(s)); d < time.Second || d > maxPeriod {
			t.Errorf("%q is %s", s, d)
		}
	})
}
