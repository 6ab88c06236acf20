package envoygateway

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/fairway-ai/fairway/gateway/xds"
)

// translation turns what Envoy Gateway made into what pools need, once.
type translation struct {
	read      *readings
	limits    xds.Options
	discovery xds.Discovery

	plans map[rule]*plan
	// given are the clusters that Envoy Gateway made for backendRefs of our rules.
	given map[string]bool
	// used are the clusters that our rules' routes go to.
	used map[string]bool
	// pools are those that our rules send to, by name.
	pools map[string]xds.Pool
	// problems are what was found wrong, each once, in the order found.
	problems []problem
	known    map[problem]bool
}

// problem is a share of a rule that answers 500.
type problem struct {
	at     rule
	reason string
	object string
}

func newTranslation(r *readings, limits xds.Options, d xds.Discovery) *translation {
	return &translation{
		read: r, limits: limits, discovery: d,
		plans: map[rule]*plan{}, given: map[string]bool{}, used: map[string]bool{},
		pools: map[string]xds.Pool{}, known: map[problem]bool{},
	}
}

func (t *translation) problem(at rule, reason, object string) {
	p := problem{at, reason, object}
	if !t.known[p] {
		t.known[p] = true
		t.problems = append(t.problems, p)
	}
}

// errReading is an object that could not be read.
type errReading struct{ error }

// run translates. What no rule with a pool touches keeps its bytes. Errors are of
// type errReading, or say that the input is not what it should be.
func (t *translation) run(ctx context.Context, in resources) (resources, error) {
	configs, err := t.find(ctx, in.routes)
	if err != nil {
		return resources{}, err
	}
	if len(t.plans) == 0 {
		return in, nil
	}
	out := in
	clusters, err := t.clusterNames(in.clusters)
	if err != nil {
		return resources{}, err
	}
	listeners, err := findListeners(in.listeners, configs)
	if err != nil {
		return resources{}, err
	}
	// The lists are the caller's; what changes is put into copies.
	out.routes = slices.Clone(in.routes)
	filtered := map[string]bool{}
	for i, name := range configs.names {
		if !configs.ours[name] {
			continue
		}
		var idle *durationpb.Duration
		if !listeners.idle[name] {
			idle = durationpb.New(xds.IdleTimeout(t.limits))
		}
		var picks bool
		if out.routes[i], picks, err = t.routeConfig(in.routes[i], idle); err != nil {
			return resources{}, fmt.Errorf("route configuration %q: %w", name, err)
		}
		if picks {
			filtered[name] = true
		}
	}
	if out.listeners, err = listeners.patch(in.listeners, filtered, t.limits); err != nil {
		return resources{}, err
	}
	out.clusters = t.clusters(in.clusters, clusters)
	return out, nil
}

// clusterNames are the names of the clusters, in order.
func (t *translation) clusterNames(list [][]byte) ([]string, error) {
	names := make([]string, len(list))
	for i, c := range list {
		name, err := stringField(c, clusterName)
		if err != nil {
			return nil, fmt.Errorf("cluster %d: %w", i, err)
		}
		names[i] = name
		if r, backend, ok := parseCluster(name); ok && backend != wholeRule && t.plans[r] != nil {
			t.given[name] = true
		}
	}
	return names, nil
}

// clusters are Envoy Gateway's, less those of our rules that nothing goes to any
// more, and ours.
func (t *translation) clusters(given [][]byte, names []string) [][]byte {
	out := make([][]byte, 0, len(given)+len(t.pools)+1)
	for i, c := range given {
		if r, _, ok := parseCluster(names[i]); ok && t.plans[r] != nil && !t.used[names[i]] {
			continue
		}
		out = append(out, c)
	}
	var pools []string
	for _, name := range slices.Sorted(maps.Keys(t.pools)) {
		if t.used[xds.ClusterName(name)] {
			pools = append(pools, name)
		}
	}
	if len(pools) > 0 {
		out = append(out, encode(xds.DiscoveredPickerCluster(t.discovery)))
	}
	for _, name := range pools {
		out = append(out, encode(xds.DiscoveredPoolCluster(t.pools[name], t.discovery, t.limits)))
	}
	return out
}

// encode writes a message that was made here, or decoded, and therefore can be
// written.
func encode(m proto.Message) []byte {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		panic(fmt.Sprintf("envoygateway: %T: %v", m, err))
	}
	return b
}
