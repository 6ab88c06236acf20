package airoute

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"k8s.io/apimachinery/pkg/types"
	inferencev1 "sigs.k8s.io/gateway-api-inference-extension/api/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/fairway-ai/fairway/api/v1alpha1"
	"github.com/fairway-ai/fairway/gateway/accesspolicy"
	"github.com/fairway-ai/fairway/gateway/xds"
)

// hashFormat changes when the same objects come to another configuration of Envoy than
// in an earlier version of this program.
const hashFormat = 1

// seen is what Envoy must know of rules, or must be told anew for. Nothing of it is
// about credentials.
type seen struct {
	Format    int
	Hostnames []gatewayv1.Hostname
	Matches   []gatewayv1.HTTPRouteMatch
	Rules     []seenRule
	Providers []xds.Provider
	Pools     []seenPool
	Models    []Model
	// Guarded are the targets of policies at the route's Gateways.
	Guarded []accesspolicy.Target `json:",omitempty"`
}

type seenRule struct {
	xds.Rule
	On      Triggers
	Targets [][]Target
}

type seenPool struct {
	Name        string
	Exists      bool
	FailureMode inferencev1.EndpointPickerFailureMode
	AppProtocol inferencev1.AppProtocol
}

// hashes sets the hash of every AIRoute and HTTPRoute.
func (b *builder) hashes(r *Result) {
	for _, route := range b.in.Routes {
		x := r.Routes[nameOf(route)]
		s := b.seen(x.Rules)
		s.Guarded = b.guarded(route)
		s.Hostnames, s.Matches, s.Models = x.Hostnames, x.Matches, b.c.ModelsOf([]string{x.Name})
		x.Hash = s.hash()
	}
	for _, x := range r.Direct {
		var names []string
		for _, i := range slices.Sorted(maps.Keys(x.Rules)) {
			names = append(names, x.Rules[i])
		}
		x.Hash = b.seen(names).hash()
	}
}

// seen is what Envoy must know of the rules of these names.
func (b *builder) seen(names []string) *seen {
	s := &seen{Format: hashFormat}
	backends, pools := map[string]bool{}, map[string]bool{}
	for _, name := range names {
		r := b.c.Rule(name)
		s.Rules = append(s.Rules, seenRule{r.routing(), r.On, r.Groups})
		for _, g := range r.Groups {
			for _, t := range g {
				if t.Backend != "" {
					backends[t.Backend] = true
				}
				if t.Pool != "" {
					pools[t.Pool] = true
				}
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(backends)) {
		s.Providers = append(s.Providers, b.c.Backend(name).routing())
	}
	for _, name := range slices.Sorted(maps.Keys(pools)) {
		s.Pools = append(s.Pools, b.seenPool(name))
	}
	return s
}

// guarded are the targets of policies at a route's Gateways, in order.
func (b *builder) guarded(route *v1alpha1.AIRoute) (all []accesspolicy.Target) {
	for _, p := range route.Spec.ParentRefs {
		gateway := types.NamespacedName{Namespace: route.Namespace, Name: string(p.Name)}
		if p.Namespace != nil {
			gateway.Namespace = string(*p.Namespace)
		}
		all = append(all, b.c.Access.Targets(gateway)...)
	}
	return all
}

func (b *builder) seenPool(name string) seenPool {
	out := seenPool{Name: name}
	p := b.in.Pool(parseName(name))
	if p == nil {
		return out
	}
	out.Exists, out.AppProtocol = true, p.Spec.AppProtocol
	if ref := p.Spec.EndpointPickerRef; ref != nil {
		out.FailureMode = ref.FailureMode
	}
	return out
}

func (s *seen) hash() string {
	text, err := json.Marshal(s)
	if err != nil {
		panic(fmt.Sprintf("airoute: %v", err)) // strings, numbers and lists of them
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:8])
}
