package airoute

import (
	"slices"
	"strconv"

	"github.com/fairway-ai/fairway/gateway/xds"
)

// HasBackend says whether any target is a provider.
func (r *Rule) HasBackend() bool { return r.backendBefore(len(r.Groups)) }

// backendBefore says whether a group before the given one has a provider.
func (r *Rule) backendBefore(group int) bool {
	for _, g := range r.Groups[:group] {
		if slices.ContainsFunc(g, func(t Target) bool { return t.Backend != "" }) {
			return true
		}
	}
	return false
}

// Cluster is the Envoy cluster of a target of a group. A pool that may be tried after
// a provider has another one, which undoes what that try changed.
func (r *Rule) Cluster(group int, t Target) string {
	switch {
	case t.Backend != "":
		return xds.BackendPrefix + t.Backend
	case r.backendBefore(group):
		return xds.RestorePrefix + t.Pool
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
		r := &c.Rules[i]
		x := xds.Rule{
			Name: r.Name, FirstByteTimeout: r.FirstByteTimeout, Timeout: r.Timeout,
			Attempts:  min(r.Attempts, len(r.Groups)),
			OnConnect: r.On.ConnectFailure, OnServerError: r.On.ServerError, OnTooMany: r.On.TooManyRequests,
		}
		for k, g := range r.Groups {
			group := xds.Group{Name: GroupName(k)}
			for _, t := range g {
				group.Clusters = append(group.Clusters, xds.WeightedCluster{Name: r.Cluster(k, t), Weight: t.Weight})
			}
			x.Groups = append(x.Groups, group)
		}
		out.Rules = append(out.Rules, x)
	}
	for i := range c.Backends {
		b := &c.Backends[i]
		out.Providers = append(out.Providers, xds.Provider{
			Name: b.Name, Label: b.Label, Host: b.Host, Port: b.Port,
			TLS: !b.TLS.Off, Insecure: b.TLS.Insecure, ServerName: b.TLS.ServerName, CA: b.TLS.CA,
		})
	}
	for _, m := range c.Models() {
		out.Models = append(out.Models, xds.Model{Name: m.Name, OwnedBy: m.OwnedBy, Created: m.Created})
	}
	return out
}

// AllTriggers are all reasons to go on.
func AllTriggers() Triggers {
	return Triggers{ConnectFailure: true, ServerError: true, TooManyRequests: true, NoEndpoints: true, Saturated: true, PickerUnavailable: true}
}
