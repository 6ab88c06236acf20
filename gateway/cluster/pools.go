package cluster

import (
	"log/slog"
	"sync"
	"time"

	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	inferencev1 "sigs.k8s.io/gateway-api-inference-extension/api/v1"

	"github.com/fairway-ai/fairway/epp"
	"github.com/fairway-ai/fairway/extproc/relay"
	"github.com/fairway-ai/fairway/gateway/eds"
	"github.com/fairway-ai/fairway/gateway/refs"
	"github.com/fairway-ai/fairway/gateway/xds"
	"github.com/fairway-ai/fairway/pool/kube"
)

// endpoints tells Envoy what serves. *eds.Server is one.
type endpoints interface {
	Set(name string, a *endpointv3.ClusterLoadAssignment)
	Delete(name string)
}

// ownPools are the pools picked for here. *epp.PoolSet is one.
type ownPools interface {
	SetPool(epp.PoolConfig)
	RemovePool(name string)
}

// foreignPools are the pools that others pick for. *relay.Registry is one.
type foreignPools interface {
	Set(pool string, p relay.Picker) error
	Delete(pool string)
}

// pools carries every change of an InferencePool, its pods or its picker's Service
// to those who need it. It is a kube.Handler.
type pools struct {
	endpoints endpoints
	own       ownPools
	foreign   foreignPools
	// service reads a Service from the cache, nil when there is none.
	service func(types.NamespacedName) *corev1.Service
	// gone is told of a pool that is no more.
	gone    func(pool string)
	domain  string
	timeout time.Duration // for pickers
	log     *slog.Logger

	mu sync.Mutex
	// picked are the pools with a picker of their own, by that picker's Service.
	picked map[types.NamespacedName]map[types.NamespacedName]*inferencev1.InferencePool
	// services is the Service under which a pool is in picked.
	services map[types.NamespacedName]types.NamespacedName
	// broken are the pools whose picker could not be found, and why.
	broken map[types.NamespacedName]string
}

func newPools() *pools {
	return &pools{
		picked:   map[types.NamespacedName]map[types.NamespacedName]*inferencev1.InferencePool{},
		services: map[types.NamespacedName]types.NamespacedName{},
		broken:   map[types.NamespacedName]string{},
	}
}

// SetPool implements kube.Handler. Envoy knows an endpoint before it is picked;
// that one is forgotten by the picker first is what pool.Set sees to, since Envoy
// hears of it over the network.
func (p *pools) SetPool(k kube.Pool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	name := k.Name.String()
	x := xds.Pool{Name: name}
	for _, e := range k.Endpoints {
		x.Endpoints = append(x.Endpoints, e.Address)
	}
	p.endpoints.Set(name, eds.Endpoints(x))
	p.forget(k.Name)
	if k.Object.Spec.EndpointPickerRef != nil {
		p.remember(k.Object)
		p.own.RemovePool(name)
		p.consult(k.Object)
		return
	}
	p.foreign.Delete(name)
	p.own.SetPool(epp.PoolConfig{Name: name, Created: k.Object.CreationTimestamp.Time, Specs: k.Endpoints})
}

// DeletePool implements kube.Handler.
func (p *pools) DeletePool(k types.NamespacedName) {
	p.mu.Lock()
	defer p.mu.Unlock()
	name := k.String()
	p.forget(k)
	p.own.RemovePool(name)
	p.foreign.Delete(name)
	delete(p.broken, k)
	p.endpoints.Delete(name)
	p.gone(name)
}

// serviceChanged looks at the pools whose picker is the Service anew.
func (p *pools) serviceChanged(service types.NamespacedName) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, pool := range p.picked[service] {
		p.consult(pool)
	}
}

// consult makes known which picker answers for a pool. A picker that cannot be
// found is one that is down: the pool's failure mode says what becomes of requests.
func (p *pools) consult(pool *inferencev1.InferencePool) {
	key := types.NamespacedName{Namespace: pool.Namespace, Name: pool.Name}
	var svc *corev1.Service
	if name, ok := refs.PickerService(pool); ok {
		svc = p.service(name)
	}
	address, err := pickerAddress(pool, svc, p.domain)
	p.explain(key, err)
	if err != nil {
		address = nowhere
	}
	err = p.foreign.Set(key.String(), relay.Picker{Address: address, FailOpen: refs.FailOpen(pool), Timeout: p.timeout})
	if err != nil {
		p.log.Error("a pool's picker cannot be consulted", "pool", key.String(), "error", err)
	}
}

// nowhere refuses connections: a picker that does not exist fails as one that is
// down.
const nowhere = "127.0.0.1:1"

// explain logs once why a pool's picker was not found, and once that it was.
func (p *pools) explain(pool types.NamespacedName, err error) {
	was, now := p.broken[pool], ""
	if err != nil {
		now = err.Error()
	}
	switch {
	case now == was:
		return
	case now == "":
		delete(p.broken, pool)
		p.log.Info("the pool's endpoint picker was found", "pool", pool.String())
	default:
		p.broken[pool] = now
		p.log.Warn("the pool's endpoint picker was not found; its failure mode applies", "pool", pool.String(), "reason", now)
	}
}

func (p *pools) remember(pool *inferencev1.InferencePool) {
	service, ok := refs.PickerService(pool)
	if !ok {
		return
	}
	key := types.NamespacedName{Namespace: pool.Namespace, Name: pool.Name}
	if p.picked[service] == nil {
		p.picked[service] = map[types.NamespacedName]*inferencev1.InferencePool{}
	}
	p.picked[service][key] = pool
	p.services[key] = service
}

func (p *pools) forget(key types.NamespacedName) {
	if service, ok := p.services[key]; ok {
		delete(p.services, key)
		delete(p.picked[service], key)
		if len(p.picked[service]) == 0 {
			delete(p.picked, service)
		}
	}
}
