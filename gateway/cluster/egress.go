package cluster

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/fairway-ai/fairway/epp"
	accesscontroller "github.com/fairway-ai/fairway/gateway/accesspolicy/controller"
	"github.com/fairway-ai/fairway/gateway/airoute"
	"github.com/fairway-ai/fairway/gateway/airoute/controller"
	"github.com/fairway-ai/fairway/gateway/airoute/kube"
	"github.com/fairway-ai/fairway/gateway/egress/parts"
	"github.com/fairway-ai/fairway/gateway/xds"
	poolkube "github.com/fairway-ai/fairway/pool/kube"
)

// EgressOptions say whether and how requests go to AI providers.
type EgressOptions struct {
	// Enabled serves AIRoutes and AIBackends.
	Enabled bool
	// ProviderCA is a file of certificate authorities in Envoy's container, by which
	// providers are trusted.
	ProviderCA string
	// IdentityNamespaces are those whose AIBackends may use the identity that this
	// process has at a cloud.
	IdentityNamespaces []string
	// SecretNamespaces are those whose Secrets and ConfigMaps are read; all when empty.
	SecretNamespaces []string
}

// longestWait is how long Envoy waits for a pick at most: its max_message_timeout. It
// heeds no picker that asks for more.
func (o *Options) longestWait() time.Duration {
	if o.Flow == nil {
		return xds.DefaultMaxMessageTimeout
	}
	return max(xds.DefaultMaxMessageTimeout, epp.Patience(o.MaxHold, o.Flow))
}

// lingering is how long a backend is known after the last rule that led to it is gone,
// because Envoy hears of it later.
const lingering = 30 * time.Second

// providers are the parts that carry requests to AI providers.
type providers struct {
	source *kube.Source
	synced chan struct{} // closed when source has told of all there was
	parts  *parts.Parts
	picked *picked
	status *controller.Controller
	access *accesscontroller.Controller
	// compiled is the newest result, nil before the first.
	compiled atomic.Pointer[airoute.Result]
	changed  chan struct{} // capacity 1
	log      *slog.Logger
}

// newProviders makes the parts that the ext_proc server and the hooks need.
func (g *gateway) newProviders() (*providers, error) {
	o := &g.o
	p := &providers{log: o.Log, synced: make(chan struct{}), changed: make(chan struct{}, 1)}
	var err error
	p.source, err = kube.New(g.manager.GetCache(), kube.Options{
		Live: g.manager.GetAPIReader(), ClusterDomain: o.ClusterDomain,
		OwnIdentity: func(namespace string) bool { return slices.Contains(o.Egress.IdentityNamespaces, namespace) },
		OnSynced:    func() { close(p.synced) }, SecretNamespaces: o.Egress.SecretNamespaces, Log: o.Log,
	})
	if err != nil {
		return nil, err
	}
	p.parts, err = parts.New(parts.Options{
		Secrets: p.source, Foreign: g.relay, MaxHold: g.o.longestWait(),
		Metrics: g.metrics.Registry(), Tracer: o.Tracer, Log: o.Log,
	})
	if err != nil {
		return nil, err
	}
	clients, err := kubernetes.NewForConfig(o.Config)
	if err != nil {
		return nil, fmt.Errorf("EndpointSlices: %w", err)
	}
	p.picked = &picked{
		slices:    watchSlices(clients, poolkube.NewWatchErrors(o.Log, nil).Handle, o.Log),
		endpoints: g.eds, foreign: g.relay, gone: g.pickers.forget, timeout: o.PickerTimeout, log: o.Log, backends: map[string]*pickedBackend{},
	}
	p.source.Subscribe(p.apply)
	p.source.SubscribeSecrets(p.parts.SecretChanged)
	return p, nil
}

// apply takes a new state over: backends first, so that no rule leads to one that is not
// there.
func (p *providers) apply(r *airoute.Result) {
	p.picked.update(r.Config)
	// What is wrong with a backend is in its state, and refuses that backend's requests.
	_ = p.parts.Update(context.Background(), r.Config)
	if err := p.parts.SetRules(r.Config); err != nil {
		p.log.Error("costs that were accepted cannot be computed", "error", err)
	}
	p.compiled.Store(r)
	select {
	case p.changed <- struct{}{}:
	default:
	}
}

// forget drops backends that no rule leads to any more, until ctx ends.
func (p *providers) forget(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-p.changed:
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(lingering):
		}
		c := p.compiled.Load().Config
		p.parts.Keep(c)
		p.picked.keep(c)
	}
}

// run runs the parts until ctx ends.
func (p *providers) run(keep func(what string, f func(context.Context) error)) {
	keep("AIRoutes", p.source.Run)
	keep("credentials", func(ctx context.Context) error { p.parts.Run(ctx); return nil })
	keep("backends", p.forget)
	keep("endpoints of Services", p.picked.run)
}

// writeStatus prepares the controllers of AIRoutes, AIBackends and AIAccessPolicies.
func (p *providers) writeStatus(g *gateway, leads func() bool) error {
	var err error
	p.status, err = controller.New(g.manager.GetClient(), p.source, controller.Options{
		GatewayController: g.o.GatewayController, Credentials: p.parts, Leads: leads,
		Recorder: g.manager.GetEventRecorder("fairway-gateway"), Metrics: g.metrics.Registry(),
	})
	if err != nil {
		return err
	}
	p.parts.OnState(p.status.CredentialsChanged)
	if err := p.status.SetupWithManager(g.manager); err != nil {
		return err
	}
	p.access, err = accesscontroller.New(g.manager.GetClient(), p.source, accesscontroller.Options{
		Live: g.manager.GetAPIReader(), GatewayController: g.o.GatewayController, Leads: leads,
		Recorder: g.manager.GetEventRecorder("fairway-gateway"), Metrics: g.metrics.Registry(),
	})
	if err != nil {
		return err
	}
	return p.access.SetupWithManager(g.manager)
}

// known is what the hooks are told: nothing before everything was seen, because an
// AIRoute that is not there is believed to be gone.
type known struct{ p *providers }

// Result implements envoygateway.AISource.
func (k known) Result() *airoute.Result { return k.p.compiled.Load() }

// WaitFor implements envoygateway.AISource.
func (k known) WaitFor(ctx context.Context, route types.NamespacedName, hash string) bool {
	return k.p.source.WaitFor(ctx, route, hash)
}
