package airoute

import (
	"slices"
	"strconv"

	"github.com/fairway-ai/fairway/gateway/xds"
)

// HasBackend says whether any target is spoken to as a Backend says.
func (r *Rule) HasBackend() bool {
	return anyTarget(r.Groups, func(t Target) bool { return t.Backend != "" })
}

// changes says whether a target gets another request than the client's.
func changes(t Target) bool { return t.Backend != "" || t.Model != "" }

func anyTarget(groups [][]Target, f func(Target) bool) bool {
	return slices.ContainsFunc(groups, func(g []Target) bool { return slices.ContainsFunc(g, f) })
}

// Cluster is the Envoy cluster of a target of a group. A pool that is spoken to as a
// Backend says has the Backend's. One that may be tried after a target that gets
// another request than the client's, or that gets one itself after others did not, has
// another one than its own, where the try gets the request that it should.
func (r *Rule) Cluster(group int, t Target) string {
	switch {
	case t.Backend != "":
		return xds.BackendPrefix + t.Backend
	case group > 0 && (changes(t) || anyTarget(r.Groups[:group], changes)):
		return xds.RestorePrefix + t.Pool
	case r.Managed:
		return xds.ClusterName(t.Pool)
	}
	return t.Pool
}

// GroupName is the name of a group in Envoy.
func GroupName(i int) string { return strconv.Itoa(i) }

// Routing is what Envoy must know of the rules.
func (c *Config) Routing() xds.Routing {
	out := xds.Routing{}
	if c == nil {
		return out
	}
	for i := range c.Rules {
		out.Rules = append(out.Rules, c.Rules[i].routing())
	}
	for i := range c.Backends {
		out.Providers = append(out.Providers, c.Backends[i].routing())
	}
	for _, m := range c.Models() {
		out.Models = append(out.Models, xds.Model{Name: m.Name, OwnedBy: m.OwnedBy, Created: m.Created})
	}
	return out
}

func (r *Rule) routing() xds.Rule {
	out := xds.Rule{
		Name: r.Name, FirstByteTimeout: r.FirstByteTimeout, Timeout: r.Timeout,
		Attempts:  min(r.Attempts, len(r.Groups)),
		OnConnect: r.On.ConnectFailure, OnServerError: r.On.ServerError, OnTooMany: r.On.TooManyRequests,
	}
	for k, g := range r.Groups {
		group := xds.Group{Name: GroupName(k)}
		for _, t := range g {
			group.Clusters = append(group.Clusters, xds.WeightedCluster{Name: r.Cluster(k, t), Weight: t.Weight})
		}
		out.Groups = append(out.Groups, group)
	}
	return out
}

func (b *Backend) routing() xds.Provider {
	return xds.Provider{
		Name: b.Name, Label: b.Label, Host: b.Host, Port: b.Port, Pool: b.Pool,
		TLS: !b.TLS.Off, Insecure: b.TLS.Insecure, ServerName: b.TLS.ServerName, CA: b.TLS.CA,
	}
}

// AllTriggers are all reasons to go on.
func AllTriggers() Triggers {
	return Triggers{ConnectFailure: true, ServerError: true, TooManyRequests: true, NoEndpoints: true, Saturated: true, PickerUnavailable: true}
}
