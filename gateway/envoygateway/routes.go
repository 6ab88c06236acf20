package envoygateway

import (
	"context"
	"fmt"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairway-ai/fairway/gateway/xds"
)

// Fields that are looked at, or replaced, without decoding what is around them.
const (
	clusterName      protowire.Number = 1
	configName       protowire.Number = 1
	configHosts      protowire.Number = 2
	virtualHostRoute protowire.Number = 3
	routeMetadata    protowire.Number = 4
	routeName        protowire.Number = 14
	// configMaxDirect is the most that Envoy answers by itself, in bytes.
	configMaxDirect protowire.Number = 11
)

// routeConfigs are the names of the route configurations, in order, which of them have
// a rule of ours, and which one that may lead to a translator.
type routeConfigs struct {
	names            []string
	ours, translated map[string]bool
}

// find makes the plans of all rules that send to pools, AIRoutes or AIBackends.
func (t *translation) find(ctx context.Context, list [][]byte) (routeConfigs, error) {
	found := routeConfigs{names: make([]string, len(list)), ours: map[string]bool{}, translated: map[string]bool{}}
	ordinary := map[rule]bool{}
	for i, c := range list {
		name, err := stringField(c, configName)
		if err != nil {
			return routeConfigs{}, fmt.Errorf("route configuration %d: %w", i, err)
		}
		found.names[i] = name
		err = eachRoute(c, func(route []byte) error {
			at, err := ruleOf(route)
			if err != nil || at == (rule{}) || ordinary[at] {
				return err
			}
			if t.plans[at] == nil {
				p, err := t.planOf(ctx, at, route)
				if err != nil {
					return errReading{err}
				}
				if p == nil {
					ordinary[at] = true
					return nil
				}
				t.plans[at] = p
			}
			found.ours[name] = true
			found.translated[name] = found.translated[name] || t.plans[at].ai != nil
			return nil
		})
		if err != nil {
			return routeConfigs{}, fmt.Errorf("route configuration %q: %w", name, err)
		}
	}
	return found, nil
}

// ruleOf is the rule that an encoded route was made for, or the zero rule.
func ruleOf(route []byte) (rule, error) {
	name, err := stringField(route, routeName)
	if err != nil {
		return rule{}, fmt.Errorf("route: %w", err)
	}
	r, ok := parseRoute(name)
	if !ok {
		return rule{}, nil
	}
	return r, nil
}

// planOf is the plan of a rule, nil if it sends to nothing of ours.
func (t *translation) planOf(ctx context.Context, at rule, route []byte) (p *plan, err error) {
	defer func() {
		if cause := recover(); cause != nil {
			t.problem(at, reasonFailed, fmt.Sprintf("%.500v", cause))
			p, err = &plan{lost: 1}, nil
		}
	}()
	object, err := t.read.route(ctx, at.route)
	if err != nil {
		return nil, err
	}
	if object != nil && !fits(object, at, route) {
		if err := t.read.newer(ctx, at.route); err != nil {
			return nil, err
		}
		object = t.read.routes[at.route]
	}
	if object == nil || at.index >= len(object.Spec.Rules) {
		return nil, nil
	}
	if p := t.aiPlan(at, &object.Spec.Rules[at.index], route); p != nil {
		return p, nil
	}
	if !hasPools(at.route.Namespace, &object.Spec.Rules[at.index]) {
		return nil, nil
	}
	return t.plan(ctx, at, &object.Spec.Rules[at.index])
}

// eachRoute calls f with every encoded route of a route configuration.
func eachRoute(config []byte, f func(route []byte) error) error {
	return inField(config, configHosts, func(host []byte) error {
		return inField(host, virtualHostRoute, f)
	})
}

// routeConfig rewrites the routes of our rules and copies all else. identified says that
// its listeners prove who clients are.
func (t *translation) routeConfig(config []byte, idle *durationpb.Duration, identified bool) (out []byte, err error) {
	out = make([]byte, 0, len(config)+len(config)/2)
	catalogue := false
	err = eachField(config, func(host field) error {
		if host.number != configHosts || host.kind != protowire.BytesType {
			out = append(out, host.all...)
			return nil
		}
		h, lists, err := t.virtualHost(host.value, idle, identified)
		catalogue = catalogue || lists
		out = appendMessage(out, configHosts, h)
		return err
	})
	if catalogue && err == nil {
		out, err = allowAnswers(out, xds.MaxCatalogue)
	}
	return out, err
}

// allowAnswers has Envoy answer with that many bytes by itself, if it may not already.
func allowAnswers(config []byte, size uint32) ([]byte, error) {
	given := new(wrapperspb.UInt32Value)
	err := inField(config, configMaxDirect, func(b []byte) error {
		return proto.UnmarshalOptions{Merge: true}.Unmarshal(b, given)
	})
	if err != nil || given.Value >= size {
		return config, err
	}
	return appendMessage(config, configMaxDirect, encode(wrapperspb.UInt32(size))), nil
}

// virtualHost rewrites a virtual host's routes. catalogue is whether it answers with a
// catalogue.
func (t *translation) virtualHost(host []byte, idle *durationpb.Duration, identified bool) (out []byte, catalogue bool, err error) {
	out = make([]byte, 0, len(host)+len(host)/2)
	if t.guard, err = t.guardOf(host, identified); err != nil {
		return nil, false, err
	}
	ai, err := t.aiHost(host, idle)
	if err != nil {
		return nil, false, err
	}
	var first [][]byte
	if ai != nil {
		first = ai.first
	}
	err = eachField(host, func(route field) error {
		if route.number != virtualHostRoute || route.kind != protowire.BytesType {
			out = append(out, route.all...)
			return nil
		}
		for _, r := range first {
			out = appendMessage(out, virtualHostRoute, r)
		}
		first = nil
		at, err := ruleOf(route.value)
		if err != nil {
			return err
		}
		p := t.plans[at]
		if p == nil {
			out = append(out, route.all...)
			return nil
		}
		r := new(routev3.Route)
		if err := proto.Unmarshal(route.value, r); err != nil {
			return fmt.Errorf("route of %s rule %d: %w", at.route, at.index, err)
		}
		out = appendMessage(out, virtualHostRoute, t.contained(at, p, ai, r, idle))
		return nil
	})
	return out, ai != nil && ai.catalogue, err
}

// contained rewrites a route. Whatever goes wrong costs this route alone: Envoy
// Gateway, and then Envoy, would refuse everybody's configuration over it.
func (t *translation) contained(at rule, p *plan, h *aiHost, r *routev3.Route, idle *durationpb.Duration) (encoded []byte) {
	match, name, metadata := r.Match, r.Name, r.Metadata
	failed := func(err any) []byte {
		t.problem(at, reasonFailed, fmt.Sprintf("%.500v", err))
		r := &routev3.Route{Name: name, Match: match, Metadata: metadata}
		refuse(r)
		return encode(r)
	}
	defer func() {
		if err := recover(); err != nil {
			encoded = failed(err)
		}
	}()
	switch {
	case p.ai == nil:
		t.route(p, at, r, idle)
	case p.ai.route != (types.NamespacedName{}):
		t.aiRoute(h, p.ai, r, idle)
	default:
		t.backendRoute(at, p, r, idle)
	}
	if err := r.ValidateAll(); err != nil {
		return failed(err)
	}
	t.reference(r.GetRoute())
	return encode(r)
}

// reference notes the clusters that a route goes to.
func (t *translation) reference(a *routev3.RouteAction) {
	t.used[a.GetCluster()] = true
	for _, w := range a.GetWeightedClusters().GetClusters() {
		t.used[w.Name] = true
	}
	for _, m := range a.GetRequestMirrorPolicies() {
		t.used[m.Cluster] = true
	}
}
