package egress

import (
	"crypto/rand"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/fairway-ai/fairway/extproc"
	"github.com/fairway-ai/fairway/gateway/airoute"
	"github.com/fairway-ai/fairway/gateway/xds"
)

// send completes the pick: the rule's route, the request's metadata, and where the
// first try is not the one that the route has, the order of tries. first is the target
// that was chosen, nil when Envoy chooses one of the group.
func (w *walk) send(pick extproc.Pick, group int, first *airoute.Target) (extproc.Pick, error) {
	rule := w.rule
	w.goes(to(rule.Groups[group], first))
	set := pick.SetHeaders
	pick.SetHeaders = append(slices.Clip(set), extproc.Header{Name: xds.RouteHeader, Value: rule.Name})
	namespaces := map[string]*structpb.Value{}
	id := ""
	if rule.HasBackend() || slices.ContainsFunc(rule.Groups, hasModel) {
		o := w.original(&pick, set, group, first)
		if id = o.ID; id == "" {
			id = w.req.ID
		}
		namespaces[Namespace] = structpb.NewStructValue(o.fields())
	}
	if group > 0 || first != nil && (len(rule.Groups[group]) > 1 || w.shortens(rule.Groups[1:])) {
		namespaces[xds.OrderNamespace] = structpb.NewStructValue(w.order(group, first))
	}
	if costs := w.router.Pools.beforehand(rule); costs != nil {
		namespaces[CostNamespace] = costs
	}
	t := &teller{over: w.over, id: id}
	if first != nil && group+1 < len(rule.Groups) {
		if first.Pool != "" && first.Backend == "" {
			t.first = first
		}
		if pick.Observer != nil {
			pick.Observer = &elsewhere{Observer: pick.Observer, target: *first}
		}
	}
	if pick.Exchange != nil {
		pick.Exchange = &guarded{Exchange: pick.Exchange, target: *first, others: group+1 < len(rule.Groups)}
	}
	if rule.HasBackend() {
		t.tries = w.router.Tries
	}
	if len(t.over) > 0 || t.first != nil || t.tries != nil {
		t.Observer = pick.Observer
		pick.Observer = t
	}
	pick.Observer = w.router.Pools.watch(rule, w.req, &pick, w.limited.name())
	if len(namespaces) > 0 {
		b, err := proto.Marshal(&structpb.Struct{Fields: namespaces})
		if err != nil { // a model or rule with a name that is no UTF-8
			w.drop(&pick)
			return extproc.Pick{}, fmt.Errorf("the request's metadata: %w", err)
		}
		pick.Metadata = append(slices.Clip(pick.Metadata), b...) // fields of one message
	}
	return pick, nil
}

// drop gives back what a pick holds that will not be used.
func (w *walk) drop(pick *extproc.Pick) {
	if pick.Change != nil {
		pick.Change.Body.Free()
	}
	if pick.Exchange != nil {
		pick.Exchange.Close(false)
	}
	if pick.Observer != nil {
		pick.Observer.End(w.req.Received, extproc.Outcome{})
	}
}

// to is what people call a target, or a group of which Envoy chooses one.
func to(group []airoute.Target, first *airoute.Target) string {
	if first != nil {
		return name(*first)
	}
	names := make([]string, len(group))
	for i, t := range group {
		names[i] = name(t)
	}
	return strings.Join(names, ",")
}

func hasModel(group []airoute.Target) bool {
	return slices.ContainsFunc(group, func(t airoute.Target) bool { return t.Model != "" })
}

// original is what tries must know of the request as it is now. set are the headers
// that the pool's picker sets.
func (w *walk) original(pick *extproc.Pick, set []extproc.Header, group int, first *airoute.Target) *Original {
	o := &Original{Path: w.req.Path, Rule: w.rule.Name, Asked: w.req.Body.Model}
	if o.ID = w.limited.name(); o.ID == "" && w.router.Tries != nil {
		o.ID = rand.Text()
	}
	switch {
	case w.rule.TrimModel != "":
		o.Model = strings.TrimPrefix(w.req.Body.Model, w.rule.TrimModel)
	case pick.Model != "" || pick.Change != nil && pick.Change.BodyChanged:
		// The body that Envoy keeps for the next try will have another name in it.
		o.Model = w.req.Body.Model
	}
	for _, g := range w.rule.Groups {
		for _, t := range g {
			if t.Pool != "" && t.Backend == "" && t.Model != "" {
				o.Pools = append(o.Pools, PoolModel{t.Pool, t.Model})
			}
		}
	}
	if first == nil || !w.remade(group, *first) {
		o.Headers = originalHeaders(w.req, nil) // what is set is for a pool that no other try goes to
		return o
	}
	o.Headers = originalHeaders(w.req, set)
	if c := pick.Change; c != nil {
		o.Headers = changed(o.Headers, c)
		if c.BodyChanged {
			o.Pools = slices.Insert(o.Pools, 0, PoolModel{Pool: first.Pool}) // and the model is the picker's
		}
	}
	return o
}

// remade says whether a try at a target is made anew of the original, even the first.
func (w *walk) remade(group int, t airoute.Target) bool {
	return t.Backend != "" || strings.HasPrefix(w.rule.Cluster(group, t), xds.RestorePrefix)
}

// originalHeaders are the client's, and those that are set for its pool.
func originalHeaders(req *extproc.Request, set []extproc.Header) []extproc.Header {
	all := make([]extproc.Header, 0, 32)
	req.ClientHeaders(func(h extproc.Header) bool {
		if getter(set).index(h.Name) < 0 && h.Name != extproc.RequestIDHeader {
			all = append(all, h)
		}
		return true
	})
	for _, h := range set {
		if !strings.HasPrefix(h.Name, ownHeaders) {
			all = append(all, h)
		}
	}
	return append(all, extproc.Header{Name: extproc.RequestIDHeader, Value: req.ID})
}

// shortens says whether some target of the groups cannot be tried now.
func (w *walk) shortens(groups [][]airoute.Target) bool {
	return slices.ContainsFunc(groups, func(g []airoute.Target) bool { return !all(g, w.ready) })
}

func all(group []airoute.Target, is func(airoute.Target) bool) bool {
	return !slices.ContainsFunc(group, func(t airoute.Target) bool { return !is(t) })
}

// cluster is where tries at a target go in Envoy: of a pool after others, to the one of
// its clusters that does not fail closed, which alone is sure to be there.
func (w *walk) cluster(p place) string {
	name := w.rule.Cluster(p.group, p.target)
	if pool, ok := strings.CutPrefix(name, xds.ClusterPrefix); ok && p.group > 0 {
		return xds.LaterPrefix + pool
	}
	return name
}

// order is the groups from the given one on, that one with first alone if there is one,
// without what could not be signed, because that would end the tries; and at the end what
// was passed over because it cools.
func (w *walk) order(group int, first *airoute.Target) *structpb.Struct {
	var groups []*structpb.Value
	add := func(name string, only ...place) {
		g := map[string]*structpb.Value{"name": structpb.NewStringValue(name)}
		var clusters []*structpb.Value
		for _, p := range only {
			clusters = append(clusters, structpb.NewStructValue(&structpb.Struct{Fields: map[string]*structpb.Value{
				"cluster_name": structpb.NewStringValue(w.cluster(p)),
				"weight":       structpb.NewNumberValue(1),
			}}))
		}
		if len(clusters) > 0 {
			g["clusters"] = structpb.NewListValue(&structpb.ListValue{Values: clusters})
		}
		groups = append(groups, structpb.NewStructValue(&structpb.Struct{Fields: g}))
	}
	for i := group; i < len(w.rule.Groups); i++ {
		g := w.rule.Groups[i]
		if i == group && first != nil {
			add("chosen", place{i, *first})
		} else if all(g, w.ready) {
			add(airoute.GroupName(i))
		} else if g = slices.DeleteFunc(slices.Clone(g), func(t airoute.Target) bool { return !w.ready(t) }); len(g) > 0 {
			add(fmt.Sprint("ready ", i), place{i, g[w.router.choose(g)]})
		}
	}
	for i, p := range w.cooling {
		if p.group < group {
			add(fmt.Sprint("cooling ", i), p)
		}
	}
	return &structpb.Struct{Fields: map[string]*structpb.Value{
		"priority_groups": structpb.NewListValue(&structpb.ListValue{Values: groups}),
	}}
}
