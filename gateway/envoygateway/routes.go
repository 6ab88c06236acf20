package envoygateway

import (
	"context"
	"fmt"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
)

// Fields that are looked at, or replaced, without decoding what is around them.
const (
	clusterName      protowire.Number = 1
	configName       protowire.Number = 1
	configHosts      protowire.Number = 2
	virtualHostRoute protowire.Number = 3
	routeName        protowire.Number = 14
)

// routeConfigs are the names of the route configurations, in order, and which of
// them have a rule of ours.
type routeConfigs struct {
	names []string
	ours  map[string]bool
}

// find makes the plans of all rules that send to pools.
func (t *translation) find(ctx context.Context, list [][]byte) (routeConfigs, error) {
	found := routeConfigs{names: make([]string, len(list)), ours: map[string]bool{}}
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

// planOf is the plan of a rule, nil if it sends nothing to pools.
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
	if object == nil || at.index >= len(object.Spec.Rules) || !hasPools(at.route.Namespace, &object.Spec.Rules[at.index]) {
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

// routeConfig rewrites the routes of our rules and copies all else. picks is whether
// any of them goes to a pool.
func (t *translation) routeConfig(config []byte, idle *durationpb.Duration) (out []byte, picks bool, err error) {
	out = make([]byte, 0, len(config)+len(config)/2)
	err = eachField(config, func(host field) error {
		if host.number != configHosts || host.kind != protowire.BytesType {
			out = append(out, host.all...)
			return nil
		}
		h, p, err := t.virtualHost(host.value, idle)
		picks = picks || p
		out = appendMessage(out, configHosts, h)
		return err
	})
	return out, picks, err
}

func (t *translation) virtualHost(host []byte, idle *durationpb.Duration) (out []byte, picks bool, err error) {
	out = make([]byte, 0, len(host)+len(host)/2)
	err = eachField(host, func(route field) error {
		if route.number != virtualHostRoute || route.kind != protowire.BytesType {
			out = append(out, route.all...)
			return nil
		}
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
		encoded, went := t.contained(at, p, r, idle)
		picks = picks || went
		out = appendMessage(out, virtualHostRoute, encoded)
		return nil
	})
	return out, picks, err
}

// contained rewrites a route. Whatever goes wrong costs this route alone: Envoy
// Gateway, and then Envoy, would refuse everybody's configuration over it.
func (t *translation) contained(at rule, p *plan, r *routev3.Route, idle *durationpb.Duration) (encoded []byte, picks bool) {
	match, name, metadata := r.Match, r.Name, r.Metadata
	failed := func(err any) {
		t.problem(at, reasonFailed, fmt.Sprintf("%.500v", err))
		r := &routev3.Route{Name: name, Match: match, Metadata: metadata}
		refuse(r)
		encoded, picks = encode(r), false
	}
	defer func() {
		if err := recover(); err != nil {
			failed(err)
		}
	}()
	picks = t.route(p, at, r, idle)
	if err := r.ValidateAll(); err != nil {
		failed(err)
		return encoded, picks
	}
	t.reference(r.GetRoute())
	return encode(r), picks
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
