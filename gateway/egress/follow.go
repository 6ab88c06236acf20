package egress

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/fairway-ai/fairway/extproc"
	"github.com/fairway-ai/fairway/gateway/airoute"
	"github.com/fairway-ai/fairway/gateway/xds"
)

// walk is one request's way through the groups of its rule, up to the first target
// that can take it.
type walk struct {
	router *Router
	ctx    context.Context
	config *airoute.Config
	rule   *airoute.Rule
	req    *extproc.Request
	// limited is the request under its rule's limits.
	limited *limited

	// over are the targets that were passed over; told of them were reported.
	over []passed
	told int
	// cooling are those of them that cool, unsigned those whose credential is not ready.
	cooling, unsigned []place
	// refusal is what the last pool said that was passed over.
	refusal error
}

// place is a target of a group.
type place struct {
	group  int
	target airoute.Target
}

// follow finds the first target that can take the request. If all that is left of them
// cools, it is the first of those. A backend whose requests cannot be signed gets it only
// where there is nobody else at all.
func (w *walk) follow() (extproc.Pick, error) {
	groups := w.rule.Groups[:min(len(w.rule.Groups), max(w.rule.Attempts, 1))]
	for i, group := range groups {
		if w.router.Cools == nil && w.router.Ready == nil && !hasPool(group) {
			return w.send(extproc.Pick{}, i, nil) // Envoy chooses
		}
		left := group
		for len(left) > 0 {
			k := w.router.choose(left)
			at := place{i, left[k]}
			more := i+1 < len(groups) || len(left) > 1
			left = append(append([]airoute.Target(nil), left[:k]...), left[k+1:]...)
			if (more || len(w.over) > 0) && !w.ready(at.target) {
				w.pass(at.target, reasonNotReady)
				w.unsigned = append(w.unsigned, at)
				continue
			}
			if at.target.Pool == "" {
				if cools := w.router.Cools; (more || len(w.cooling) > 0) && cools != nil && cools(label(at.target.Backend)) {
					w.pass(at.target, reasonCooling)
					w.cooling = append(w.cooling, at)
					continue
				}
				return w.send(extproc.Pick{}, i, &at.target)
			}
			more = more && (slices.ContainsFunc(left, w.ready) || anyReady(w, groups[i+1:]))
			pick, err := w.ask(at.target, more)
			if err == nil {
				return w.send(pick, i, &at.target)
			}
			if w.ctx.Err() != nil || !more && len(w.cooling) == 0 || !leads(w.rule.On, err) {
				return refused(err)
			}
			w.refusal = err
			w.pass(at.target, reasonOf(err))
		}
	}
	if len(w.cooling) > 0 {
		first := w.cooling[0]
		w.cooling = w.cooling[1:]
		return w.send(extproc.Pick{}, first.group, &first.target)
	}
	if w.refusal == nil && len(w.unsigned) > 0 {
		return w.send(extproc.Pick{}, w.unsigned[0].group, &w.unsigned[0].target)
	}
	return refused(w.refusal)
}

// ready says whether requests to a target can be signed, if it wants that.
func (w *walk) ready(t airoute.Target) bool {
	return t.Backend == "" || w.router.Ready == nil || w.router.Ready(label(t.Backend))
}

func anyReady(w *walk, groups [][]airoute.Target) bool {
	return slices.ContainsFunc(groups, func(g []airoute.Target) bool { return slices.ContainsFunc(g, w.ready) })
}

// errSpill is what a pool's picker is told when it would hold a request that has
// somewhere else to go.
var errSpill = errors.New("the request does not wait")

// refusal is an answer that a foreign picker gave in place of a pick.
type refusal struct{ change extproc.Change }

func (r *refusal) Error() string { return "an endpoint picker answered itself" }

// refused ends a walk: with what a foreign picker answers, if that is the error.
func refused(err error) (extproc.Pick, error) {
	var r *refusal
	if errors.As(err, &r) {
		return extproc.Pick{Change: &r.change}, nil
	}
	return extproc.Pick{}, err
}

// leads says whether a picker's refusal leads to the next group.
func leads(on airoute.Triggers, err error) bool {
	switch reasonOf(err) {
	case reasonSaturated:
		return on.Saturated
	case reasonNoEndpoints:
		return on.NoEndpoints
	case reasonNoPicker:
		return on.PickerUnavailable
	case reasonUnavailable:
		return on.PickerUnavailable || on.Saturated
	}
	return false
}

// Why targets are passed over.
const (
	reasonSaturated   = "saturated"
	reasonNoEndpoints = "no endpoints"
	reasonNoPicker    = "picker unavailable"
	reasonUnavailable = "unavailable"
	reasonCooling     = "cooling down"
	reasonNotReady    = "credential not ready"
	reasonFailed      = "failed" // when Envoy tried it
)

// reasonOf is why a pool did not take a request, "" for what is wrong with the request.
func reasonOf(err error) string {
	if errors.Is(err, errSpill) {
		return reasonSaturated
	}
	var answer *refusal
	if errors.As(err, &answer) {
		switch answer.change.ImmediateStatus {
		case 429:
			return reasonSaturated
		case 503:
			return reasonNoEndpoints
		}
		return ""
	}
	var no *extproc.Rejection
	switch {
	case !errors.As(err, &no):
		return ""
	case no.Status == 429:
		return reasonSaturated
	case no.Code == "no_endpoints":
		return reasonNoEndpoints
	case no.Code == "picker_unavailable":
		return reasonNoPicker
	case no.Status == 503:
		return reasonUnavailable
	}
	return ""
}

// ask asks a pool's picker. When there is more to ask, it may not hold the request.
func (w *walk) ask(t airoute.Target, more bool) (extproc.Pick, error) {
	w.goes(name(t))
	model := w.model(t)
	if model != "" && w.req.Body.GRPC {
		return extproc.Pick{}, extproc.ModelInMessage()
	}
	if f := w.router.Foreign; f != nil {
		if x := f.Consult(w.ctx, t.Pool); x != nil {
			return w.consult(x, t, model, more)
		}
	}
	q := w.req.WithHold(w.req.Hold)
	if more && w.rule.On.Saturated {
		q = w.req.WithoutHold(errSpill)
	}
	q.Pool = t.Pool
	if model != "" {
		q.Body.Model = model
	}
	pick, err := w.router.Next.Pick(w.ctx, q)
	if err == nil && t.Backend == "" && pick.Model == "" {
		pick.Model = model
	}
	return pick, err
}

// model is the name by which a pool serves the request's model, "" where that is the
// client's.
func (w *walk) model(t airoute.Target) string {
	asked := w.req.Body.Model
	b := w.config.Backend(t.Backend)
	model := asked
	switch {
	case asked == "":
		return "" // a request for no model stays one
	case b != nil && b.Provider.Model != "":
		model = b.Provider.Model
	case b == nil && t.Model != "":
		model = t.Model
	case w.rule.TrimModel != "":
		model = strings.TrimPrefix(asked, w.rule.TrimModel)
	}
	if model == asked {
		return ""
	}
	return model
}

// choose picks a target by weight.
func (r *Router) choose(group []airoute.Target) int {
	if len(group) == 1 {
		return 0
	}
	var total uint64
	for _, t := range group {
		total += uint64(t.Weight)
	}
	if total == 0 {
		return 0
	}
	n := r.random(total)
	for i, t := range group {
		if n < uint64(t.Weight) {
			return i
		}
		n -= uint64(t.Weight)
	}
	return len(group) - 1
}

func hasPool(group []airoute.Target) bool {
	for _, t := range group {
		if t.Pool != "" {
			return true
		}
	}
	return false
}

// label is what people call a backend: its name without the model.
func label(backend string) string {
	backend, _, _ = strings.Cut(backend, "#")
	return backend
}

// name is what people call a target.
func name(t airoute.Target) string {
	if t.Pool != "" && !strings.HasPrefix(t.Pool, xds.PickedPrefix) {
		return t.Pool
	}
	return label(t.Backend)
}
