package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime/debug"
	"time"

	"github.com/spf13/cobra"
	"go.opentelemetry.io/otel"
	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/rest"

	"github.com/fairway-ai/fairway/epp"
	"github.com/fairway-ai/fairway/epp/explain"
	"github.com/fairway-ai/fairway/epp/metrics"
	"github.com/fairway-ai/fairway/epp/objectives"
	"github.com/fairway-ai/fairway/epp/report"
	"github.com/fairway-ai/fairway/epp/run"
	"github.com/fairway-ai/fairway/epp/tracing"
	"github.com/fairway-ai/fairway/extproc"
	"github.com/fairway-ai/fairway/pool/file"
)

func newEPPCommand() *cobra.Command {
	var f eppFlags
	cmd := &cobra.Command{
		Use:   "epp",
		Short: "Run the endpoint picker alone, behind any gateway",
		Long: `Run the endpoint picker: Envoy asks it over gRPC (ext_proc) where each request
should go. Flags and ports are llm-d's, so it takes the place of that picker behind
any gateway that speaks the Gateway API Inference Extension's protocol.

The endpoints come from a cluster: an InferencePool (--pool-name), several
(--pools, --all-pools), or pods by their labels (--endpoint-selector). Or they come
from a file: --endpoints-file, -f with InferencePool objects, or a file-discovery
plugin in the EndpointPickerConfig.`,
		Example: `  fairway epp --pool-name llama --pool-namespace prod
  fairway epp --all-pools --service-name fairway-epp
  fairway epp --endpoint-selector app=llama --endpoint-target-ports 8000
  fairway epp -f fairway.yaml --secure-serving=false`,
		Args: strayArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.validate(cmd.Flags()); err != nil {
				return err
			}
			log, err := f.log.logger(cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			if len(args) > 0 {
				log.Warn("arguments that belong to no flag are ignored: write --flag=value", "arguments", args)
			}
			useLogger(log)
			return runEPP(cmd.Context(), &f, log)
		},
	}
	f.register(cmd.Flags())
	return cmd
}

// defaultGCPercent trades memory, of which a picker uses little, for a fifth less
// CPU per request. GOGC overrides it.
const defaultGCPercent = 400

// runEPP runs the picker until ctx ends.
func runEPP(ctx context.Context, f *eppFlags, log *slog.Logger) (err error) {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(defaultGCPercent)
	}
	config, err := f.loadConfig()
	if err != nil {
		return err
	}
	config.pool.Logger = log
	for _, w := range config.warnings {
		log.Warn(w)
	}
	// Read first: a file that is wrong at the start is an error, later it is not.
	var pools *file.Config
	var apiServer *rest.Config
	if config.endpoints != "" {
		if pools, err = objectivesLoader().Load(ctx, config.endpoints); err != nil {
			err = fmt.Errorf("%s: %w", config.endpointsFrom, err)
		}
	} else {
		apiServer, err = restConfig(f.cluster.kubeconfig)
	}
	if err != nil {
		return err
	}
	m := metrics.New(metrics.Options{
		PoolInterval: f.more.poolMetrics, NoStreams: !f.more.streamMetrics,
		BareNames: f.cluster.single() && f.cluster.used(), FairnessIDs: f.more.fairnessLimit(),
		Legacy: f.legacyMetrics, Commit: commit(), BuildRef: version, Process: true,
	})
	ring := explain.NewRing(0)
	tracer, err := f.tracer(ctx, log)
	if err != nil {
		return err
	}
	defer func() {
		last, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if e := tracer.Shutdown(last); e != nil {
			log.Warn("spans were lost at the end", "error", e)
		}
	}()
	known := &objectives.Store{}
	share, err := f.replicas.open(apiServer, f.cluster.kubeconfig, m.Registry(), log)
	if err != nil {
		return err
	}
	defer share.close()
	reporter, err := report.New(config.read.Report, log)
	if err != nil {
		return err // a configuration that was read has none that is wrong
	}
	picking := epp.Options{
		Priority: known.Priority, Rewrite: known.Rewrite, Flow: config.read.FlowControl, Shed: config.read.Shedder(),
		Hold: true, MaxHold: f.maxHold, MaxDestinations: f.maxDestinations, LearnDestinations: f.maxDestinations == 0, Metrics: m, Explain: ring, ExplainHeader: f.explainHeader,
		EmitScores: f.emitScores, MarkResponses: true, ServedHeader: config.servedHeader, Report: reporter, SessionHeaders: config.read.SessionHeaders, IgnoreSubset: f.ignoreSubset,
		Tracer: tracer, Log: log,
	}
	share.into(&picking)
	picker, err := epp.New(picking)
	if err != nil {
		return err
	}
	config.exchange = func(ctx context.Context) error { return share.run(ctx, picker) }
	if config.caches, err = f.kv.open(config, m, log); err != nil {
		return err
	}
	if config.models, err = run.Models(config.read, log); err != nil {
		return fmt.Errorf("%s: %w", config.from, err)
	}
	set := epp.NewPoolSet(epp.PoolSetOptions{
		Picker: picker, Policy: config.policy, Log: log,
		Pool: config.pool, KVCache: config.caches, Models: config.models,
	})
	reload := newReloader(f, config, set, picker, f.parseChanged, m.Registry(), log)
	if reload != nil {
		reload.event = podEvents(apiServer, log)
	}
	apply := func(c *file.Config) error {
		for _, w := range c.Warnings {
			log.Warn(w)
		}
		f.namePool(c)
		if err := set.Apply(c); err != nil {
			return err
		}
		setObjectives(known, c)
		return nil
	}
	if pools != nil {
		if err := apply(pools); err != nil {
			return err
		}
	}
	tc, err := f.tls(log)
	if err != nil {
		return err
	}
	serving := f.serverOptions(config, picker, m, ring, tc, log)
	if err := f.more.serveMetrics(&serving, f.metricsAuth, apiServer, f.cluster.kubeconfig, log); err != nil {
		return err
	}
	server, err := epp.NewServer(serving)
	if err != nil {
		return err
	}
	if pools != nil {
		server.SetReady(true)
		return serveEPP(ctx, server, set, config, nil, reload, apply, log)
	}
	cluster, err := newFollower(&f.cluster, apiServer, set, server, log)
	if err == nil {
		cluster.beside, err = followObjectives(known, apiServer, &f.cluster, log)
	}
	if err != nil {
		return errors.Join(err, server.Close())
	}
	return serveEPP(ctx, server, set, config, cluster, reload, apply, log)
}

// serveEPP runs the server, and around it, until its last request has ended, what
// keeps the pools up to date: cluster, or without one the file; and the policy: reload.
func serveEPP(ctx context.Context, server *epp.Server, set *epp.PoolSet, config *eppConfig, cluster *follower, reload *reloader, apply func(*file.Config) error, log *slog.Logger) error {
	around, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	serving, fail := context.WithCancel(ctx)
	defer fail()
	var group errgroup.Group
	if cluster != nil {
		group.Go(func() error {
			defer fail() // nothing else would ever bring endpoints
			return cluster.Run(around, ctx)
		})
	}
	group.Go(func() error { return reload.run(around) })
	group.Go(func() error { return config.exchange(around) })
	if config.caches != nil {
		group.Go(func() error {
			defer fail() // else it would guess for ever
			return config.caches.Run(around)
		})
	}
	if config.models != nil {
		group.Go(func() error { return config.models.Run(around) })
	}
	if config.scrape {
		group.Go(func() error { return set.Run(around) })
	}
	if config.watch {
		group.Go(func() error {
			return objectivesLoader().Watch(around, config.endpoints, func(c *file.Config, err error) {
				if err == nil {
					err = apply(c)
				}
				if err != nil {
					log.Error("the endpoints are wrong, those in use stay", "file", config.endpoints, "error", err)
				}
			})
		})
	}
	group.Go(func() error {
		defer stop()
		return server.Run(serving)
	})
	return group.Wait()
}

// tracer is nil unless --tracing is set.
func (f *eppFlags) tracer(ctx context.Context, log *slog.Logger) (*tracing.Tracer, error) {
	if !f.tracing {
		return nil, nil
	}
	// OpenTelemetry knows no other place to report a failing collector to.
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { log.Debug("tracing", "error", err) }))
	return tracing.New(ctx, tracing.Options{Version: version})
}

// tls is nil unless --secure-serving is set.
func (f *eppFlags) tls(log *slog.Logger) (c *tls.Config, err error) {
	switch {
	case !f.secure:
		return nil, nil
	case f.certPath != "":
		if c, err = epp.FileTLS(f.certPath, f.certReload, log); err != nil {
			return nil, fmt.Errorf("--cert-path: %w", err)
		}
	default:
		if c, err = epp.SelfSignedTLS(time.Now()); err != nil {
			return nil, err
		}
	}
	return c, f.more.limit(c)
}

func (f *eppFlags) serverOptions(c *eppConfig, p *epp.Picker, m *metrics.Metrics, ring *explain.Ring, tc *tls.Config, log *slog.Logger) epp.ServerOptions {
	return epp.ServerOptions{
		Picker: p, ExtProc: extproc.Options{MaxBodyBytes: f.maxBody, Scan: c.scan},
		GRPCAddr: listenAddr(f.grpcPort), TLS: tc, UnixSocket: f.grpcUDS,
		HealthAddr: listenAddr(f.healthPort), HealthOnGRPC: f.healthChecking,
		MetricsAddr: listenAddr(f.metricsPort), Pprof: f.pprof,
		MaxRecvMsgSize: int(f.maxRecv), DrainTimeout: f.drainTimeout, Metrics: m, Explain: ring, Log: log,
	}
}

// namePool gives a file's only pool the name of the flags.
func (f *eppFlags) namePool(c *file.Config) {
	if f.cluster.poolName != "" && len(c.Pools) == 1 {
		c.Pools[0].Name, c.Pools[0].Namespace = f.cluster.poolName, f.cluster.poolNamespace
	}
}

// errNoEndpoints says how to name the endpoints.
var errNoEndpoints = errors.New("where are the endpoints? Name an InferencePool with --pool-name, several with --pools or --all-pools, pods with --endpoint-selector, or a file with --endpoints-file, -f or a file-discovery plugin in --config-file")
