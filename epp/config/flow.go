package config

import (
	"fmt"
	"time"

	"go.yaml.in/yaml/v3"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairway-ai/fairway/api/v1alpha1"
	"github.com/fairway-ai/fairway/epp/flowcontrol"
)

// flow reads the flowControl section, which the feature gate makes count.
func (l *loader) flow() {
	f, n := l.spec.FlowControl, child(l.root, "flowControl")
	c := flowcontrol.DefaultConfig()
	if f == nil {
		f = &v1alpha1.FlowControlConfig{}
	}
	c.Detector = l.config.Detector()
	c.MaxBytes = l.quantity(f.MaxBytes, child(n, "maxBytes"), "flowControl.maxBytes", 0)
	c.MaxRequests = l.quantity(f.MaxRequests, child(n, "maxRequests"), "flowControl.maxRequests", 0)
	c.TTL = l.ttl(f.DefaultRequestTTL, child(n, "defaultRequestTTL"), "flowControl.defaultRequestTTL")
	c.NoEndpointTTL = l.ttl(f.NoEndpointRequestTTL, child(n, "noEndpointRequestTTL"), "flowControl.noEndpointRequestTTL")
	if ref := f.UsageLimitPolicyPluginRef; ref != "" {
		if u, ok := policy[flowcontrol.UsageLimit](l, ref, "flowControl.usageLimitPolicyPluginRef", child(n, "usageLimitPolicyPluginRef"), "a usage limit policy"); ok {
			c.Limit = u
		}
	}
	if b := f.DefaultPriorityBand; b != nil {
		c.Default = l.band(b, child(n, "defaultPriorityBand"), "flowControl.defaultPriorityBand")
	}
	if b := f.DefaultNegativePriorityBand; b != nil {
		band := l.band(b, child(n, "defaultNegativePriorityBand"), "flowControl.defaultNegativePriorityBand")
		c.DefaultNegative = &band
	}
	seen := map[int]bool{}
	for i := range f.PriorityBands {
		b, at := &f.PriorityBands[i], fmt.Sprintf("flowControl.priorityBands[%d]", i)
		bn := item(child(n, "priorityBands"), i)
		if seen[b.Priority] {
			l.fail(orSelf(bn, "priority"), at+".priority", "%d has a band already: each priority has one", b.Priority)
		}
		seen[b.Priority] = true
		c.Bands = append(c.Bands, l.band(b, bn, at))
	}
	c.Evict = f.EnableEviction
	if l.gated {
		l.config.FlowControl = c
	}
}

// band reads a priority band.
func (l *loader) band(b *v1alpha1.PriorityBandConfig, n *yaml.Node, path string) flowcontrol.Band {
	out := flowcontrol.DefaultBand()
	out.Priority = b.Priority
	out.MaxBytes = l.quantity(b.MaxBytes, child(n, "maxBytes"), path+".maxBytes", out.MaxBytes)
	out.MaxRequests = l.quantity(b.MaxRequests, child(n, "maxRequests"), path+".maxRequests", out.MaxRequests)
	if b.FairnessPolicyRef != "" {
		if f, ok := policy[flowcontrol.Fairness](l, b.FairnessPolicyRef, path+".fairnessPolicyRef", child(n, "fairnessPolicyRef"), "a fairness policy"); ok {
			out.Fairness = f
		}
	}
	if b.OrderingPolicyRef != "" {
		if o, ok := policy[ordering](l, b.OrderingPolicyRef, path+".orderingPolicyRef", child(n, "orderingPolicyRef"), "an ordering policy"); ok {
			out.Ordering = string(o)
		}
	}
	return out
}

// policy resolves a reference to a policy of one kind. As published, the types
// without parameters need no entry of plugins.
func policy[P any](l *loader, ref, path string, n *yaml.Node, want string) (P, bool) {
	var none P
	if l.find(ref) == nil {
		if f, ok := flowPlugins()[ref]; ok && !f.alpha && f.kind == kindFlow {
			if p, ok := f.build(&l.decoder, &plugin{typ: ref, name: ref, path: path, node: n}, nil).(P); ok {
				return p, true
			}
		}
	}
	p := l.ref(ref, path, n, kindFlow)
	if p == nil {
		return none, false
	}
	out, ok := p.built.(P)
	if !ok {
		l.fail(n, path, "%q is a %s: must name %s", p.name, p.typ, want)
	}
	return out, ok
}

// quantity is a bound; unset is what none and 0 stand for.
func (l *loader) quantity(q *resource.Quantity, n *yaml.Node, path string, unset int64) int64 {
	if q == nil || q.IsZero() {
		return unset
	}
	if q.Sign() < 0 {
		l.fail(n, path, "is %s: must not be negative", q)
	}
	return q.Value()
}

func (l *loader) ttl(d *metav1.Duration, n *yaml.Node, path string) time.Duration {
	if d == nil {
		return flowcontrol.DefaultTTL
	}
	if d.Duration < 0 {
		l.fail(n, path, "is %v: must not be negative; 0s is no bound", d.Duration)
	}
	return d.Duration
}
