package main

import (
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"

	"k8s.io/apimachinery/pkg/types"

	"github.com/fairway-ai/fairway/epp"
	"github.com/fairway-ai/fairway/pool/kube"
)

// readiness is ready while everything that must be true is.
type readiness struct {
	set func(bool)

	mu              sync.Mutex
	synced, leading bool
	missing         bool // the only pool does not exist
}

func (r *readiness) change(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f()
	r.set(r.synced && r.leading && !r.missing)
}

// eppPools passes a cluster's pools on to the picker. It implements kube.Handler;
// all its methods are called by the watcher.
type eppPools struct {
	set   *epp.PoolSet
	ready *readiness
	log   *slog.Logger
	// only is the name of the one pool there is, when there is only one.
	only types.NamespacedName
	// service is the picker's Service, which pools must name to be served; "" serves
	// all.
	service string
	// ports serves the ports that the pools name; nil when ports name no pool.
	ports func(map[int]string)

	begun   bool // everything there was at the start is known
	first   map[types.NamespacedName]kube.Pool
	portOf  map[types.NamespacedName]int // 0 for none
	shared  map[int]bool                 // ports of several pools, as logged
	problem map[types.NamespacedName]string
	opened  map[int]string
}

func newEPPPools(set *epp.PoolSet, ready *readiness, log *slog.Logger) *eppPools {
	return &eppPools{
		set: set, ready: ready, log: log, first: map[types.NamespacedName]kube.Pool{},
		portOf: map[types.NamespacedName]int{}, shared: map[int]bool{}, problem: map[types.NamespacedName]string{},
	}
}

// SetPool implements kube.Handler.
func (e *eppPools) SetPool(p kube.Pool) {
	if !e.begun {
		e.first[p.Name] = p
		return
	}
	e.update(map[types.NamespacedName]kube.Pool{p.Name: p})
}

// DeletePool implements kube.Handler.
func (e *eppPools) DeletePool(name types.NamespacedName) {
	e.remove(name)
	if name == e.only {
		e.log.Error("the pool is gone; not ready until it is back", "pool", name.String())
		e.ready.change(func() { e.ready.missing = true })
	}
}

// synced is called when SetPool was called for everything there was at the start.
func (e *eppPools) synced() {
	e.begun = true
	if _, ok := e.first[e.only]; !ok && e.only != (types.NamespacedName{}) {
		e.log.Error("the pool does not exist; not ready until it does", "pool", e.only.String())
		e.ready.change(func() { e.ready.missing = true })
	}
	e.update(e.first)
	e.log.Info("the pools are known", "pools", len(e.portOf))
	e.first = nil
	e.ready.change(func() { e.ready.synced = true })
}

// update passes pools on.
func (e *eppPools) update(pools map[types.NamespacedName]kube.Pool) {
	var set []epp.PoolConfig
	for name, p := range pools {
		port, mine := e.mine(p)
		if !mine {
			e.remove(name)
			continue
		}
		e.portOf[name] = port
		set = append(set, e.poolConfig(p))
	}
	e.set.Update(set, nil)
	e.openPorts()
	if _, ok := pools[e.only]; ok {
		e.ready.change(func() { e.ready.missing = false })
	}
}

func (e *eppPools) remove(name types.NamespacedName) {
	if _, served := e.portOf[name]; !served {
		return
	}
	delete(e.portOf, name)
	delete(e.problem, name)
	e.set.RemovePool(name.String())
	e.openPorts()
}

// mine tells whether a pool is served here, and at which port it asks to be; 0 when
// it does not say.
func (e *eppPools) mine(p kube.Pool) (port int, ok bool) {
	if e.only == p.Name || p.Object == nil {
		return 0, true
	}
	ref := p.Object.Spec.EndpointPickerRef
	service := ref != nil && (ref.Group == nil || *ref.Group == "") && (ref.Kind == "" || ref.Kind == "Service")
	if e.service != "" && (!service || string(ref.Name) != e.service) {
		return 0, false
	}
	if e.service == "" || ref.Port == nil {
		return 0, true
	}
	return int(ref.Port.Number), true
}

func (e *eppPools) poolConfig(p kube.Pool) epp.PoolConfig {
	c := epp.PoolConfig{Name: p.Name.String(), Specs: p.Endpoints}
	if p.Object == nil {
		return c
	}
	c.Created = p.Object.CreationTimestamp.Time
	models, err := kube.Models(p.Object)
	problem := ""
	if err != nil {
		problem = err.Error()
	}
	if problem != "" && problem != e.problem[p.Name] {
		e.log.Warn("a pool's models are ignored", "pool", c.Name, "error", err)
	}
	e.problem[p.Name] = problem
	c.Models = models
	return c
}

// openPorts serves the ports that the pools name.
func (e *eppPools) openPorts() {
	if e.ports == nil {
		return
	}
	wanted := map[int]string{}
	shared := map[int]bool{}
	for _, name := range slices.SortedFunc(maps.Keys(e.portOf), compareNames) {
		port := e.portOf[name]
		if port == 0 {
			continue
		}
		if first, taken := wanted[port]; taken {
			if !shared[port] && !e.shared[port] {
				e.log.Warn("pools name the same port of this picker, so only x-fairway-pool metadata or the model tells their requests apart; give each a port of its own", "port", port, "pools", fmt.Sprintf("%s, %s", first, name))
			}
			shared[port] = true
			continue
		}
		wanted[port] = name.String()
	}
	for port := range shared {
		wanted[port] = ""
	}
	e.shared = shared
	if !maps.Equal(wanted, e.opened) {
		e.opened = wanted
		e.ports(wanted)
	}
}

func compareNames(a, b types.NamespacedName) int {
	return slices.Compare([]string{a.Namespace, a.Name}, []string{b.Namespace, b.Name})
}
