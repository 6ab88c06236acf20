package envoygateway

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairway-ai/fairway/gateway/xds"
)

// catalogueOf is the path of the catalogue of models.
const catalogueOf = "/v1/models"

// aiHost is a virtual host's AIRoutes.
type aiHost struct {
	// given is the route that Envoy Gateway made for an AIRoute, the first of several.
	given map[types.NamespacedName]*routev3.Route
	names []types.NamespacedName // in order
	// scopes are the names of AIRoutes with the same policies, joined for the picker, by
	// those policies.
	scopes map[string]string
	// open is whether requests that nobody saw may go to a pool, by policies.
	open map[string]bool
	// first are routes that come before all others.
	first [][]byte
	// catalogue says that one of them answers with the models.
	catalogue bool
}

// aiHost finds the AIRoutes of a virtual host and makes the routes of their rules. It
// is nil without any.
func (t *translation) aiHost(host []byte, idle *durationpb.Duration) (*aiHost, error) {
	if len(t.routes) == 0 {
		return nil, nil
	}
	h := &aiHost{given: map[types.NamespacedName]*routev3.Route{}, scopes: map[string]string{}, open: map[string]bool{}}
	at := map[types.NamespacedName]rule{}
	catalogued, ours := false, false // by somebody else, by an AIRoute, whichever is first
	err := inField(host, virtualHostRoute, func(encoded []byte) error {
		of, err := ruleOf(encoded)
		if err != nil {
			return err
		}
		p := t.plans[of]
		if p == nil || p.ai == nil || p.ai.route == (types.NamespacedName{}) {
			catalogued = catalogued || !ours && matchesPath(encoded, catalogueOf)
			return nil
		}
		ours = ours || !catalogued && matchesPath(encoded, catalogueOf)
		name := p.ai.route
		if h.given[name] != nil || p.ai.to == nil {
			return nil
		}
		r := new(routev3.Route)
		if err := proto.Unmarshal(encoded, r); err != nil {
			return fmt.Errorf("route of %s rule %d: %w", of.route, of.index, err)
		}
		if r.GetRoute() != nil && !isPreflight(r.Name) {
			h.given[name], at[name] = r, of
		}
		return nil
	})
	if err != nil || len(h.given) == 0 {
		return nil, err
	}
	h.names = slices.SortedFunc(maps.Keys(h.given), func(a, b types.NamespacedName) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	for _, name := range h.names {
		policies := policiesOf(h.given[name])
		if before := h.scopes[policies]; before == "" {
			h.scopes[policies], h.open[policies] = xds.RoutesPrefix+name.String(), t.routes[name].open != ""
		} else {
			h.scopes[policies] = before + "," + name.String()
			h.open[policies] = h.open[policies] && t.routes[name].open != ""
		}
	}
	if len(h.scopes) > 1 {
		t.problem(at[h.names[0]], reasonPolicies, strings.Join(slices.Sorted(maps.Values(h.scopes)), "; "))
	}
	var models []xds.Model
	for _, name := range h.names {
		h.first = append(h.first, h.rules(t, at[name], name, idle)...)
		models = append(models, t.routes[name].models...)
	}
	if !catalogued {
		h.list(t, at[h.names[0]], models)
	}
	return h, nil
}

// rules are the routes of an AIRoute's rules. If they cannot be made, that costs the
// AIRoute alone.
func (h *aiHost) rules(t *translation, at rule, name types.NamespacedName, idle *durationpb.Duration) (made [][]byte) {
	given, to := h.given[name], t.routes[name]
	defer func() {
		if cause := recover(); cause != nil {
			t.problem(at, reasonFailed, fmt.Sprintf("%.500v", cause))
			delete(h.given, name)
			made = nil
			for i := range to.rules {
				made = append(made, encode(xds.ManagedRoute(&routev3.Route{}, &xds.Rule{Name: to.rules[i].Name}, t.limits)))
			}
		}
	}()
	scope := h.scopes[policiesOf(given)]
	for i := range to.rules {
		r := xds.ManagedRoute(given, &to.rules[i], t.limits)
		t.configure(r, scope)
		if r.GetRoute() != nil {
			t.finish(r, idle, xds.RouteHeader, clientAddress)
		}
		if err := r.ValidateAll(); err != nil {
			panic(err)
		}
		made = append(made, encode(r))
	}
	for i := range to.rules {
		t.referenceRule(&to.rules[i])
	}
	return made
}

// list puts the catalogue first.
func (h *aiHost) list(t *translation, at rule, models []xds.Model) {
	seen := map[string]bool{}
	models = slices.DeleteFunc(models, func(m xds.Model) bool {
		twice := seen[m.Name]
		seen[m.Name] = true
		return twice
	})
	var made [][]byte
	for _, r := range xds.Catalogue(models) {
		if len(r.GetDirectResponse().GetBody().GetInlineBytes()) > xds.MaxCatalogue {
			t.problem(at, reasonFailed, "the catalogue of models is too long")
			return
		}
		made = append(made, encode(r))
	}
	h.first, h.catalogue = append(made, h.first...), true
}
