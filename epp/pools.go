package epp

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/fairway-ai/fairway/epp/flowcontrol"
	"github.com/fairway-ai/fairway/epp/metrics"
	"github.com/fairway-ai/fairway/epp/models"
	"github.com/fairway-ai/fairway/extproc"
	"github.com/fairway-ai/fairway/scheduler"
	"github.com/fairway-ai/fairway/scheduler/prefix"
)

// Endpoints is what a [Picker] needs of a pool. *pool.Pool implements it.
type Endpoints interface {
	// Snapshot is what can serve now; never nil.
	Snapshot() *scheduler.Snapshot
	// Index is the pool's prefix index, nil when it keeps none.
	Index() *prefix.Index
	// Active says that a request passed.
	Active()
	// OnChange calls f after every change of the endpoints, and when one becomes
	// unreachable, until cancel.
	OnChange(f func(*scheduler.Snapshot)) (cancel func())
	// Suspect says that the endpoint with this ID failed to serve a request, so
	// that its state is looked at soon.
	Suspect(id string)
}

// Pool is a pool and how requests reach it.
type Pool struct {
	// Name is "namespace/name".
	Name string
	// Endpoints is the pool itself.
	Endpoints Endpoints
	// Models are the models the pool serves: exact names, or a prefix followed by
	// "*". A pool without any takes the models that no other pool names, unless
	// Named is set: then it takes only requests that name the pool.
	Models []string
	Named  bool
	// Policy is the scheduling policy; nil means the default.
	Policy scheduler.Policy
	// Cache knows what the endpoints' KV caches hold; nil where engines do not report it.
	Cache KVCache
	// Lists are the models that the endpoints say they serve; nil where they are not
	// asked, and then GET /v1/models is a request like any other.
	Lists *models.Lists
}

// defaultFairnessID is the fairness flow of requests that name none.
const defaultFairnessID = "default-flow"

// route is a Pool made ready for requests.
type route struct {
	name      string
	state     *poolState
	scheduler *scheduler.Scheduler
	index     *prefix.Index
	plugins   *metrics.PluginTimes
	cache     KVCache // nil where engines do not report
	lists     *models.Lists
	models    []string
	onlyNamed bool
	policy    scheduler.Policy // as configured
	hold      bool
	// stamps are the headers that the policy wants on responses.
	stamps []scheduler.Stamp
	// named are the headers that tell the gateway which pool was chosen.
	named []extproc.Header
}

// serves tells whether the route is that of c, unchanged.
func (r *route) serves(c *Pool) bool {
	if r.state.endpoints != c.Endpoints || r.cache != c.Cache || r.lists != c.Lists || !slices.Equal(r.models, c.Models) || r.onlyNamed != c.Named {
		return false
	}
	if r.policy == nil || c.Policy == nil {
		return r.policy == nil && c.Policy == nil
	}
	v := reflect.ValueOf(c.Policy)
	return reflect.TypeOf(r.policy) == v.Type() && v.Comparable() && reflect.ValueOf(r.policy).Comparable() && r.policy == c.Policy
}

// routes is an immutable set of pools.
type routes struct {
	all    []*route
	byName map[string]*route
	exact  map[string]*route
	globs  []glob // longest prefix first
	other  *route // takes every model that nobody names; may be nil
}

type glob struct {
	prefix string
	route  *route
}

// newRoutes indexes pools by name and by model.
func newRoutes(all []*route) (*routes, error) {
	rs := &routes{all: all, byName: map[string]*route{}, exact: map[string]*route{}}
	var open []*route
	for _, r := range all {
		if _, dup := rs.byName[r.name]; dup {
			return nil, fmt.Errorf("pool %q: is there twice; names must be unique", r.name)
		}
		rs.byName[r.name] = r
		if len(r.models) == 0 && !r.onlyNamed {
			open = append(open, r)
		}
		for _, m := range r.models {
			if before, star := strings.CutSuffix(m, "*"); star {
				rs.addGlob(glob{before, r})
				continue
			}
			if o, dup := rs.exact[m]; dup && o != r {
				return nil, fmt.Errorf("pool %q: model %q is already served by pool %q; name it in one of them", r.name, m, o.name)
			}
			rs.exact[m] = r
		}
	}
	switch {
	case len(all) == 1 && !all[0].onlyNamed:
		rs.other = all[0]
	case len(open) == 1:
		rs.other = open[0]
	}
	return rs, nil
}

func (rs *routes) addGlob(g glob) {
	i := 0
	for i < len(rs.globs) && len(rs.globs[i].prefix) >= len(g.prefix) {
		i++
	}
	rs.globs = append(rs.globs, glob{})
	copy(rs.globs[i+1:], rs.globs[i:])
	rs.globs[i] = g
}

// find chooses the pool of a request: the one the gateway named, else the one
// that serves the model, else the one that takes the rest.
func (rs *routes) find(named, model string) (*route, error) {
	if named != "" {
		if r, ok := rs.byName[named]; ok {
			return r, nil
		}
		return nil, &extproc.Rejection{
			Status: 503, Code: "pool_not_found",
			Message: fmt.Sprintf("pool %q is not served here", named),
			Headers: droppedNoEndpoints,
		}
	}
	if r, ok := rs.exact[model]; ok {
		return r, nil
	}
	for _, g := range rs.globs {
		if model != "" && strings.HasPrefix(model, g.prefix) {
			return g.route, nil
		}
	}
	if rs.other != nil {
		return rs.other, nil
	}
	if len(rs.all) == 0 {
		return nil, &extproc.Rejection{
			Status: 503, Code: "no_endpoints", Message: "no pool is configured",
			Headers: droppedNoEndpoints,
		}
	}
	if model == "" {
		return nil, &extproc.Rejection{
			Status: 400, Code: "model_required",
			Message: "the request names no model, and several pools could serve it",
		}
	}
	return nil, &extproc.Rejection{
		Status: 404, Code: "model_not_found",
		Message: fmt.Sprintf("the model %q does not exist", model),
	}
}

// poolState is what outlives a change of a pool's configuration: one gate per
// endpoint, found by the endpoint's Load, which is the endpoint's own for as long as
// it is in the pool; and with flow control one in front of the pool.
type poolState struct {
	endpoints Endpoints
	clock     Clock
	queue     *flowcontrol.Config // of the endpoints' gates
	flow      *gate               // nil without flow control
	forget    func(id string)     // an endpoint is gone
	cancel    func()

	gates  atomic.Pointer[map[*scheduler.Load]*gate]
	mu     sync.Mutex // serialises writers of gates
	closed bool       // guarded by mu
	last   []scheduler.Endpoint
}

func newPoolState(e Endpoints, o *Options, clock Clock, name string) *poolState {
	s := &poolState{endpoints: e, clock: clock, queue: endpointQueue(), forget: o.Metrics.ForgetEndpoint}
	s.gates.Store(&map[*scheduler.Load]*gate{})
	s.cancel = e.OnChange(func(snap *scheduler.Snapshot) {
		s.changed()
		s.flushUnreachable(snap)
	})
	s.changed()
	if o.Flow != nil {
		stop, stopFlow := s.cancel, func() {}
		s.flow, stopFlow = newPoolGate(e, o, clock, name)
		s.cancel = func() { stop(); stopFlow() }
	}
	return s
}

// gateOf returns the endpoint's gate, nil when the endpoint is no longer in the
// pool.
func (s *poolState) gateOf(l *scheduler.Load) *gate {
	if g := (*s.gates.Load())[l]; g != nil {
		return g
	}
	// The snapshot may be ahead of its announcement.
	s.changed()
	return (*s.gates.Load())[l]
}

// changed brings the gates in line with the current snapshot. It reads the
// snapshot itself, so announcements may come late or out of order.
func (s *poolState) changed() {
	s.mu.Lock()
	gone := s.update()
	s.mu.Unlock()
	for _, g := range gone {
		g.close()
		s.forget(g.id)
	}
}

// flushUnreachable sends the requests held for endpoints that refuse connections
// elsewhere, if there is an elsewhere.
func (s *poolState) flushUnreachable(snap *scheduler.Snapshot) {
	reachable := false
	for i := range snap.Metrics {
		reachable = reachable || !snap.Metrics[i].Unreachable
	}
	if !reachable {
		return
	}
	gates := *s.gates.Load()
	for i := range snap.Metrics {
		if g := gates[snap.Endpoints[i].Load]; g != nil && snap.Metrics[i].Unreachable {
			g.flush()
		}
	}
}

func (s *poolState) update() (gone []*gate) {
	old := *s.gates.Load()
	var now []scheduler.Endpoint
	if !s.closed {
		now = s.endpoints.Snapshot().Endpoints
	}
	if scheduler.SameEndpoints(now, s.last) {
		return nil
	}
	s.last = now
	next := make(map[*scheduler.Load]*gate, len(now))
	for i := range now {
		e := &now[i]
		if g := old[e.Load]; g != nil {
			next[e.Load] = g
		} else {
			next[e.Load] = newEndpointGate(s.queue, s.clock, e)
		}
	}
	for l, g := range old {
		if next[l] == nil {
			gone = append(gone, g)
		}
	}
	s.gates.Store(&next)
	return gone
}

// close drains every gate: the pool is no longer served.
func (s *poolState) close() {
	s.cancel()
	if s.flow != nil {
		s.flow.close()
	}
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.changed()
}

// held is the number of requests held for the pool's endpoints.
func (s *poolState) held() int {
	n := 0
	for _, g := range *s.gates.Load() {
		n += g.held()
	}
	return n
}
