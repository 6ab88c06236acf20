package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
	"golang.org/x/term"
	inferencev1 "sigs.k8s.io/gateway-api-inference-extension/api/v1"

	"github.com/fairway-ai/fairway/epp"
	"github.com/fairway-ai/fairway/epp/explain"
	"github.com/fairway-ai/fairway/epp/metrics"
	"github.com/fairway-ai/fairway/epp/objectives"
	"github.com/fairway-ai/fairway/epp/report"
	"github.com/fairway-ai/fairway/epp/run"
	"github.com/fairway-ai/fairway/extproc"
	"github.com/fairway-ai/fairway/gateway/standalone"
	"github.com/fairway-ai/fairway/gateway/xds"
	"github.com/fairway-ai/fairway/internal/logs"
	"github.com/fairway-ai/fairway/pool/file"
)

// runOptions are the flags of run.
type runOptions struct {
	file          string
	listen        string
	admin         string
	envoy         string
	sims          int
	simsAsked     bool // --sim was given
	model         string
	speed         float64
	failureMode   string
	explainHeader bool
	accessLog     bool
	concurrency   int
	maxBody       int64
	drainTimeout  time.Duration
	configFile    string
	experimental  bool
	kv            kvFlags
	log           logs.Options
}

func newRunCommand() *cobra.Command {
	var o runOptions
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Run Envoy, the picker, and AI providers or simulated model servers",
		Long: `Run everything on this machine: Envoy in front, the endpoint picker beside it, and
what a file names. Without -f, the AI providers that the environment configures are
served (OPENAI_API_KEY, OPENAI_BASE_URL, ANTHROPIC_API_KEY, AZURE_OPENAI_ENDPOINT,
AWS_REGION, GOOGLE_CLOUD_PROJECT, GEMINI_API_KEY, COHERE_API_KEY); without any,
simulated vLLM servers are started.

The file holds AIRoute, AIBackend, Secret and InferencePool objects, InferenceObjectives
and InferenceModelRewrites, and a list of endpoints, or just such a list. Edits are
picked up at once; a bad edit is reported, and what was there stays.

Ctrl-C lets the requests under way end; a second one does not.`,
		Example: `  fairway run
  OPENAI_API_KEY=... ANTHROPIC_API_KEY=... fairway run
  OPENAI_BASE_URL=http://localhost:11434/v1 fairway run
  fairway run -f fairway.yaml --listen 0.0.0.0:8080
  fairway run -f fairway.yaml --config-file epp-config.yaml
  fairway run --sim 3 --speed 10`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !(o.speed > 0) {
				return fmt.Errorf("--speed: %g must be greater than 0", o.speed)
			}
			o.simsAsked = cmd.Flags().Changed("sim")
			if err := errors.Join(append(o.kv.validate(cmd.Flags()), o.validate())...); err != nil {
				return err
			}
			return o.run(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	f := cmd.Flags()
	f.StringVarP(&o.file, "file", "f", "", "`file` with AIRoute, AIBackend, Secret and InferencePool objects and endpoints; its changes are followed")
	f.StringVar(&o.listen, "listen", "127.0.0.1:8080", "`address` for clients; port 0 takes a free one")
	f.StringVar(&o.admin, "admin", "127.0.0.1:9090", "`address` of metrics, health and decisions; empty for none")
	f.StringVar(&o.envoy, "envoy", "", envoyUsage)
	f.IntVar(&o.sims, "sim", 8, "number of simulated servers, 1 to 256, without a file; given, they run beside the providers that the environment configures")
	f.StringVar(&o.model, "model", "sim", "`name` of the simulated servers' model")
	f.Float64Var(&o.speed, "speed", 1, "run the simulated servers this many times as fast")
	f.StringVar(&o.failureMode, "failure-mode", string(inferencev1.EndpointPickerFailOpen), "what Envoy does with requests to the simulated servers while nobody picks")
	oneOf(f, "failure-mode", []string{string(inferencev1.EndpointPickerFailOpen), string(inferencev1.EndpointPickerFailClose)})
	f.BoolVar(&o.explainHeader, "explain-header", false, explainUsage)
	f.BoolVar(&o.accessLog, "access-log", false, "print a JSON line per request")
	f.IntVar(&o.concurrency, "concurrency", 0, "Envoy's worker threads; 0 for one per core")
	f.Int64Var(&o.maxBody, "max-body-bytes", extproc.DefaultMaxBodyBytes, maxBodyUsage)
	f.DurationVar(&o.drainTimeout, "drain-timeout", 30*time.Second, drainUsage)
	f.StringVar(&o.configFile, "config-file", "", pickerUsage)
	f.BoolVar(&o.experimental, experimentalFlag, false, experimentalUsage)
	o.kv.register(f)
	f.BoolVar(&o.log.JSON, "json", false, "log JSON lines, and draw no table")
	f.StringVar(&o.log.Level, "log-level", "info", logLevelUsage)
	known(f, "log-level", logs.Levels())
	return cmd
}

func (o *runOptions) validate() error {
	switch {
	case o.file == "" && (o.sims < 1 || o.sims > 256):
		return fmt.Errorf("--sim: %d must be 1 to 256", o.sims)
	case o.concurrency < 0:
		return fmt.Errorf("--concurrency: %d must not be negative", o.concurrency)
	case o.maxBody <= 0 || o.maxBody > 1<<30:
		return fmt.Errorf("--max-body-bytes: %d must be 1 to %d", o.maxBody, 1<<30)
	case o.drainTimeout <= 0:
		return fmt.Errorf("--drain-timeout: %v must be longer than 0", o.drainTimeout)
	}
	if _, err := netip.ParseAddrPort(o.listen); err != nil {
		return fmt.Errorf("--listen: %.60q must be an IP address and a port, as in 127.0.0.1:8080", o.listen)
	}
	if _, _, err := net.SplitHostPort(o.admin); err != nil && o.admin != "" {
		return fmt.Errorf("--admin: %.60q must be an address and a port, as in 127.0.0.1:9090, or empty for none", o.admin)
	}
	return nil
}

// run starts the parts in the order in which each needs the one before, and stops
// them in the opposite order.
func (o *runOptions) run(ctx context.Context, out, errOut io.Writer) error {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(defaultGCPercent)
	}
	screen := o.screen(out)
	if screen != nil && o.log.Level == "info" {
		o.log.Level = "warn" // the screen says what info would
	}
	log, err := logs.New(errOut, o.log)
	if err != nil {
		return fmt.Errorf("--log-level: %w", err)
	}
	say := announcer(out, log, screen != nil)
	envoy, err := standalone.FindEnvoy(o.envoy)
	if err != nil {
		return err
	}
	around, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var group errgroup.Group

	config, err := o.endpoints(ctx, around, &group, say, log)
	if err != nil {
		stop()
		return errors.Join(err, group.Wait())
	}
	ai := aiOf(config)
	ai.announce(say)
	r, err := o.start(ctx, config, envoy, log)
	if err != nil {
		stop()
		return errors.Join(err, group.Wait())
	}
	if r.picking.scrape {
		group.Go(func() error { return r.set.Run(around) })
	}
	group.Go(func() error { return r.reload.run(around) })
	if r.picking.models != nil {
		group.Go(func() error { defer stop(); return r.picking.models.Run(around) })
	}
	if r.picking.caches != nil {
		group.Go(func() error { defer stop(); return r.picking.caches.Run(around) })
	}
	group.Go(func() error { r.backends.Run(around); return nil })
	serving, stopServing := context.WithCancel(around)
	defer stopServing()
	group.Go(func() error { defer stop(); return r.server.Run(serving) })
	addr, err := r.launch(ctx, o, config)
	if err != nil {
		stopServing()
		return errors.Join(err, group.Wait(), os.RemoveAll(r.dir))
	}
	r.server.SetReady(true)
	say("Envoy "+r.gateway.EnvoyVersion()+" is ready", "address", "http://"+addr.String())
	o.welcome(out, screen, addr, config)
	if o.file != "" {
		group.Go(func() error { return fileLoader().Watch(around, o.file, r.follow(around, o.file)) })
	}
	if len(config.Pools) > 0 || screen == nil {
		group.Go(func() error { r.report(around, screen, log); return nil })
	}

	select {
	case <-ctx.Done():
	case <-around.Done(): // a listener failed
	}
	say("stopping: requests under way may end; Ctrl-C again to stop at once")
	r.drain(around)
	stopServing()
	err = group.Wait()
	return errors.Join(err, os.RemoveAll(r.dir))
}

// screen is the terminal to draw on, nil when there is none.
func (o *runOptions) screen(out io.Writer) *os.File {
	f, ok := out.(*os.File)
	if !ok || o.log.JSON || !term.IsTerminal(int(f.Fd())) {
		return nil
	}
	return f
}

// announcer tells what is starting: on the terminal in plain words, in the log
// otherwise.
func announcer(out io.Writer, log *slog.Logger, terminal bool) func(string, ...any) {
	if !terminal {
		return func(text string, args ...any) { log.Info(text, args...) }
	}
	return func(text string, args ...any) {
		for i := 1; i < len(args); i += 2 {
			text += fmt.Sprintf("  %v", args[i])
		}
		fmt.Fprintln(out, text)
	}
}

// endpoints reads the file, or looks for providers, or starts simulated servers.
func (o *runOptions) endpoints(ctx, around context.Context, group *errgroup.Group, say func(string, ...any), log *slog.Logger) (*file.Config, error) {
	if o.file == "" {
		providers := providersHere(log)
		if providers != nil && !o.simsAsked {
			return &file.Config{Other: &aiConfig{rules: providers}}, nil
		}
		say(fmt.Sprintf("starting %d simulated vLLM servers", o.sims))
		config, err := o.startSims(around, group)
		if err == nil && providers != nil {
			config.Other = &aiConfig{rules: withPool(providers, o.model, config.Pools[0].FullName())}
		}
		return config, err
	}
	config, err := fileLoader().Load(ctx, o.file)
	if err == nil {
		err = resolveAI(config)
	}
	if err != nil {
		return nil, fmt.Errorf("--file: %w", err)
	}
	for _, w := range config.Warnings {
		log.Warn(w)
	}
	return config, nil
}

// running is what run has started.
type running struct {
	set      *epp.PoolSet
	backends *backends
	ring     *explain.Ring
	metrics  *metrics.Metrics
	server   *epp.Server
	gateway  *standalone.Gateway
	dir      string
	socket   string
	envoy    string
	log      *slog.Logger
	// picking is how endpoints are picked, reload follows its file, and known are the
	// priorities and rewrites of the file of endpoints.
	picking *eppConfig
	reload  *reloader
	known   *objectives.Store

	mu     sync.Mutex
	config *file.Config // in use, guarded by mu
}

// start makes the picker and opens its listeners.
func (o *runOptions) start(ctx context.Context, config *file.Config, envoy string, log *slog.Logger) (_ *running, err error) {
	r := &running{envoy: envoy, log: log, ring: explain.NewRing(0), known: &objectives.Store{}}
	policy := eppFlags{configFile: o.configFile, experimental: o.experimental, kv: o.kv}
	if r.picking, err = policy.loadPolicy(); err != nil {
		return nil, err
	}
	for _, w := range r.picking.warnings {
		log.Warn(w)
	}
	r.picking.pool.Logger = log
	if r.dir, err = os.MkdirTemp("", "fairway-"); err != nil {
		return nil, fmt.Errorf("a folder for the picker's socket: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(r.dir))
		}
	}()
	r.socket = filepath.Join(r.dir, "picker.sock")
	r.metrics = metrics.New(metrics.Options{Commit: commit(), BuildRef: version, Process: true})
	reporter, err := report.New(r.picking.read.Report, log)
	if err != nil {
		return nil, err // a configuration that was read has none that is wrong
	}
	picker, err := epp.New(epp.Options{
		Priority: r.known.Priority, Rewrite: r.known.Rewrite, Flow: r.picking.read.FlowControl, Shed: r.picking.read.Shedder(),
		Hold: true, Metrics: r.metrics, Explain: r.ring, ExplainHeader: o.explainHeader, PoolHeader: true,
		ServedHeader: r.picking.servedHeader, Report: reporter, SessionHeaders: r.picking.read.SessionHeaders, Log: log,
	})
	if err != nil {
		return nil, err
	}
	if r.picking.caches, err = o.kv.open(r.picking, r.metrics, log); err != nil {
		return nil, err
	}
	if r.picking.models, err = run.Models(r.picking.read, log); err != nil {
		return nil, fmt.Errorf("--config-file: %w", err)
	}
	r.set = epp.NewPoolSet(epp.PoolSetOptions{
		Picker: picker, Policy: r.picking.policy, Pool: r.picking.pool, KVCache: r.picking.caches, Models: r.picking.models, Log: log,
	})
	parse := func(data []byte) (*eppConfig, error) { return policy.parsePolicy(data, o.configFile) }
	r.reload = newReloader(&policy, r.picking, r.set, picker, parse, r.metrics.Registry(), log)
	if err := r.set.Apply(config); err != nil {
		return nil, err
	}
	setObjectives(r.known, config)
	if r.backends, err = newBackends(r.metrics, log); err != nil {
		return nil, err
	}
	ai := aiOf(config)
	if err := r.backends.add(ctx, ai.rules, ai.secrets); err != nil {
		return nil, err
	}
	if err := r.backends.SetRules(ai.rules); err != nil {
		return nil, err
	}
	r.config = config
	r.server, err = epp.NewServer(epp.ServerOptions{
		Picker: picker, Wrap: r.backends.Wrap,
		ExtProc: extproc.Options{MaxBodyBytes: o.maxBody, Scan: r.picking.scan, Foreign: r.backends.Foreign()}, UnixSocket: r.socket, MetricsAddr: o.admin,
		DrainTimeout: o.drainTimeout, Metrics: r.metrics, Explain: r.ring, Log: log,
	})
	if err != nil {
		return nil, fmt.Errorf("%w (--admin chooses another address)", err)
	}
	return r, nil
}

// launch starts Envoy and returns the address it listens on.
func (r *running) launch(ctx context.Context, o *runOptions, config *file.Config) (netip.AddrPort, error) {
	listen, err := netip.ParseAddrPort(o.listen)
	if err != nil {
		return listen, fmt.Errorf("--listen: %w", err)
	}
	r.gateway, err = standalone.Start(ctx, standalone.Options{
		XDS: xds.Options{
			Address: listen, PickerSocket: r.socket, MaxBodyBytes: o.maxBody, AccessLog: o.accessLog,
			MaxMessageTimeout: max(xds.DefaultMaxMessageTimeout, epp.Patience(0, r.picking.read.FlowControl)),
		},
		Envoy: r.envoy, Concurrency: o.concurrency, DrainTimeout: o.drainTimeout, Log: r.log,
		Routing: aiOf(config).rules.Routing(),
	}, xdsPools(config))
	if err != nil {
		return listen, err
	}
	return r.gateway.Ready(ctx)
}
