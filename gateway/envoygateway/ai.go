package envoygateway

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/fairway-ai/fairway/api/v1alpha1"
	"github.com/fairway-ai/fairway/gateway/airoute"
)

// Kinds of ours, in group [v1alpha1.GroupName].
const (
	kindAIRoute   = "AIRoute"
	kindAIBackend = "AIBackend"
)

// AISource knows what the cluster's AIRoutes and AIBackends come to.
type AISource interface {
	// Result is the newest, which nobody changes any more; nil while the cluster has not
	// been seen whole. An AIRoute that is not in it is believed to be gone.
	Result() *airoute.Result
	// WaitFor waits until the hash of the AIRoute, or of the HTTPRoute with AIBackends,
	// is the given one, any with "", and says whether it is; false when ctx ended before.
	WaitFor(ctx context.Context, route types.NamespacedName, hash string) bool
}

// aiPatience bounds how long one translation waits for AIRoutes of which Envoy Gateway
// has seen a newer state.
const aiPatience = time.Second

// Reasons why a rule with an AIRoute or AIBackends cannot be served.
const (
	reasonUnknown  = "route_not_accepted"
	reasonEmpty    = "no_backends"
	reasonPolicies = "policies_differ"
)

// aiRule is a rule that sends to an AIRoute or to AIBackends.
type aiRule struct {
	// route is the AIRoute; zero for a rule that sends to AIBackends.
	route types.NamespacedName
	// hash is the state of the AIRoute, or else of the HTTPRoute, that Envoy Gateway has
	// seen, "" if it is not known.
	hash string
	// to is what it comes to, nil while it answers 500.
	to *following
}

// aiRef is a backendRef of a kind of ours.
func aiRef(b *gatewayv1.HTTPBackendRef) (kind string) {
	if b.Group == nil || string(*b.Group) != v1alpha1.GroupName || b.Kind == nil || weight(b) == 0 {
		return ""
	}
	if k := string(*b.Kind); k == kindAIRoute || k == kindAIBackend {
		return k
	}
	return ""
}

// aiPlan is the plan of a rule that sends to an AIRoute or to AIBackends, nil for
// another.
func (t *translation) aiPlan(at rule, r *gatewayv1.HTTPRouteRule, route []byte) *plan {
	if t.ai == nil {
		return nil
	}
	kinds := map[string]*gatewayv1.HTTPBackendRef{}
	for i := range r.BackendRefs {
		if k := aiRef(&r.BackendRefs[i]); k != "" {
			kinds[k] = &r.BackendRefs[i]
		}
	}
	p := &plan{ai: &aiRule{hash: seenHash(route)}, plain: plain(r)}
	switch b := kinds[kindAIRoute]; {
	case len(kinds) == 0:
		return nil
	case b == nil:
		return p
	case len(r.BackendRefs) > 1 || b.Namespace != nil && string(*b.Namespace) != at.route.Namespace:
		// An AIRoute says itself where requests go, and is not lent out.
		t.problem(at, reasonInvalid, string(b.Name))
		p.lost = 1
		p.ai = nil
		return p
	default:
		p.ai.route = types.NamespacedName{Namespace: at.route.Namespace, Name: string(b.Name)}
		return p
	}
}

// resolve finds out what all rules of AIRoutes and AIBackends come to. The error is
// one of reading.
func (t *translation) resolve(ctx context.Context) error {
	var rules []rule
	for at, p := range t.plans {
		if p.ai != nil {
			rules = append(rules, at)
		}
	}
	if len(rules) == 0 {
		return nil
	}
	slices.SortFunc(rules, func(a, b rule) int {
		return cmp.Or(cmp.Compare(a.route.Namespace, b.route.Namespace), cmp.Compare(a.route.Name, b.route.Name), a.index-b.index)
	})
	result := t.newest(ctx, rules)
	if result == nil || result.Config == nil {
		return errReading{fmt.Errorf("AIRoutes are not known yet")}
	}
	t.access = result.Config.Access
	for _, at := range rules {
		if err := t.follow(ctx, at, t.plans[at].ai, result); err != nil {
			return errReading{err}
		}
	}
	return nil
}

// newest is the result, waited for a little where Envoy Gateway knows AIRoutes in a
// state that is not compiled yet.
func (t *translation) newest(ctx context.Context, rules []rule) *airoute.Result {
	result := t.ai.Result()
	if result == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, aiPatience)
	defer cancel()
	for _, at := range rules {
		name, p := at.route, t.plans[at].ai
		known, hash := false, ""
		if p.route != (types.NamespacedName{}) {
			name = p.route
			if r := result.Routes[name]; r != nil {
				known, hash = true, r.Hash
			}
		} else if d := result.Direct[name]; d != nil {
			known, hash = true, d.Hash
		}
		if ctx.Err() != nil || known && (p.hash == "" || p.hash == hash) {
			continue
		}
		there := t.ai.WaitFor(ctx, name, p.hash)
		t.log.Debug("Envoy Gateway has seen a route in another state", "route", name.String(), "waited for", p.hash, "there", there)
	}
	return t.ai.Result()
}

// plain is whether a rule is nothing but matches and backendRefs.
func plain(r *gatewayv1.HTTPRouteRule) bool {
	return len(r.Filters) == 0 && r.Timeouts == nil && r.Retry == nil && r.SessionPersistence == nil
}
