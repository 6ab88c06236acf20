package cluster

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	discoveryinformers "k8s.io/client-go/informers/discovery/v1"
	"k8s.io/client-go/kubernetes"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"

	"github.com/fairway-ai/fairway/extproc/relay"
	"github.com/fairway-ai/fairway/gateway/airoute"
	"github.com/fairway-ai/fairway/gateway/eds"
	"github.com/fairway-ai/fairway/gateway/xds"
)

// picked follows the Services of which pickers of others choose the endpoints without
// an InferencePool. Of each Service it watches the EndpointSlices alone, and only as long
// as a backend needs them: those of a whole cluster are many.
type picked struct {
	// slices follows the EndpointSlices of a Service until ctx ends, and tells of them
	// all once and whenever one changes, from one goroutine at a time.
	slices    func(ctx context.Context, service types.NamespacedName, changed func([]*discoveryv1.EndpointSlice))
	endpoints endpoints
	foreign   foreignPools
	// gone is told of a name in a pool's place that is no more.
	gone    func(pool string)
	timeout time.Duration // for pickers
	log     *slog.Logger

	mu       sync.Mutex
	backends map[string]*pickedBackend // by airoute.Backend.Pool
	closed   bool
	running  sync.WaitGroup
}

type pickedBackend struct {
	config airoute.Picked
	stop   context.CancelFunc
}

// update makes the backends of c known, and those that have changed as they are now.
// What c does not have stays until keep.
func (p *picked) update(c *airoute.Config) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range c.Backends {
		b := &c.Backends[i]
		if b.Picked == nil || p.closed {
			continue
		}
		p.consultLocked(b.Pool, b.Picked)
		old := p.backends[b.Pool]
		switch {
		case old == nil:
		case old.config.Service == b.Picked.Service && old.config.Port == b.Picked.Port:
			continue
		default:
			old.stop()
		}
		p.followLocked(b.Pool, b.Picked)
	}
}

// consultLocked makes known which picker answers. One that cannot be found is one that is
// down.
func (p *picked) consultLocked(pool string, x *airoute.Picked) {
	address := x.Picker
	if address == "" {
		address = nowhere
	}
	if err := p.foreign.Set(pool, relay.Picker{Address: address, FailOpen: x.FailOpen, Timeout: p.timeout}); err != nil {
		p.log.Error("a backend's picker cannot be consulted", "backend", pool, "error", err)
	}
}

func (p *picked) followLocked(pool string, x *airoute.Picked) {
	ctx, stop := context.WithCancel(context.Background())
	b := &pickedBackend{config: *x, stop: stop}
	p.backends[pool] = b
	p.running.Go(func() {
		p.slices(ctx, x.Service, func(all []*discoveryv1.EndpointSlice) {
			a := eds.Endpoints(xds.Pool{Name: pool, Endpoints: eds.Ready(all, x.Port)})
			p.mu.Lock()
			defer p.mu.Unlock()
			if p.backends[pool] == b { // and not somebody else's by now
				p.endpoints.Set(pool, a)
			}
		})
	})
}

// keep forgets the backends that c does not have.
func (p *picked) keep(c *airoute.Config) {
	p.mu.Lock()
	defer p.mu.Unlock()
	stays := map[string]bool{}
	for i := range c.Backends {
		if c.Backends[i].Picked != nil {
			stays[c.Backends[i].Pool] = true
		}
	}
	for pool := range p.backends {
		if !stays[pool] {
			p.dropLocked(pool)
		}
	}
}

func (p *picked) dropLocked(pool string) {
	p.backends[pool].stop()
	delete(p.backends, pool)
	p.foreign.Delete(pool)
	p.endpoints.Delete(pool)
	p.gone(pool)
}

// run ends all that follows something when ctx ends.
func (p *picked) run(ctx context.Context) error {
	<-ctx.Done()
	p.mu.Lock()
	p.closed = true
	for _, b := range p.backends {
		b.stop()
	}
	p.mu.Unlock()
	p.running.Wait()
	return nil
}

// watchSlices is a picked's slices, of a cluster.
func watchSlices(clients kubernetes.Interface, failed toolscache.WatchErrorHandlerWithContext, log *slog.Logger) func(context.Context, types.NamespacedName, func([]*discoveryv1.EndpointSlice)) {
	return func(ctx context.Context, service types.NamespacedName, changed func([]*discoveryv1.EndpointSlice)) {
		informer := discoveryinformers.NewFilteredEndpointSliceInformer(clients, service.Namespace, 0, nil, func(o *metav1.ListOptions) {
			o.LabelSelector = discoveryv1.LabelServiceName + "=" + service.Name
		})
		if err := follow(ctx, informer, failed, changed); err != nil {
			log.Error("the endpoints of a Service cannot be followed", "service", service.String(), "error", err)
		}
	}
}

// follow runs an informer of EndpointSlices until ctx ends.
func follow(ctx context.Context, informer toolscache.SharedIndexInformer, failed toolscache.WatchErrorHandlerWithContext, changed func([]*discoveryv1.EndpointSlice)) error {
	tell := func() {
		var all []*discoveryv1.EndpointSlice
		for _, x := range informer.GetStore().List() {
			if s, ok := x.(*discoveryv1.EndpointSlice); ok {
				all = append(all, s)
			}
		}
		changed(all)
	}
	if err := informer.SetTransform(cache.TransformStripManagedFields()); err != nil {
		return fmt.Errorf("transform: %w", err)
	}
	if err := informer.SetWatchErrorHandlerWithContext(failed); err != nil {
		return fmt.Errorf("errors: %w", err)
	}
	again := make(chan struct{}, 1)
	wake := func() {
		select {
		case again <- struct{}{}:
		default:
		}
	}
	_, err := informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
		AddFunc: func(any) { wake() }, UpdateFunc: func(any, any) { wake() }, DeleteFunc: func(any) { wake() },
	})
	if err != nil {
		return fmt.Errorf("handler: %w", err)
	}
	var running sync.WaitGroup
	defer running.Wait()
	running.Go(func() { informer.RunWithContext(ctx) })
	// Half of them would be told for all of them before.
	if !toolscache.WaitForCacheSync(ctx.Done(), informer.HasSynced) {
		return nil
	}
	tell()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-again:
			tell()
		}
	}
}
