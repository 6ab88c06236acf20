package cluster

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/fairway-ai/fairway/epp"
	"github.com/fairway-ai/fairway/epp/explain"
	"github.com/fairway-ai/fairway/epp/kvcache"
	"github.com/fairway-ai/fairway/epp/metrics"
	"github.com/fairway-ai/fairway/epp/objectives"
	share "github.com/fairway-ai/fairway/epp/replicas"
	"github.com/fairway-ai/fairway/extproc"
	"github.com/fairway-ai/fairway/extproc/relay"
	"github.com/fairway-ai/fairway/gateway/certs"
	"github.com/fairway-ai/fairway/gateway/eds"
	"github.com/fairway-ai/fairway/gateway/inferencepool"
	"github.com/fairway-ai/fairway/pool/kube"
)

// gateway is the process's parts.
type gateway struct {
	o       Options
	manager manager.Manager
	certs   certs.Source // nil without TLS
	metrics *metrics.Metrics
	eds     *eds.Server
	relay   *relay.Registry
	pickers *pickerMetrics
	picker  *epp.Picker
	set     *epp.PoolSet
	caches  *kvcache.Set    // nil when KV caches are not followed
	share   *share.Replicas // nil when replicas do not share what they do
	server  *epp.Server
	hooks   *hookServer
	watcher *kube.Watcher
	// known is what objectives finds of InferenceObjectives and InferenceModelRewrites.
	known      objectives.Store
	objectives *objectives.FromKube
	synced     chan struct{} // closed when the watcher has told of every pool
	status     *inferencepool.Controller
	leader     *leader // nil when this replica leads without asking
	// providers carry requests to AI providers; nil without egress.
	providers *providers
}

// Run serves until ctx ends, then lets the requests under way end for at most
// DrainTimeout, and returns nil. It returns an error when a listener or a watch
// cannot be started.
func Run(ctx context.Context, o Options) error {
	if o.ClusterDomain == "" {
		o.ClusterDomain = "cluster.local"
	}
	if o.PickerTimeout == 0 {
		o.PickerTimeout = DefaultPickerTimeout
	}
	g := &gateway{o: o, synced: make(chan struct{})}
	if err := g.build(ctx); err != nil {
		return errors.Join(err, g.close())
	}
	return g.run(ctx)
}

// build makes the parts, each after those it needs, and opens the listeners.
func (g *gateway) build(ctx context.Context) error {
	o := &g.o
	var err error
	if g.manager, err = newManager(o); err != nil {
		return err
	}
	if err := g.certify(ctx); err != nil {
		return err
	}
	ring := explain.NewRing(0)
	g.metrics = metrics.New(metrics.Options{Commit: o.Commit, BuildRef: o.Version, Process: true})
	if g.objectives, err = objectives.NewFromKube(o.Config, &g.known, objectives.KubeOptions{Log: o.Log}); err != nil {
		return err
	}
	if g.share, err = g.newShare(); err != nil {
		return err
	}
	picking := epp.Options{
		Priority: g.known.Priority, Rewrite: g.known.Rewrite, Flow: o.Flow, Shed: o.Shed, Report: o.Report, SessionHeaders: o.SessionHeaders,
		Hold: true, MaxHold: o.MaxHold, Metrics: g.metrics, Explain: ring, ExplainHeader: o.ExplainHeader,
		Tracer: o.Tracer, Log: o.Log,
	}
	if g.share != nil {
		picking.Share = g.share
	}
	picker, err := epp.New(picking)
	if err != nil {
		return err
	}
	g.picker = picker
	if g.caches, err = g.newCaches(); err != nil {
		return err
	}
	g.set = epp.NewPoolSet(epp.PoolSetOptions{Picker: picker, Policy: o.Policy, Pool: o.Pool, KVCache: g.caches, Models: o.Models, Log: o.Log})
	g.pickers = newPickerMetrics(g.metrics.Registry())
	g.relay = relay.New(relay.Options{MaxBodyBytes: o.MaxBodyBytes, Metrics: g.pickers, Log: o.Log})
	g.eds = eds.New(eds.Options{})
	serving := epp.ServerOptions{
		Picker:   picker,
		ExtProc:  extproc.Options{MaxBodyBytes: o.MaxBodyBytes, Scan: o.Scan, Foreign: g.relay},
		GRPCAddr: listenAddr(o.GRPCPort), HealthAddr: listenAddr(o.HealthPort), MetricsAddr: listenAddr(o.MetricsPort),
		Services: g.eds.Register, HealthOnGRPC: true, Pprof: o.Pprof,
		DrainTimeout: o.DrainTimeout, Metrics: g.metrics, Explain: ring, Log: o.Log,
	}
	if o.Egress.Enabled {
		if g.providers, err = g.newProviders(); err != nil {
			return err
		}
		serving.Wrap, serving.ExtProc.Foreign = g.providers.parts.Wrap, g.providers.parts.Foreign()
	}
	if g.certs != nil {
		serving.TLS = g.certs.TLSConfig()
	}
	if g.server, err = epp.NewServer(serving); err != nil {
		return err
	}
	if g.hooks, err = g.newHooks(); err != nil {
		return err
	}
	if err := g.watch(ctx); err != nil {
		return err
	}
	return g.writeStatus()
}

// certify finds the certificate that Envoy and Envoy Gateway are shown.
func (g *gateway) certify(ctx context.Context) error {
	o := &g.o
	names := certs.ServerNames(o.Service, o.Namespace, o.ClusterDomain)
	switch {
	case o.TLS.Insecure:
		o.Log.Warn("serving without TLS")
	case o.TLS.Dir != "":
		d, err := certs.NewDirectory(certs.DirectoryOptions{Path: o.TLS.Dir, Names: names[len(names)-1:], Log: o.Log})
		if err != nil {
			return fmt.Errorf("certificates: %w", err)
		}
		g.certs = d
	default:
		c, err := client.NewWithWatch(o.Config, client.Options{Scheme: g.manager.GetScheme()})
		if err != nil {
			return fmt.Errorf("certificates: %w", err)
		}
		s, err := certs.NewSelfManaged(ctx, certs.SecretOptions{
			Client: c, Namespace: o.Namespace, Name: o.TLS.Secret, DNSNames: names, Log: o.Log,
		})
		if err != nil {
			return fmt.Errorf("certificates: %w", err)
		}
		g.certs = s
	}
	return nil
}

// writeStatus prepares the controllers, all that writes.
func (g *gateway) writeStatus() error {
	o := &g.o
	leads := func() bool { return true }
	if o.LeaderElect {
		clients, err := kubernetes.NewForConfig(o.Config)
		if err != nil {
			return fmt.Errorf("leader election: %w", err)
		}
		g.leader = newLeader(clients, o.Namespace, o.Identity, g.elected, o.Log)
		leads = g.leader.Leads
	}
	var err error
	g.status, err = inferencepool.New(g.manager.GetClient(), inferencepool.Options{
		GatewayController: o.GatewayController, Leads: leads,
		Recorder: g.manager.GetEventRecorder("fairway-gateway"),
		Metrics:  g.metrics.Registry(),
	})
	if err != nil {
		return err
	}
	if err := g.status.SetupWithManager(g.manager); err != nil {
		return err
	}
	if g.providers != nil {
		return g.providers.writeStatus(g, leads)
	}
	return nil
}

// elected has everything looked at by the controllers, of which this replica now has
// the word.
func (g *gateway) elected() {
	g.status.Elected()
	if g.providers != nil {
		g.providers.status.Elected()
		g.providers.access.Elected()
	}
}

// run runs the parts until ctx ends. Those that keep the others up to date run
// until the last request has ended.
func (g *gateway) run(ctx context.Context) error {
	around, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var group errgroup.Group
	keep := func(what string, f func(context.Context) error) {
		group.Go(func() error {
			defer stop()
			if err := f(around); err != nil {
				return fmt.Errorf("%s: %w", what, err)
			}
			return nil
		})
	}
	keep("manager", g.manager.Start)
	keep("pools", g.watcher.Run)
	keep("objectives", g.objectives.Run)
	keep("metrics of endpoints", func(ctx context.Context) error {
		if !g.o.Scrape {
			<-ctx.Done()
			return nil
		}
		return g.set.Run(ctx)
	})
	if g.o.Models != nil {
		keep("lists of models", g.o.Models.Run)
	}
	if g.caches != nil {
		keep("KV cache events", g.caches.Run)
	}
	if g.share != nil {
		keep("replicas", func(ctx context.Context) error { return g.share.Run(ctx, g.picker) })
	}
	if f := g.o.Follow; f != nil {
		keep("configuration", func(ctx context.Context) error {
			return f(ctx, Followed{Pools: g.set, Picker: g.picker, Registry: g.metrics.Registry()})
		})
	}
	if g.providers != nil {
		g.providers.run(keep)
	}
	if g.certs != nil {
		keep("certificates", g.certs.Start)
	}
	if g.leader != nil {
		keep("leader election", g.leader.Run)
	}
	keep("hooks", func(around context.Context) error { return g.hooks.run(ctx, around) })
	serving, stopServing := context.WithCancel(ctx)
	defer stopServing()
	context.AfterFunc(around, stopServing)
	// Discovery streams last as long as Envoy, which finds another replica.
	context.AfterFunc(serving, g.eds.Close)
	group.Go(func() error {
		defer stop()
		return g.server.Run(serving)
	})
	group.Go(func() error { g.becomeReady(around); return nil })
	err := group.Wait()
	g.relay.Close()
	return err
}

// becomeReady says so once all is known that there was at the start.
func (g *gateway) becomeReady(ctx context.Context) {
	if !g.manager.GetCache().WaitForCacheSync(ctx) {
		return
	}
	select {
	case <-ctx.Done():
		return
	case <-g.synced:
	}
	if g.providers != nil {
		select {
		case <-ctx.Done():
			return
		case <-g.providers.synced:
		}
	}
	g.server.SetReady(true)
	g.o.Log.Info("ready")
}

// close gives up what build opened.
func (g *gateway) close() error {
	var errs []error
	if g.server != nil {
		errs = append(errs, g.server.Close())
	}
	if g.share != nil {
		errs = append(errs, g.share.Close())
	}
	if g.hooks != nil {
		errs = append(errs, g.hooks.close())
	}
	if g.relay != nil {
		g.relay.Close()
	}
	return errors.Join(errs...)
}
