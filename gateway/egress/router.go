package egress

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/fairway-ai/fairway/extproc"
	"github.com/fairway-ai/fairway/gateway/airoute"
	"github.com/fairway-ai/fairway/gateway/xds"
)

// Router finds the rule of a request and, where the rule begins with a pool, asks the
// pool's picker. A pool that cannot take the request now is passed over before anything
// is sent. It implements extproc.Picker and is safe for concurrent use.
type Router struct {
	// Next picks endpoints of pools. Without rules it gets every request.
	Next extproc.Picker
	// Random returns a number in [0, n), for weights that Envoy cannot apply; nil means
	// a random one.
	Random func(n uint64) uint64

	rules atomic.Pointer[airoute.Config]
}

// SetRules replaces the rules. With nil, or without any rule, requests go to Next.
func (r *Router) SetRules(c *airoute.Config) { r.rules.Store(c) }

// Pick implements extproc.Picker.
func (r *Router) Pick(ctx context.Context, req *extproc.Request) (extproc.Pick, error) {
	c := r.rules.Load()
	if c == nil || len(c.Rules) == 0 || req.Pool != "" {
		return r.Next.Pick(ctx, req)
	}
	path, _, _ := strings.Cut(req.Path, "?")
	rule := c.Find(airoute.Request{Model: req.Body.Model, Path: path, Header: req.Header})
	if rule == nil {
		return extproc.Pick{}, unknown(req.Body.Model, c)
	}
	if rule.TrimModel != "" && req.Body.Model == rule.TrimModel {
		return extproc.Pick{}, &extproc.Rejection{Status: 404, Code: "model_not_found", Message: fmt.Sprintf("the name of a model is missing after %q", rule.TrimModel)}
	}
	return r.follow(ctx, rule, req)
}

// maxServed bounds what a refusal lists.
const maxServed = 40

func unknown(model string, c *airoute.Config) error {
	served := c.Served()
	if len(served) > maxServed {
		served = append(served[:maxServed:maxServed], "…")
	}
	list := strings.Join(served, ", ")
	if model == "" {
		return &extproc.Rejection{Status: 404, Code: "model_not_found", Message: "the request names no model and no rule takes it; served are " + list}
	}
	if len(model) > 200 {
		model = model[:200]
	}
	return &extproc.Rejection{Status: 404, Code: "model_not_found", Message: fmt.Sprintf("the model %q is not served here; served are %s", model, list)}
}

// errSpill is what a pool's picker is told when it would hold a request that has
// somewhere else to go.
var errSpill = errors.New("the request does not wait")

// follow goes through the rule's groups up to the first one that can take the request.
func (r *Router) follow(ctx context.Context, rule *airoute.Rule, req *extproc.Request) (extproc.Pick, error) {
	var refusal error
	for i, group := range rule.Groups {
		if i >= rule.Attempts {
			break
		}
		left := group
		for len(left) > 0 {
			k := r.choose(left)
			t := left[k]
			if t.Pool == "" {
				// Of a group with providers alone, Envoy chooses.
				if !hasPool(group) {
					return r.send(rule, req, extproc.Pick{}, i, nil)
				}
				return r.send(rule, req, extproc.Pick{}, i, &t)
			}
			another := i+1 < min(len(rule.Groups), rule.Attempts) || len(left) > 1
			pick, err := r.pool(ctx, req, t.Pool, another && rule.On.Saturated)
			if err == nil {
				if pick.Observer != nil && i+1 < len(rule.Groups) {
					pick.Observer = &elsewhere{Observer: pick.Observer, pool: t.Pool}
				}
				return r.send(rule, req, pick, i, &t)
			}
			if ctx.Err() != nil || !another || !leads(rule.On, err) {
				return extproc.Pick{}, err
			}
			refusal = err
			left = append(append([]airoute.Target(nil), left[:k]...), left[k+1:]...)
		}
	}
	return extproc.Pick{}, refusal
}

// pool asks a pool's picker. With spill it may not hold the request.
func (r *Router) pool(ctx context.Context, req *extproc.Request, pool string, spill bool) (extproc.Pick, error) {
	hold := req.Hold
	if spill {
		hold = func(time.Duration) error { return errSpill }
	}
	q := req.WithHold(hold)
	q.Pool = pool
	return r.Next.Pick(ctx, q)
}

// leads says whether a picker's refusal leads to the next group.
func leads(on airoute.Triggers, err error) bool {
	if errors.Is(err, errSpill) {
		return on.Saturated
	}
	var no *extproc.Rejection
	if !errors.As(err, &no) {
		return false
	}
	switch {
	case no.Status == 429:
		return on.Saturated
	case no.Code == "no_endpoints":
		return on.NoEndpoints
	case no.Status == 503:
		return on.PickerUnavailable || on.Saturated
	}
	return false
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
	random := r.Random
	if random == nil {
		random = rand.Uint64N
	}
	n := random(total)
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

// send completes the pick: the rule's route, the request's metadata, and where the
// first try is not the one that the route has, the order of tries. first is the target
// that was chosen, nil when Envoy chooses one of the group.
func (r *Router) send(rule *airoute.Rule, req *extproc.Request, pick extproc.Pick, group int, first *airoute.Target) (extproc.Pick, error) {
	set := pick.SetHeaders
	pick.SetHeaders = append(set[:len(set):len(set)], extproc.Header{Name: xds.RouteHeader, Value: rule.Name})
	namespaces := map[string]*structpb.Value{}
	if rule.HasBackend() {
		o := Original{Path: req.Path, Headers: originalHeaders(req, set)}
		if rule.TrimModel != "" {
			o.Model = strings.TrimPrefix(req.Body.Model, rule.TrimModel)
		}
		namespaces[Namespace] = structpb.NewStructValue(o.fields())
	}
	if group > 0 || first != nil && len(rule.Groups[group]) > 1 {
		namespaces[xds.OrderNamespace] = structpb.NewStructValue(order(rule, group, first))
	}
	if len(namespaces) > 0 {
		b, err := proto.Marshal(&structpb.Struct{Fields: namespaces})
		if err != nil { // all strings in it are valid
			return pick, fmt.Errorf("the request's metadata: %w", err)
		}
		pick.Metadata = b
	}
	return pick, nil
}

// originalHeaders are the request's as they go to a pool.
func originalHeaders(req *extproc.Request, set []extproc.Header) []extproc.Header {
	all := make([]extproc.Header, 0, 32)
	req.ClientHeaders(func(h extproc.Header) bool {
		if getter(set).index(h.Name) < 0 && h.Name != extproc.RequestIDHeader {
			all = append(all, h)
		}
		return true
	})
	for _, h := range set {
		if !strings.HasPrefix(h.Name, "x-fairway-") {
			all = append(all, h)
		}
	}
	return append(all, extproc.Header{Name: extproc.RequestIDHeader, Value: req.ID})
}

// order is the groups from the given one on, that one with first alone if there is one.
func order(rule *airoute.Rule, group int, first *airoute.Target) *structpb.Struct {
	var groups []*structpb.Value
	for i := group; i < len(rule.Groups); i++ {
		g := map[string]*structpb.Value{"name": structpb.NewStringValue(airoute.GroupName(i))}
		if i == group && first != nil {
			g["name"] = structpb.NewStringValue("chosen")
			g["clusters"] = structpb.NewListValue(&structpb.ListValue{Values: []*structpb.Value{
				structpb.NewStructValue(&structpb.Struct{Fields: map[string]*structpb.Value{
					"cluster_name": structpb.NewStringValue(rule.Cluster(i, *first)),
					"weight":       structpb.NewNumberValue(1),
				}}),
			}})
		}
		groups = append(groups, structpb.NewStructValue(&structpb.Struct{Fields: g}))
	}
	return &structpb.Struct{Fields: map[string]*structpb.Value{
		"priority_groups": structpb.NewListValue(&structpb.ListValue{Values: groups}),
	}}
}
