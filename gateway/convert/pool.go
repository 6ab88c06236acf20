package convert

import (
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/fairway-ai/fairway/api/v1alpha1"
)

// pools makes an AIBackend of every InferencePool that a policy gives credentials to:
// pools themselves have none.
func (c *converter) pools() {
	for _, x := range c.objects {
		if x.kind != kindSecurityPolicy {
			continue
		}
		for _, ref := range x.root.list("targetRefs") {
			pool := key{ref.str("kind"), x.namespace, ref.str("name")}
			if pool.kind != kindPool || pool.name == "" || c.policies[pool] != x {
				continue
			}
			spec := &v1alpha1.AIBackendSpec{
				Schema:      v1alpha1.BackendSchema{Name: v1alpha1.SchemaOpenAI},
				Destination: v1alpha1.Destination{Type: v1alpha1.DestinationInferencePool, InferencePool: &v1alpha1.PoolDestination{Name: pool.name}},
				Credentials: c.credentials(x, v1alpha1.SchemaOpenAI),
			}
			if spec.Credentials == nil {
				continue
			}
			name := c.free(x.namespace, pool.name)
			c.secured[pool] = name
			c.made(metadata{Name: name, Namespace: x.namespace}, spec)
		}
	}
}

// backendRef is a reference of a route's rule.
func (c *converter) backendRef(x *object, n *node, rule int, i int) (v1alpha1.AIBackendRef, bool) {
	group, kind, name := n.str("group"), n.str("kind"), n.str("name")
	out := v1alpha1.AIBackendRef{Name: name, Model: n.str("modelNameOverride")}
	namespace := x.namespace
	if ns := n.str("namespace"); ns != "" && ns != x.namespace {
		namespace = ns
		v := gatewayv1.Namespace(ns)
		out.Namespace = &v
	}
	c.share(x, n, &out)
	if name == "" || len(name) > 253 {
		c.lost(x, n.at("name"), "must be a backend's name")
		return out, false
	}
	if len(out.Model) > 256 {
		c.lost(x, n.at("modelNameOverride"), "is longer than 256 characters")
		return out, false
	}
	toKind := kindAIBackend
	switch {
	case group == groupPool && kind == kindPool:
		if n.has("headerMutation") || n.has("bodyMutation") || n.has("priority") {
			c.check(x, n.path, "for pools, headerMutation, bodyMutation and priority were ignored, and were left out")
			n.skip("headerMutation", "bodyMutation")
			out.Priority = 0
		}
		if name := c.secured[key{kindPool, namespace, name}]; name != "" {
			out.Name = name
			break
		}
		out.Group, out.Kind, toKind = groupPool, kindPool, kindPool
	case group != "" && group != groupAIGateway || kind != "" && kind != kindServiceBackend:
		c.lost(x, n.path, "%s of group %s cannot be a backend", shorten(kind), shorten(group))
		return out, false
	default:
		if c.byName[key{kindServiceBackend, namespace, name}] == nil {
			c.check(x, n.at("name"), "AIServiceBackend %s is not in the input; there must be an AIBackend of that name", shorten(namespace+"/"+name))
		}
		out.Name = c.variant(x, n, namespace, name, rule, i)
	}
	if namespace != x.namespace {
		c.allow(x, grant{kindAIRoute, x.namespace, toKind, namespace}, out.Name)
	}
	return out, true
}

// share reads weight and priority.
func (c *converter) share(x *object, n *node, out *v1alpha1.AIBackendRef) {
	if w, ok := n.num("weight"); ok {
		if w < 0 || w > 1_000_000 {
			c.lost(x, n.at("weight"), "must be 0 to 1000000; it is 1 now")
			w = 1
		}
		weight := int32(w)
		out.Weight = &weight
	}
	if p, ok := n.num("priority"); ok {
		if p < 0 || p > 1<<31-1 {
			c.lost(x, n.at("priority"), "must be 0 or more; it is 0 now")
			p = 0
		}
		out.Priority = int32(p)
	}
}

// variant is the AIBackend that a reference with mutations of its own leads to: mutations
// belong to AIBackends, so that such a reference gets one.
func (c *converter) variant(x *object, n *node, namespace, name string, rule, i int) string {
	headers, body := c.headers(n.child("headerMutation")), c.body(n.child("bodyMutation"))
	if headers == nil && body == nil {
		return name
	}
	for b := range c.backends {
		base := &c.backends[b]
		if base.meta.Namespace != namespace || base.meta.Name != name {
			continue
		}
		spec := *base.spec.(*v1alpha1.AIBackendSpec)
		if headers != nil {
			spec.Headers = c.overHeaders(n, spec.Headers, headers)
		}
		if body != nil {
			spec.Body = c.overBody(n, spec.Body, body)
		}
		meta := base.meta
		meta.Name = c.free(namespace, variantName(name, x.name, rule, i))
		c.made(meta, &spec)
		return meta.Name
	}
	c.lost(x, n.path, "its mutations belong to an AIBackend of their own, and AIServiceBackend %s could not be converted", shorten(name))
	return name
}
