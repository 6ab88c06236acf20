package main

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"time"

	"github.com/spf13/pflag"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/fairway-ai/fairway/epp"
	"github.com/fairway-ai/fairway/epp/config"
	"github.com/fairway-ai/fairway/epp/kubeauth"
	"github.com/fairway-ai/fairway/epp/metrics"
)

// moreFlags are flags of llm-d's that few need.
type moreFlags struct {
	poolMetrics   time.Duration
	streamMetrics bool
	maxSend       sizeFlag
	// fairnessIDs is how many fairness ids metrics tell apart.
	fairnessIDs int
	// gates are feature gates besides those of the configuration.
	gates []string
	// stateStaleness has no effect: what is kept of a request ends with its stream.
	stateStaleness time.Duration

	metricsCertDir, metricsClientCA string
	tlsMin                          string
	tlsCiphers                      []string

	// queued and the rest are the deprecated names of an engine's metrics.
	queued, running, kvUsage, lora, cacheInfo string
	// pagePort and the rest are the deprecated place of them.
	pagePort             int
	pagePath, pageScheme string
	pageInsecure         bool
	// given are those of the deprecated flags that were set.
	given map[string]bool
	// authSaid: --metrics-endpoint-auth was given, whichever way.
	authSaid bool
}

// Flags whose place is the EndpointPickerConfig by now.
const (
	flagQueued       = "total-queued-requests-metric"
	flagRunning      = "total-running-requests-metric"
	flagKVUsage      = "kv-cache-usage-percentage-metric"
	flagLoRA         = "lora-info-metric"
	flagCacheInfo    = "cache-info-metric"
	flagPagePort     = "model-server-metrics-port"
	flagPagePath     = "model-server-metrics-path"
	flagPageScheme   = "model-server-metrics-scheme"
	flagPageInsecure = "model-server-metrics-https-insecure-skip-verify"
)

func (m *moreFlags) register(fs *pflag.FlagSet) {
	fs.DurationVar(&m.poolMetrics, "refresh-prometheus-metrics-interval", 0, "time for which the figures of pools and endpoints on /metrics stay as they were shown; 0 for anew at each scrape")
	fs.BoolVar(&m.streamMetrics, "enable-grpc-stream-metrics", true, "export metrics of ext_proc streams")
	fs.Var(&m.maxSend, "grpc-max-send-msg-size", "longest gRPC message sent, in bytes or as in 10MiB; 0 for no bound but gRPC's own")
	fs.IntVar(&m.fairnessIDs, "fairness-id-metric-label-limit", metrics.MaxLabelValues, "how many fairness ids metrics tell apart, at most; further ones count as other")
	fs.StringSliceVar(&m.gates, "feature-gates", nil, "feature gates, as in flowControl=true; they win over those of the configuration")
	offered(fs, "feature-gates", config.FeatureGates())
	fs.DurationVar(&m.stateStaleness, "plugin-state-staleness-threshold", 0, "accepted for llm-d's sake")
	_ = fs.MarkHidden("plugin-state-staleness-threshold") // the flag was registered above
	fs.StringVar(&m.metricsCertDir, "metrics-cert-dir", "", "`directory` of tls.crt and tls.key to serve --metrics-port with TLS; read again when they change")
	fs.StringVar(&m.metricsClientCA, "metrics-client-ca-file", "", "PEM `file` of authorities that clients of --metrics-port must have a certificate of; needs --metrics-cert-dir")
	fs.StringVar(&m.tlsMin, "tls-min-version", "VersionTLS12", "least TLS version of --grpc-port and --metrics-port")
	known(fs, "tls-min-version", epp.TLSVersions())
	fs.StringSliceVar(&m.tlsCiphers, "tls-cipher-suites", nil, "TLS 1.2 cipher suites of --grpc-port and --metrics-port by their IANA names (default Go's choice)")
	offered(fs, "tls-cipher-suites", epp.CipherSuiteNames())

	fs.StringVar(&m.queued, flagQueued, "vllm:num_requests_waiting", "`series` of waiting requests")
	fs.StringVar(&m.running, flagRunning, "vllm:num_requests_running", "`series` of running requests")
	fs.StringVar(&m.kvUsage, flagKVUsage, "vllm:kv_cache_usage_perc", "`series` of the share of KV cache in use")
	fs.StringVar(&m.lora, flagLoRA, "vllm:lora_requests_info", "`series` of LoRA adapters")
	fs.StringVar(&m.cacheInfo, flagCacheInfo, "vllm:cache_config_info", "`series` of the KV cache's size")
	fs.IntVar(&m.pagePort, flagPagePort, 0, "port of the endpoints' metrics; 0 for the endpoint's own")
	fs.StringVar(&m.pagePath, flagPagePath, "/metrics", "path of the endpoints' metrics `page`")
	fs.StringVar(&m.pageScheme, flagPageScheme, "http", "scheme of the endpoints' metrics page")
	known(fs, flagPageScheme, config.Schemes())
	fs.BoolVar(&m.pageInsecure, flagPageInsecure, true, "accept any certificate")
	for _, name := range metricNameFlags() {
		_ = fs.MarkHidden(name) // the flag was registered above
	}
}

// metricNameFlags are the deprecated flags.
func metricNameFlags() []string {
	return []string{flagQueued, flagRunning, flagKVUsage, flagLoRA, flagCacheInfo, flagPagePort, flagPagePath, flagPageScheme, flagPageInsecure}
}

// validate reports everything that is wrong.
func (m *moreFlags) validate(fs *pflag.FlagSet, f *eppFlags) []error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	m.given, m.authSaid = map[string]bool{}, fs.Changed("metrics-endpoint-auth")
	for _, name := range metricNameFlags() {
		if fs.Changed(name) {
			m.given[name] = true
		}
	}
	if m.poolMetrics < 0 {
		bad("--refresh-prometheus-metrics-interval: %v must not be negative", m.poolMetrics)
	}
	if m.fairnessIDs < 0 || m.fairnessIDs > metrics.MaxLabelValues {
		bad("--fairness-id-metric-label-limit: %d must be 0 to %d", m.fairnessIDs, metrics.MaxLabelValues)
	}
	if m.metricsClientCA != "" && m.metricsCertDir == "" {
		bad("--metrics-client-ca-file: needs --metrics-cert-dir: clients have certificates only with TLS")
	}
	for name, set := range map[string]bool{"metrics-cert-dir": m.metricsCertDir != "", "metrics-endpoint-auth": f.metricsAuth} {
		if set && f.metricsPort == 0 {
			bad("--%s: is of no use with --metrics-port=0", name)
		}
	}
	if m.tlsMin == "" {
		m.tlsMin = "VersionTLS12"
	}
	version, err := epp.MinTLSVersion(m.tlsMin)
	if err != nil {
		bad("--tls-min-version: %w", err)
	}
	if _, err := epp.CipherSuites(m.tlsCiphers); err != nil {
		bad("--tls-cipher-suites: %w", err)
	}
	if len(m.tlsCiphers) > 0 && version == tls.VersionTLS13 {
		bad("--tls-cipher-suites: are those of TLS 1.2, which --tls-min-version=%s excludes; leave them out", m.tlsMin)
	}
	if !f.secure && m.metricsCertDir == "" && (len(m.tlsCiphers) > 0 || fs.Changed("tls-min-version")) {
		bad("--tls-min-version and --tls-cipher-suites: are of no use with --secure-serving=false")
	}
	return errs
}

// fairnessLimit is --fairness-id-metric-label-limit as metrics want it.
func (m *moreFlags) fairnessLimit() int {
	if m.fairnessIDs == 0 {
		return -1
	}
	return m.fairnessIDs
}

// limit sets what the flags say of TLS. They were validated.
func (m *moreFlags) limit(c *tls.Config) (err error) {
	if c == nil || m.tlsMin == "" {
		return nil
	}
	if c.MinVersion, err = epp.MinTLSVersion(m.tlsMin); err == nil {
		c.CipherSuites, err = epp.CipherSuites(m.tlsCiphers)
	}
	return err
}

// serveMetrics says how the metrics port is served: with which TLS, and who may read
// it. cluster is where the endpoints come from, nil for a file.
func (m *moreFlags) serveMetrics(o *epp.ServerOptions, auth bool, cluster *rest.Config, kubeconfig string, log *slog.Logger) error {
	o.MaxSendMsgSize = int(m.maxSend)
	if m.metricsCertDir != "" {
		c, err := epp.FileTLS(m.metricsCertDir, true, log)
		if err != nil {
			return fmt.Errorf("--metrics-cert-dir: %w", err)
		}
		if m.metricsClientCA != "" {
			if err := epp.ClientCA(c, m.metricsClientCA); err != nil {
				return fmt.Errorf("--metrics-client-ca-file: %w", err)
			}
		}
		if err := m.limit(c); err != nil {
			return err
		}
		o.MetricsTLS = c
	}
	if !auth {
		if cluster != nil && o.MetricsAddr != "" && m.metricsClientCA == "" && !m.authSaid {
			log.Warn("/metrics is open to whoever reaches --metrics-port: have the cluster say who may read it with --metrics-endpoint-auth")
		}
		return nil
	}
	if cluster == nil {
		var err error
		if cluster, err = restConfig(kubeconfig); err != nil {
			return fmt.Errorf("--metrics-endpoint-auth: asks a cluster: %w", err)
		}
	}
	client, err := kubernetes.NewForConfig(cluster)
	if err != nil {
		return fmt.Errorf("--metrics-endpoint-auth: %w", err)
	}
	if m.metricsCertDir == "" {
		log.Warn("tokens of those who read metrics cross the network as they are: serve them with TLS, see --metrics-cert-dir")
	}
	filter := kubeauth.New(client, []string{"/healthz", "/readyz"}, log, nil)
	o.MetricsAuth = func(h http.Handler) http.Handler { return filter.Wrap(h) }
	return nil
}

// flagEngine is the engine whose metrics the deprecated flags name.
const flagEngine = "flags"

// metrics puts what the deprecated flags say in the place of what a configuration
// leaves open, and warns of them.
func (m *moreFlags) metrics(c *config.Metrics, warn func(string)) {
	for name := range m.given {
		warn(fmt.Sprintf("--%s is deprecated: use the plugins metrics-data-source and core-metrics-extractor in --config-file", name))
	}
	if m.given[flagQueued] || m.given[flagRunning] || m.given[flagKVUsage] || m.given[flagLoRA] || m.given[flagCacheInfo] {
		if c.Engines.DefaultEngine == "" {
			c.Engines.DefaultEngine = flagEngine
			c.Engines.EngineConfigs = append(c.Engines.EngineConfigs[:len(c.Engines.EngineConfigs):len(c.Engines.EngineConfigs)], config.EngineConfig{
				Name: flagEngine, QueuedRequestsSpec: unquoted(m.queued), RunningRequestsSpec: unquoted(m.running),
				KVUsageSpec: unquoted(m.kvUsage), LoRASpec: unquoted(m.lora), CacheInfoSpec: unquoted(m.cacheInfo),
			})
		} else {
			warn("the flags that name metrics are ignored: the configuration names a defaultEngine")
		}
	}
	if m.given[flagPagePort] {
		c.Source.Port = m.pagePort
	}
	if m.given[flagPagePath] {
		c.Source.Path = unquoted(m.pagePath)
	}
	if m.given[flagPageScheme] {
		c.Source.Scheme = m.pageScheme
	}
	if m.given[flagPageInsecure] {
		c.Source.InsecureSkipVerify = m.pageInsecure
	}
}

// unquoted is a value without the quotes that charts write around it and no shell
// takes off.
func unquoted(s string) string {
	if n := len(s); n >= 2 && s[0] == '"' && s[n-1] == '"' {
		return s[1 : n-1]
	}
	return s
}

// podName is the name of this process's pod, "" outside of a cluster.
func podName() string { return os.Getenv("POD_NAME") }
