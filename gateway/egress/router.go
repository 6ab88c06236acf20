package egress

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"time"

	"github.com/fairway-ai/fairway/extproc"
	"github.com/fairway-ai/fairway/gateway/airoute"
)

// Router finds the rule of a request and, where the rule begins with a pool, asks the
// pool's picker, which may be somebody else's. A pool that cannot take the request now
// is passed over before anything is sent, and so is a provider that cools down. It
// implements extproc.Picker and is safe for concurrent use; its fields are set before
// the first request.
//
// Which rules a request may follow, Request.Pool says: those of some AIRoutes
// (xds.RoutesPrefix), one (xds.RulePrefix), or, when it is empty, all. It says, too,
// whether a policy must allow the request (accesspolicy.Mark).
type Router struct {
	// Next picks endpoints of pools. It gets the requests that name a pool and, without
	// rules, those that name nothing.
	Next extproc.Picker
	// Foreign knows the pools in rules that pickers of somebody else answer for; nil
	// when there are none.
	Foreign extproc.Foreign
	// MaxHold is how long Envoy can be made to wait for a pick. When a foreign picker
	// takes its time and others may have to be asked after it, Envoy is told to wait
	// this long, because it listens only once; 0 means as long as the first one takes.
	MaxHold time.Duration
	// Random returns a number in [0, n), for weights that Envoy cannot apply; nil means
	// a random one.
	Random func(n uint64) uint64
	// Cools says that a provider, by its label, is better left alone for a while. It is
	// asked of providers that get the request unless they cool; nil means never.
	Cools func(backend string) bool
	// Ready says whether requests to a backend, by its label, can be signed. One of which
	// they cannot is passed over as long as another target is left; nil means always.
	Ready func(backend string) bool
	// Tries tells why tries that Envoy made did not answer, by Original.ID; nil tells
	// nothing.
	Tries interface{ Take(id string) []string }
	// Pools follows what pools answer; nil follows nothing.
	Pools *PoolAnswers
	// Limits holds requests to the limits of their rules; nil has none. It must be told of
	// outcomes, of pools and backends.
	Limits *Limits
	// OnFallback is told, when a request goes to a target because another one could not
	// take it, of both and why, in FallbackHeader's words; nil tells nobody. Where Envoy
	// chooses among providers, to names all of them. It must not block.
	OnFallback func(from, reason, to string)

	rules  atomic.Pointer[airoute.Config]
	scopes scopes
}

// SetRules replaces the rules. With nil, or without any rule, requests that name
// nothing go to Next.
func (r *Router) SetRules(c *airoute.Config) { r.rules.Store(c) }

// Pick implements extproc.Picker.
func (r *Router) Pick(ctx context.Context, req *extproc.Request) (extproc.Pick, error) {
	c := r.rules.Load()
	scope, identity, err := access(c, req)
	if err != nil {
		return extproc.Pick{}, err
	}
	rule, err := r.find(c, scope, req)
	switch {
	case err != nil:
		return extproc.Pick{}, err
	case rule == nil:
		return r.Next.Pick(ctx, req)
	case rule.TrimModel != "" && req.Body.Model == rule.TrimModel:
		return extproc.Pick{}, &extproc.Rejection{Status: 404, Code: "model_not_found", Message: fmt.Sprintf("the name of a model is missing after %q", rule.TrimModel)}
	case len(rule.Groups) == 0 || r.loses(rule):
		return extproc.Pick{}, &extproc.Rejection{Status: 500, Code: "no_usable_backend", Message: unusable(rule)}
	}
	limited, err := r.Limits.admit(rule, req, identity)
	if err != nil {
		return extproc.Pick{}, err
	}
	w := &walk{router: r, ctx: ctx, config: c, rule: rule, req: req, limited: limited}
	return limited.picked(w.follow())
}

// loses says whether a request belongs to the share of backends that cannot be served:
// of these, an HTTPRoute's share goes to no other, as Gateway API has it.
func (r *Router) loses(rule *airoute.Rule) bool {
	if rule.Lost == 0 {
		return false
	}
	all := rule.Lost
	for _, t := range rule.Groups[0] {
		all += uint64(t.Weight)
	}
	return r.random(all) < rule.Lost
}

func unusable(rule *airoute.Rule) string {
	if len(rule.Groups) == 0 {
		return fmt.Sprintf("none of the backends of rule %q can be used; the status of its route says why", rule.Name)
	}
	return fmt.Sprintf("a backend of rule %q cannot be used; the events of its route say why", rule.Name)
}

// random is a number in [0, n).
func (r *Router) random(n uint64) uint64 {
	if r.Random == nil {
		return rand.Uint64N(n)
	}
	return r.Random(n)
}

// maxServed bounds what a refusal lists.
const maxServed = 40

func unknown(model string, served []string) error {
	if len(served) > maxServed {
		served = append(served[:maxServed:maxServed], "…")
	}
	list := "served are " + strings.Join(served, ", ")
	if len(served) == 0 {
		list = "nothing is"
	}
	if model == "" {
		return &extproc.Rejection{Status: 404, Code: "model_not_found", Message: "the request names no model and no rule takes it; " + list}
	}
	if len(model) > 200 {
		model = model[:200]
	}
	return &extproc.Rejection{Status: 404, Code: "model_not_found", Message: fmt.Sprintf("the model %q is not served here; %s", model, list)}
}
