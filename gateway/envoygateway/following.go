package envoygateway

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairway-ai/fairway/gateway/airoute"
	"github.com/fairway-ai/fairway/gateway/xds"
)

// following is what an AIRoute, or a rule with AIBackends, comes to in Envoy.
type following struct {
	rules  []xds.Rule
	models []xds.Model
	// open is the cluster of a pool that takes requests that nobody saw: the first, if
	// all rules begin with pools that fail open.
	open string
}

// follow finds out what a rule of an HTTPRoute comes to. Whatever is wrong with it costs
// it alone. The error is one of reading.
func (t *translation) follow(ctx context.Context, at rule, p *aiRule, result *airoute.Result) (err error) {
	if p.route != (types.NamespacedName{}) {
		if known, ok := t.routes[p.route]; ok {
			p.to = known
			return nil
		}
		defer func() { t.routes[p.route] = p.to }()
	}
	defer func() {
		if cause := recover(); cause != nil {
			t.problem(at, reasonFailed, fmt.Sprintf("%.500v", cause))
			p.to, err = nil, nil
		}
	}()
	var names []string
	if p.route == (types.NamespacedName{}) {
		if d := result.Direct[at.route]; d != nil && d.Rules[at.index] != "" {
			names = []string{d.Rules[at.index]}
		}
	} else if r := result.Routes[p.route]; r != nil {
		names = r.Rules
	}
	if len(names) == 0 {
		t.problem(at, reasonUnknown, p.route.String())
		return nil
	}
	to, err := t.following(ctx, at, part(result.Config, names))
	if err != nil {
		return err
	}
	p.to = to
	return nil
}

// part is the rules of those names, and the backends that they name.
func part(all *airoute.Config, names []string) *airoute.Config {
	c, used := &airoute.Config{}, map[string]bool{}
	for _, name := range names {
		r := all.Rule(name)
		if r == nil {
			panic(fmt.Sprintf("rule %q is not there", name))
		}
		c.Rules = append(c.Rules, *r)
		for _, g := range r.Groups {
			for _, target := range g {
				if b := all.Backend(target.Backend); b != nil && !used[b.Name] {
					used[b.Name] = true
					c.Backends = append(c.Backends, *b)
				}
			}
		}
	}
	return c
}

// following notes the pools and providers that rules lead to.
func (t *translation) following(ctx context.Context, at rule, c *airoute.Config) (*following, error) {
	routing := c.Routing()
	to := &following{models: routing.Models}
	for _, p := range routing.Providers {
		if p.Pool != "" && !isPicked(p.Pool) {
			if err := t.needPool(ctx, at, p.Pool); err != nil {
				return nil, err
			}
		}
		t.providers[p.Name] = p
	}
	open := true
	for i := range routing.Rules {
		r := routing.Rules[i].Managed()
		if len(r.Groups) == 0 {
			t.problem(at, reasonEmpty, r.Name)
		}
		for k, g := range r.Groups {
			for _, c := range g.Clusters {
				pool, isPool := poolOfCluster(c.Name)
				if isPool {
					if err := t.needPool(ctx, at, pool); err != nil {
						return nil, err
					}
				}
				if k > 0 {
					continue
				}
				open = open && strings.HasPrefix(c.Name, xds.ClusterPrefix) && t.pools[pool].FailOpen
				if to.open == "" {
					to.open = c.Name
				}
			}
		}
		to.rules = append(to.rules, r)
	}
	if !open {
		to.open = ""
	}
	return to, nil
}

// poolOfCluster is the pool that one of our clusters is of.
func poolOfCluster(name string) (string, bool) {
	for _, prefix := range []string{xds.ClusterPrefix, xds.LaterPrefix, xds.RestorePrefix} {
		if pool, ok := strings.CutPrefix(name, prefix); ok {
			return pool, true
		}
	}
	return "", false
}

// isPicked is whether a pool is none, but a Service with an endpoint picker. Nothing
// more need be known of it here.
func isPicked(pool string) bool { return strings.HasPrefix(pool, xds.PickedPrefix) }

// needPool notes a pool. One that is not there any more has no endpoints, and the next
// group takes its requests.
func (t *translation) needPool(ctx context.Context, at rule, name string) error {
	if _, known := t.pools[name]; known {
		return nil
	}
	namespace, pool, _ := strings.Cut(name, "/")
	object, err := t.read.pool(ctx, types.NamespacedName{Namespace: namespace, Name: pool})
	if err != nil {
		return err
	}
	p := xds.Pool{Name: name}
	if object == nil {
		t.problem(at, reasonMissing, name)
	} else {
		p = envoyPool(object)
	}
	if err := p.Validate(); err != nil {
		panic(err)
	}
	t.pools[name] = p
	return nil
}

// provider is a provider's cluster. One that Envoy would refuse, and everybody's with
// it, becomes one where nobody answers, so that the next group is tried.
func (t *translation) provider(p xds.Provider) (c *clusterv3.Cluster) {
	failed := func(cause any) *clusterv3.Cluster {
		t.problem(rule{}, reasonFailed, fmt.Sprintf("backend %.200q: %.500v", p.Name, cause))
		return xds.ProviderCluster(xds.Nobody(p), t.limits)
	}
	defer func() {
		if cause := recover(); cause != nil {
			c = failed(cause)
		}
	}()
	if err := p.Validate(t.limits); err != nil {
		return failed(err)
	}
	switch {
	case isPicked(p.Pool):
		c = xds.DiscoveredProviderCluster(p, xds.Pool{Name: p.Pool}, t.discovery, t.limits)
	case p.Pool != "":
		c = xds.DiscoveredProviderCluster(p, t.pools[p.Pool], t.discovery, t.limits)
	default:
		if p.CA != nil && !x509.NewCertPool().AppendCertsFromPEM(p.CA) {
			return failed(errors.New("the certificate authority is not PEM"))
		}
		c = xds.ProviderCluster(p, t.limits)
	}
	if err := c.ValidateAll(); err != nil {
		return failed(err)
	}
	return c
}
