package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/fairway-ai/fairway/epp"
	"github.com/fairway-ai/fairway/epp/config"
	"github.com/fairway-ai/fairway/extproc"
	"github.com/fairway-ai/fairway/internal/logs"
)

// eppFlags are the flags of fairway epp: llm-d's, and a few of our own.
type eppFlags struct {
	grpcPort, healthPort, metricsPort int
	grpcUDS                           string
	cluster                           clusterFlags
	configFile, configText            string
	endpointsFile, file               string
	secure, certReload                bool
	certPath                          string
	healthChecking, metricsAuth       bool
	pprof, tracing, legacyMetrics     bool
	refreshInterval, staleness        time.Duration
	drainTimeout, maxHold             time.Duration
	emitScores, explainHeader         bool
	ignoreSubset                      bool
	maxDestinations                   int
	experimental                      bool
	more                              moreFlags
	replicas                          replicaFlags
	kv                                kvFlags
	refreshSet                        bool // --refresh-metrics-interval was given
	maxRecv                           sizeFlag
	maxBody                           int64
	log                               logFlags
}

// What flags that several commands have say in help.
const (
	drainUsage      = "longest wait for requests under way at the end"
	envoyUsage      = "`path` of the Envoy binary (default bin/envoy, then the one in $PATH)"
	explainUsage    = "answer the request header x-fairway-explain: 1 with the response header x-fairway-explanation"
	holdUsage       = "longest time a request is held for a busy endpoint (default policy only)"
	kubeconfigUsage = "`file` with the cluster's address and credentials (default $KUBECONFIG, then the pod's own)"
	logLevelUsage   = "least level of log lines"
	maxBodyUsage    = "longest request body, in bytes; longer ones are answered 413"
	pickerUsage     = "EndpointPickerConfig `file`; without one, the default policy picks"
)

// experimentalFlag allows plugins that may still change.
const (
	experimentalFlag  = "allow-experimental-plugins"
	experimentalUsage = "allow plugins of the configuration that may still change"
)

func (f *eppFlags) register(fs *pflag.FlagSet) {
	fs.IntVar(&f.grpcPort, "grpc-port", 9002, "port that Envoy calls (ext_proc); 0 for none")
	fs.IntVar(&f.healthPort, "grpc-health-port", 9003, "port of gRPC health checks; 0 for none")
	fs.IntVar(&f.metricsPort, "metrics-port", 9090, "port of /metrics, /healthz, /readyz and the decisions; 0 for none")
	fs.StringVar(&f.grpcUDS, "grpc-uds", "", "`path` of a unix socket that Envoy may call, too, without TLS")
	f.cluster.register(fs)
	fs.StringVar(&f.configFile, "config-file", "", pickerUsage)
	fs.StringVar(&f.configText, "config-text", "", "EndpointPickerConfig as `YAML`, instead of --config-file")
	fs.StringVar(&f.endpointsFile, "endpoints-file", "", "`file` that lists the endpoints; its changes are followed")
	fs.StringVarP(&f.file, "file", "f", "", "`file` with InferencePool objects and endpoints; its changes are followed")
	fs.BoolVar(&f.secure, "secure-serving", true, "serve Envoy with TLS, with a certificate made at the start unless --cert-path names one")
	fs.StringVar(&f.certPath, "cert-path", "", "`directory` of tls.crt and tls.key, to serve Envoy with")
	fs.BoolVar(&f.certReload, "enable-cert-reload", false, "read --cert-path again when its files change")
	fs.BoolVar(&f.healthChecking, "health-checking", false, "answer gRPC health checks on --grpc-port, too")
	fs.BoolVar(&f.metricsAuth, "metrics-endpoint-auth", false, "ask the cluster (TokenReview, SubjectAccessReview) who may read --metrics-port, but for /healthz and /readyz")
	fs.BoolVar(&f.pprof, "enable-pprof", false, "serve /debug/pprof on --metrics-port")
	fs.BoolVar(&f.tracing, "tracing", false, "send OpenTelemetry spans where $OTEL_EXPORTER_OTLP_ENDPOINT says")
	fs.BoolVar(&f.legacyMetrics, "enable-legacy-metrics", false, "also export metrics under the names that they had before llm-d 0.10 and in the Gateway API Inference Extension")
	fs.DurationVar(&f.refreshInterval, "refresh-metrics-interval", 100*time.Millisecond, "time between two readings of a busy endpoint's metrics; less than 50ms counts as that; idle ones are read less often")
	fs.DurationVar(&f.staleness, "metrics-staleness-threshold", 2*time.Second, "age at which an endpoint's metrics no longer count")
	fs.DurationVar(&f.drainTimeout, "drain-timeout", 30*time.Second, drainUsage)
	fs.DurationVar(&f.maxHold, "max-hold", epp.DefaultMaxHold, holdUsage+"; must not exceed the gateway's max_message_timeout")
	fs.IntVar(&f.maxDestinations, "max-destinations", 0, "how many endpoints the default policy names for a request, best first, for the gateway to try in turn, 1 to 16; without it 4 where the gateway says which endpoint served a request, and else 1")
	fs.BoolVar(&f.emitScores, "emit-endpoint-scores", false, "tell what the picker chose by: as dynamic metadata, and as x-gateway-destination-endpoint-scores on requests")
	fs.BoolVar(&f.explainHeader, "explain-header", false, explainUsage)
	fs.BoolVar(&f.ignoreSubset, "disable-endpoint-subset-filter", false, "ignore the subset of endpoints that the gateway allows")
	fs.BoolVar(&f.experimental, experimentalFlag, false, experimentalUsage)
	fs.Var(&f.maxRecv, "grpc-max-recv-msg-size", "longest gRPC message accepted, in bytes or as in 10MiB; 0 follows --max-body-bytes")
	fs.Int64Var(&f.maxBody, "max-body-bytes", extproc.DefaultMaxBodyBytes, maxBodyUsage)
	f.more.register(fs)
	f.replicas.register(fs, &f.cluster.poolNamespace)
	f.kv.register(fs)
	f.log.register(fs)
}

// options say what the configuration may use.
func (f *eppFlags) options() config.Options {
	return config.Options{Experimental: f.experimental, Gates: f.more.gates, KVEvents: f.kv.follow || f.kv.bind != ""}
}

// validate reports everything that is wrong with the flags.
func (f *eppFlags) validate(fs *pflag.FlagSet) error {
	f.refreshSet = fs.Changed("refresh-metrics-interval")
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	errs = append(errs, f.cluster.validate(f.endpointsFile != "" || f.file != "")...)
	errs = append(errs, f.more.validate(fs, f)...)
	errs = append(errs, f.replicas.validate()...)
	errs = append(errs, f.kv.validate(fs)...)
	for name, port := range map[string]int{"grpc-port": f.grpcPort, "grpc-health-port": f.healthPort, "metrics-port": f.metricsPort} {
		if port < 0 || port > math.MaxUint16 {
			bad("--%s: %d is not a port; use 1 to 65535, or 0 for none", name, port)
		}
	}
	if f.grpcPort == 0 && f.grpcUDS == "" {
		bad("--grpc-port: without a port, name a socket with --grpc-uds")
	}
	if f.configFile != "" && f.configText != "" {
		bad("--config-file and --config-text: set only one")
	}
	if f.endpointsFile != "" && f.file != "" {
		bad("--endpoints-file and -f: set only one")
	}
	if f.certPath != "" && !f.secure {
		bad("--cert-path: is of no use with --secure-serving=false")
	}
	if f.certReload && f.certPath == "" {
		bad("--enable-cert-reload: needs --cert-path")
	}
	if f.refreshInterval <= 0 {
		bad("--refresh-metrics-interval: %v must be longer than 0", f.refreshInterval)
	}
	for name, d := range map[string]time.Duration{"metrics-staleness-threshold": f.staleness, "max-hold": f.maxHold} {
		if d <= 0 {
			bad("--%s: %v must be longer than 0", name, d)
		}
	}
	if f.maxDestinations < 0 || f.maxDestinations > epp.MaxDestinations || f.maxDestinations == 0 && fs.Changed("max-destinations") {
		bad("--max-destinations: %d must be 1 to %d", f.maxDestinations, epp.MaxDestinations)
	}
	if f.drainTimeout < 0 {
		bad("--drain-timeout: %v must not be negative", f.drainTimeout)
	}
	if f.maxBody <= 0 || f.maxBody > 1<<30 {
		bad("--max-body-bytes: %d must be 1 to %d", f.maxBody, 1<<30)
	}
	return errors.Join(errs...)
}

// strayArgs accepts what Helm charts of other pickers leave behind where they write the
// value of a switch on its own: it is of no flag then.
func strayArgs(cmd *cobra.Command, args []string) error {
	for _, a := range args {
		if a != "" && a != "true" && a != "false" {
			return noArgs(cmd, []string{a})
		}
	}
	return nil
}

func listenAddr(port int) string {
	if port == 0 {
		return ""
	}
	return ":" + strconv.Itoa(port)
}

// logFlags are the flags of llm-d's logger.
type logFlags struct {
	verbosity                                int
	level, encoder, stacktraceLevel, timeEnc string
	devel                                    bool
}

func (l *logFlags) register(fs *pflag.FlagSet) {
	fs.IntVarP(&l.verbosity, "v", "v", 2, "verbosity; from 4 on, debug messages are logged")
	fs.StringVar(&l.level, "zap-log-level", "", "overrides -v; a verbosity, or a level")
	known(fs, "zap-log-level", zapLevels())
	fs.StringVar(&l.encoder, "zap-encoder", zapConsole, "format of log lines")
	known(fs, "zap-encoder", zapEncoders())
	fs.BoolVar(&l.devel, "zap-devel", false, "accepted for llm-d's sake")
	fs.StringVar(&l.stacktraceLevel, "zap-stacktrace-level", "", "`text` accepted for llm-d's sake")
	fs.StringVar(&l.timeEnc, "zap-time-encoding", "", "`text` accepted for llm-d's sake")
	for _, name := range []string{"zap-devel", "zap-stacktrace-level", "zap-time-encoding"} {
		_ = fs.MarkHidden(name) // the flag was registered above
	}
}

// Values of llm-d's logger.
const (
	zapJSON    = "json"
	zapConsole = "console"
	zapPanic   = "panic" // here, error
)

func zapEncoders() []string { return []string{zapJSON, zapConsole} }

func zapLevels() []string { return []string{"debug", "info", "error", zapPanic} }

// debugVerbosity is the verbosity at which llm-d logs debug messages.
const debugVerbosity = 4

func (l *logFlags) logger(w io.Writer) (*slog.Logger, error) {
	o := logs.Options{Level: "info"}
	if l.verbosity >= debugVerbosity {
		o.Level = "debug"
	}
	switch level := strings.ToLower(l.level); {
	case level == "":
	case level == zapPanic:
		o.Level = "error"
	case slices.Contains(zapLevels(), level):
		o.Level = level
	default:
		n, err := strconv.Atoi(level)
		if err != nil || n <= 0 {
			return nil, fmt.Errorf("--zap-log-level: %q must be %s, or a number above 0", l.level, anyOf(zapLevels()))
		}
		if o.Level = "info"; n >= debugVerbosity {
			o.Level = "debug"
		}
	}
	if !slices.Contains(zapEncoders(), l.encoder) {
		return nil, fmt.Errorf("--zap-encoder: %q must be %s", l.encoder, anyOf(zapEncoders()))
	}
	o.JSON = l.encoder == zapJSON
	return logs.New(w, o)
}
