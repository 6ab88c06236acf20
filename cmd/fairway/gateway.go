package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"runtime/debug"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/fairway-ai/fairway/epp"
	"github.com/fairway-ai/fairway/extproc"
	"github.com/fairway-ai/fairway/gateway/cluster"
	"github.com/fairway-ai/fairway/gateway/envoygateway"
	"github.com/fairway-ai/fairway/internal/logs"
)

// gatewayFlags are the flags of fairway gateway.
type gatewayFlags struct {
	o          cluster.Options
	kubeconfig string
	configFile string
	// experimental allows its plugins that may still change.
	experimental bool
	logFormat    string
	log          logs.Options
	kv           kvFlags
}

// The values of --log-format.
const (
	logText = "text"
	logJSON = "json"
)

func newGatewayCommand() *cobra.Command {
	var f gatewayFlags
	cmd := &cobra.Command{
		Use:   "gateway",
		Short: "Run beside Envoy Gateway in a cluster: InferencePools, AIRoutes and AIBackends",
		Long: `Run Fairway beside Envoy Gateway: InferencePools become backends of HTTPRoutes, their
pods become endpoints in Envoy, and every request is placed by a picker. For a pool
without an endpointPickerRef that is this process; for any other it is the picker
the pool names, whoever made it. AIRoutes and AIBackends take requests to AI providers,
and from pools to them and back.

Install it with the Helm chart, which also tells Envoy Gateway where to call. Several
replicas serve side by side; one of them writes status.`,
		Example: `  fairway gateway --namespace fairway-system --tls-secret fairway-tls
  fairway gateway --kubeconfig ~/.kube/config --namespace default --insecure`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := errors.Join(append(f.kv.validate(cmd.Flags()), f.validate())...); err != nil {
				return err
			}
			f.log.JSON = f.logFormat == logJSON
			log, err := logs.New(cmd.ErrOrStderr(), f.log)
			if err != nil {
				return fmt.Errorf("--log-level: %w", err)
			}
			return f.run(cmd.Context(), log)
		},
	}
	f.register(cmd.Flags())
	return cmd
}

func (f *gatewayFlags) register(fs *pflag.FlagSet) {
	host, _ := os.Hostname() // empty is refused below
	o := &f.o
	fs.StringVar(&f.kubeconfig, "kubeconfig", "", kubeconfigUsage)
	fs.StringVar(&o.Namespace, "namespace", os.Getenv("POD_NAMESPACE"), "`namespace` of this process (default $POD_NAMESPACE)")
	fs.StringVar(&o.Service, "service", "fairway-gateway", "`name` of the Service by which Envoy and Envoy Gateway reach this process")
	fs.StringVar(&o.Identity, "identity", host, "`name` of this replica, unique among them")
	fs.StringVar(&o.ClusterDomain, "cluster-domain", "cluster.local", "the cluster's DNS `domain`")
	fs.StringVar(&o.GatewayController, "gateway-controller-name", "gateway.envoyproxy.io/gatewayclass-controller", "controller `name` of the GatewayClasses that Envoy Gateway serves")
	fs.IntVar(&o.GRPCPort, "grpc-port", 9002, "port that Envoy calls: ext_proc and endpoint discovery")
	fs.IntVar(&o.ExtensionPort, "extension-port", 5005, "port that Envoy Gateway calls: the translation hook")
	fs.IntVar(&o.HealthPort, "health-port", 9003, "port of gRPC health checks; 0 for none")
	fs.IntVar(&o.MetricsPort, "metrics-port", 9090, "port of /metrics, /healthz, /readyz and the decisions; 0 for none")
	fs.IntVar(&o.ReplicaPort, "replica-port", 0, "port that the other replicas call: they tell each other what they do, so that any of them can take over, or all pick at once; 0 for none")
	fs.BoolVar(&o.Spread, "active-active", false, "have Envoys ask all replicas in turn, instead of all Envoys the same one; needs --replica-port")
	fs.StringVar(&o.TLS.Secret, "tls-secret", "", "`name` of a Secret in --namespace, made and rotated by this process, that certifies it to Envoy and Envoy Gateway")
	fs.StringVar(&o.TLS.Dir, "tls-dir", "", "`directory` of tls.crt, tls.key and ca.crt, read again when they change; instead of --tls-secret")
	fs.BoolVar(&o.TLS.Insecure, "insecure", false, "serve without TLS; for development")
	fs.StringVar(&f.configFile, "config-file", "", pickerUsage)
	fs.BoolVar(&f.experimental, experimentalFlag, false, experimentalUsage)
	f.kv.register(fs)
	fs.BoolVar(&o.LeaderElect, "leader-elect", true, "let one replica of several write status")
	fs.DurationVar(&o.PickerTimeout, "picker-timeout", cluster.DefaultPickerTimeout, "longest wait for the answer of a pool's own picker")
	fs.StringSliceVar(&o.MetadataNamespaces, "picker-metadata-namespaces", nil, "`namespaces` of dynamic metadata, besides envoy.lb, that pools' own pickers may set")
	fs.BoolVar(&o.Egress.Enabled, "egress", true, "serve AIRoutes and AIBackends: requests to AI providers, and fallback between them and pools")
	fs.StringVar(&o.Egress.ProviderCA, "provider-ca-file", envoygateway.DefaultSystemCA, "`file` of certificate authorities in Envoy's container, by which providers are trusted")
	fs.StringSliceVar(&o.Egress.IdentityNamespaces, "own-identity-namespaces", nil, "`namespaces` whose AIBackends may use the identity that this process has at a cloud (default --namespace)")
	fs.StringSliceVar(&o.Egress.SecretNamespaces, "secret-namespaces", nil, "`namespaces` whose Secrets and ConfigMaps AIBackends may name (default all)")
	fs.DurationVar(&o.MaxHold, "max-hold", epp.DefaultMaxHold, holdUsage)
	fs.DurationVar(&o.DrainTimeout, "drain-timeout", 30*time.Second, drainUsage)
	fs.Int64Var(&o.MaxBodyBytes, "max-body-bytes", extproc.DefaultMaxBodyBytes, maxBodyUsage)
	fs.BoolVar(&o.ExplainHeader, "explain-header", false, explainUsage)
	fs.BoolVar(&o.Pprof, "enable-pprof", false, "serve /debug/pprof on --metrics-port")
	fs.StringVar(&f.logFormat, "log-format", logText, "format of log lines")
	oneOf(fs, "log-format", []string{logText, logJSON})
	fs.StringVar(&f.log.Level, "log-level", "info", logLevelUsage)
	known(fs, "log-level", logs.Levels())
}

// validate reports everything that is wrong with the flags.
func (f *gatewayFlags) validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	o := &f.o
	if o.Namespace == "" {
		bad("--namespace: is missing; set it, or POD_NAMESPACE in the environment, to the namespace of this process")
	}
	if o.Service == "" {
		bad("--service: must name the Service of this process")
	}
	if o.Identity == "" {
		bad("--identity: is missing, and the host has no name")
	}
	for _, p := range []struct {
		name     string
		port     int
		optional bool
	}{
		{"grpc-port", o.GRPCPort, false}, {"extension-port", o.ExtensionPort, false},
		{"health-port", o.HealthPort, true}, {"metrics-port", o.MetricsPort, true}, {"replica-port", o.ReplicaPort, true},
	} {
		if p.port < 0 || p.port > math.MaxUint16 || p.port == 0 && !p.optional {
			bad("--%s: %d is not a port; use 1 to 65535", p.name, p.port)
		}
	}
	if o.Spread && o.ReplicaPort == 0 {
		bad("--active-active: needs --replica-port: replicas that all pick must tell each other what they do")
	}
	if n := count(o.TLS.Secret != "", o.TLS.Dir != "", o.TLS.Insecure); n != 1 {
		bad("--tls-secret, --tls-dir and --insecure: set exactly one")
	}
	for name, d := range map[string]time.Duration{"picker-timeout": o.PickerTimeout, "max-hold": o.MaxHold, "drain-timeout": o.DrainTimeout} {
		if d <= 0 {
			bad("--%s: %v must be longer than 0", name, d)
		}
	}
	if o.MaxBodyBytes <= 0 || o.MaxBodyBytes > 1<<30 {
		bad("--max-body-bytes: %d must be 1 to %d", o.MaxBodyBytes, 1<<30)
	}
	return errors.Join(errs...)
}

func count(conditions ...bool) (n int) {
	for _, c := range conditions {
		if c {
			n++
		}
	}
	return n
}

// run runs the gateway until ctx ends.
func (f *gatewayFlags) run(ctx context.Context, log *slog.Logger) error {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(defaultGCPercent)
	}
	o := f.o
	useLogger(log)
	o.Log, o.Version, o.Commit = log, version, commit()
	if len(o.Egress.IdentityNamespaces) == 0 {
		o.Egress.IdentityNamespaces = []string{o.Namespace}
	}
	if err := f.policy(&o); err != nil {
		return err
	}
	var err error
	if o.Config, err = restConfig(f.kubeconfig); err != nil {
		return err
	}
	return cluster.Run(ctx, o)
}
