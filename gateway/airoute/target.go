package airoute

import (
	"cmp"
	"fmt"
	"maps"
	"net/url"
	"slices"

	"k8s.io/apimachinery/pkg/types"

	"github.com/fairway-ai/fairway/api/v1alpha1"
)

// use is an AIBackend that gets requests of a rule, the model that it is sent and the
// Backend that it is then.
type use struct {
	name           types.NamespacedName
	model, backend string
}

// groups sorts refs by priority. Those that cannot be served are left out.
func (r *routeBuilder) groups(at string, refs []v1alpha1.AIBackendRef, matches []Match) [][]Target {
	if len(refs) == 0 || len(refs) > 32 {
		r.invalid(at+".backendRefs", "must have 1 to 32 backends")
		return nil
	}
	before := len(r.all)
	byPriority := map[int32][]Target{}
	for i := range refs {
		ref, field := &refs[i], fmt.Sprintf("%s.backendRefs[%d]", at, i)
		if ref.Priority < 0 || ref.Priority > maxPriority {
			r.invalid(field+".priority", "must be 0 to %d", maxPriority)
			continue
		}
		if t, ok := r.target(field, ref, matches); ok {
			byPriority[ref.Priority] = append(byPriority[ref.Priority], t)
		}
	}
	var groups [][]Target
	for _, p := range slices.Sorted(maps.Keys(byPriority)) {
		groups = append(groups, byPriority[p])
	}
	r.oneModel(at+".backendRefs", groups)
	if r.local && len(groups) == 0 && len(r.all) == before {
		r.invalid(at+".backendRefs", "all have weight 0, so that nobody is left")
	}
	return groups
}

// oneModel checks that what is tried later is known by its pool alone: only in the first
// group, where the picker chooses, can a pool have several models.
func (r *routeBuilder) oneModel(field string, groups [][]Target) {
	models := map[string]map[string]bool{}
	for i, g := range groups {
		for _, t := range g {
			if t.Pool == "" || t.Backend != "" {
				continue
			}
			if models[t.Pool] == nil {
				models[t.Pool] = map[string]bool{}
			}
			if models[t.Pool][t.Model] = true; i > 0 && len(models[t.Pool]) > 1 {
				r.add(ReasonUnsupported, field, "InferencePool %s has several models, which it can only where all are of the first priority; make an AIBackend of the pool for the others", t.Pool)
			}
		}
	}
}

// target finds what ref names; false when it gets no requests.
func (r *routeBuilder) target(at string, ref *v1alpha1.AIBackendRef, matches []Match) (t Target, ok bool) {
	t.Weight = 1
	if w := ref.Weight; w != nil {
		if *w < 0 || *w > maxWeight {
			r.invalid(at+".weight", "must be 0 to %d", maxWeight)
			return t, false
		}
		t.Weight = uint32(*w)
	}
	if len(ref.Model) > 256 {
		r.invalid(at+".model", "must have at most 256 characters")
		return t, false
	}
	name := types.NamespacedName{Namespace: r.from.Namespace, Name: ref.Name}
	if ref.Namespace != nil {
		name.Namespace = string(*ref.Namespace)
	}
	to := Reference{cmp.Or(ref.Group, fairwayGroup), cmp.Or(ref.Kind, kindBackend), name}
	switch {
	case to.Group == poolGroup && to.Kind == poolKind:
		ok = r.toPool(at, to, ref.Model, &t)
	case to.Group == fairwayGroup && to.Kind == kindBackend:
		ok = r.toBackend(at, to, ref.Model, matches, &t)
	case to.Kind == poolKind:
		r.add(ReasonInvalidKind, at+".group", "must be %s for an InferencePool", poolGroup)
		return t, false
	default:
		r.add(ReasonInvalidKind, at+".kind", "must be AIBackend, or InferencePool with group: %s", poolGroup)
		return t, false
	}
	r.named[to] = true
	return t, ok && t.Weight > 0
}

func (r *routeBuilder) toPool(at string, to Reference, model string, t *Target) bool {
	if !r.granted(&r.problems, at+".namespace", r.from, to) {
		return false
	}
	if r.in.Pool(to.NamespacedName) == nil {
		r.add(ReasonNotFound, at+".name", "there is no InferencePool %s%s", shorten(to.String()), r.here())
		return false
	}
	t.Pool, t.Model = to.String(), model
	return true
}

func (r *routeBuilder) toBackend(at string, to Reference, model string, matches []Match, t *Target) bool {
	if !r.granted(&r.problems, at+".namespace", r.from, to) {
		return false
	}
	base := r.made[to.NamespacedName]
	switch {
	case r.known[to.NamespacedName] == nil:
		r.add(ReasonNotFound, at+".name", "there is no AIBackend %s%s", shorten(to.String()), r.here())
		return false
	case base == nil:
		r.add(ReasonBackend, at+".name", "AIBackend %s cannot be served; its status says why", to)
		return false
	case !answers(base.Provider.Schema, matches):
		r.add(ReasonNotTranslatable, at+".name", "AIBackend %s of schema %s answers none of the paths that the rule matches; match others, or name another backend", to, base.Provider.Schema)
		return false
	}
	t.Pool, t.Backend = base.Pool, variantName(base, model)
	if t.Weight > 0 {
		r.uses = append(r.uses, use{to.NamespacedName, model, t.Backend})
	}
	return true
}

// granted says whether from may name to, and tells where not how it may.
func (b *builder) granted(p *problems, field string, from, to Reference) bool {
	if from.Namespace == to.Namespace || b.in.Granted(from, to) {
		return true
	}
	p.add(ReasonNotPermitted, field, "%s %s is in another namespace, which must allow it: create a ReferenceGrant in namespace %s from group %q, kind %s, namespace %s to group %q, kind %s",
		to.Kind, shorten(to.String()), shorten(to.Namespace), from.Group, from.Kind, from.Namespace, to.Group, to.Kind)
	return false
}

// here ends a message about what is missing.
func (b *builder) here() string {
	if b.local {
		return " in this file"
	}
	return "; create it, or correct the reference"
}

// use marks the backend of a rule that is served, and makes it if it is one that is
// sent another model.
func (b *builder) use(u use) {
	b.known[u.name].Used = true
	if u.model == "" || b.variants[u.backend] {
		return
	}
	b.variants[u.backend] = true
	x := *b.made[u.name]
	x.Name, x.Provider.Model = u.backend, u.model
	b.c.Backends = append(b.c.Backends, x)
}

// variantName is the name of a backend that is sent another model.
func variantName(base *Backend, model string) string {
	if model == "" {
		return base.Name
	}
	return base.Name + "#" + url.PathEscape(model)
}
