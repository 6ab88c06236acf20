package convert

import (
	"cmp"
	"maps"
	"slices"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// grant is what objects of one kind and namespace may name in another.
type grant struct{ fromKind, from, toKind, to string }

// groupOf is the group of a kind that grants are about.
func groupOf(kind string) gatewayv1.Group {
	switch kind {
	case kindAIBackend, kindAIRoute:
		return groupFairway
	case kindPool:
		return groupPool
	}
	return ""
}

// allow notes that a grant is needed, by which the input had its references across
// namespaces resolved.
func (c *converter) allow(x *object, g grant, name string) {
	if g.from == "" {
		c.lost(x, "metadata.namespace", "is missing, so that no ReferenceGrant could be made for what it names in namespace %s; add one there", shorten(g.to))
		return
	}
	if c.grants[g] == nil {
		c.grants[g] = map[string]bool{}
	}
	c.grants[g][name] = true
}

// grantObjects are ReferenceGrants, one for each pair of kinds and namespaces.
func (c *converter) grantObjects() []output {
	order := func(a, b grant) int {
		return cmp.Or(cmp.Compare(a.to, b.to), cmp.Compare(a.from, b.from), cmp.Compare(a.fromKind, b.fromKind), cmp.Compare(a.toKind, b.toKind))
	}
	short := map[string]string{kindAIRoute: "airoutes", kindAIBackend: "aibackends", kindPool: "inferencepools", kindService: "services"}
	var out []output
	for _, g := range slices.SortedFunc(maps.Keys(c.grants), order) {
		spec := gatewayv1.ReferenceGrantSpec{
			From: []gatewayv1.ReferenceGrantFrom{{Group: groupOf(g.fromKind), Kind: gatewayv1.Kind(g.fromKind), Namespace: gatewayv1.Namespace(g.from)}},
		}
		names := slices.Sorted(maps.Keys(c.grants[g]))
		if len(names) > 16 { // more than a grant may have
			spec.To = []gatewayv1.ReferenceGrantTo{{Group: groupOf(g.toKind), Kind: gatewayv1.Kind(g.toKind)}}
			names = nil
		}
		for _, n := range names {
			name := gatewayv1.ObjectName(n)
			spec.To = append(spec.To, gatewayv1.ReferenceGrantTo{Group: groupOf(g.toKind), Kind: gatewayv1.Kind(g.toKind), Name: &name})
		}
		name := clip(short[g.fromKind]+"-of-"+g.from+"-to-"+short[g.toKind], 240)
		out = append(out, output{metadata{Name: name, Namespace: g.to}, "ReferenceGrant", spec})
	}
	return out
}
