package envoygateway

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairway-ai/fairway/gateway/accesspolicy"
	"github.com/fairway-ai/fairway/gateway/xds"
)

// translation turns what Envoy Gateway made into what pools and AIRoutes need, once.
type translation struct {
	read      *readings
	ai        AISource // may be nil
	access    *accesspolicy.Set
	log       *slog.Logger
	limits    xds.Options
	discovery xds.Discovery

	// guard is that of the virtual host at hand.
	guard guard

	plans map[rule]*plan
	// given are the clusters that Envoy Gateway made for backendRefs of our rules.
	given map[string]bool
	// made are the rules of ours of which it made any cluster.
	made map[rule]bool
	// used are the clusters that our rules' routes go to.
	used map[string]bool
	// pools are those that our rules send to, by name.
	pools map[string]xds.Pool
	// providers are those that rules of AIRoutes and AIBackends lead to, by name.
	providers map[string]xds.Provider
	// routes are what AIRoutes come to, nil for those that answer 500.
	routes map[types.NamespacedName]*following
	// problems are what was found wrong, each once, in the order found.
	problems []problem
	known    map[problem]bool
}

// problem is a share of a rule that answers 500, or what else users must know.
type problem struct {
	at     rule
	reason string
	object string
}

func newTranslation(r *readings, o *Options, d xds.Discovery) *translation {
	return &translation{
		read: r, ai: o.AI, log: o.Log, limits: o.Limits, discovery: d,
		plans: map[rule]*plan{}, given: map[string]bool{}, made: map[rule]bool{}, used: map[string]bool{},
		pools: map[string]xds.Pool{}, providers: map[string]xds.Provider{}, routes: map[types.NamespacedName]*following{},
		known: map[problem]bool{},
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

// run translates. What no rule of ours touches keeps its bytes, but for the filter on
// listeners and its cluster. Errors are of type errReading, or say that the input is
// not what it should be.
func (t *translation) run(ctx context.Context, in resources) (resources, error) {
	configs, err := t.find(ctx, in.routes)
	if err != nil {
		return resources{}, err
	}
	if err := t.resolve(ctx); err != nil {
		return resources{}, err
	}
	out := in
	clusters, err := t.clusterNames(in.clusters)
	if err != nil {
		return resources{}, err
	}
	listeners, err := findListeners(in.listeners)
	if err != nil {
		return resources{}, err
	}
	// The lists are the caller's; what changes is put into copies.
	out.routes = slices.Clone(in.routes)
	for i, name := range configs.names {
		if !configs.ours[name] {
			continue
		}
		var idle *durationpb.Duration
		if !listeners.idle[name] {
			idle = durationpb.New(xds.IdleTimeout(t.limits))
		}
		if out.routes[i], err = t.routeConfig(in.routes[i], idle, !listeners.unproven[name]); err != nil {
			return resources{}, fmt.Errorf("route configuration %q: %w", name, err)
		}
	}
	if out.listeners, err = listeners.patch(in.listeners, configs, t.limits); err != nil {
		return resources{}, err
	}
	out.clusters = t.clusters(in.clusters, clusters, listeners.filtered)
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
		if r, backend, ok := parseCluster(name); ok && t.plans[r] != nil {
			t.made[r] = true
			t.given[name] = t.given[name] || backend != wholeRule
		}
	}
	return names, nil
}

// clusters are Envoy Gateway's, less those of our rules that nothing goes to any
// more, and ours.
func (t *translation) clusters(given [][]byte, names []string, filtered bool) [][]byte {
	out := make([][]byte, 0, len(given)+len(t.pools)+len(t.providers)+2)
	for i, c := range given {
		if r, _, ok := parseCluster(names[i]); ok && t.plans[r] != nil && !t.used[names[i]] {
			continue
		}
		out = append(out, c)
	}
	if filtered {
		out = append(out, encode(xds.DiscoveredPickerCluster(t.discovery)))
	}
	if t.used[xds.NoPickerClusterName] {
		out = append(out, encode(xds.NoPickerCluster()))
	}
	for _, name := range slices.Sorted(maps.Keys(t.pools)) {
		for _, c := range xds.DiscoveredPoolClusters(t.pools[name], t.discovery, t.limits) {
			if t.used[c.Name] {
				out = append(out, encode(c))
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(t.providers)) {
		if t.used[xds.BackendPrefix+name] {
			out = append(out, encode(t.provider(t.providers[name])))
		}
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
