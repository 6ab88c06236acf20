package main

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// llmdPool are the arguments that say which pool is served, as llm-d's charts write them.
const llmdPool = "--pool-name|llama|--pool-namespace|prod|--pool-group|inference.networking.k8s.io"

// llmdStandalone is the same without an InferencePool.
const llmdStandalone = "--endpoint-selector|app=vllm,env in (prod,staging)|--endpoint-target-ports|8000,8001,8001"

// llmdCases are the arguments, separated by |, that llm-d's charts and manifests of each
// version start its picker with, the configuration they mount, and how many lines of
// warnings docs/llm-d.md explains, -1 for any. CONFIG is the configuration's path.
var llmdCases = []struct {
	name, args, config string
	warnings           int
}{
	{"0.8 chart", llmdPool + "|--zap-encoder|json|--config-file|CONFIG|--v=1|--tracing=false|--metrics-endpoint-auth=false", "0.8-default", 1},
	{"0.8 chart, flags apart from values", llmdPool + "|--zap-encoder|json|--config-file|CONFIG|--v|4|--enable-pprof|true|--ha-enable-leader-election=false||--tracing=false", "0.8-default", 1},
	{"0.8 chart, two replicas", llmdPool + "|--zap-encoder|json|--config-file|CONFIG|--ha-enable-leader-election|--tracing=true", "0.8-default", 1},
	{"0.8 chart, standalone", llmdStandalone + "|--zap-encoder|json|--config-file|CONFIG|--secure-serving=false|--tracing=false", "0.8-default", 1},
	{"0.8 chart, SGLang", llmdPool + `|--total-queued-requests-metric="sglang:num_queue_reqs"|--total-running-requests-metric="sglang:num_running_reqs"|--kv-cache-usage-percentage-metric="sglang:token_usage"|--cache-info-metric="sglang:cache_config_info"|--zap-encoder|json|--config-file|CONFIG|--tracing=false`, "0.8-default", 5},
	{"0.8 chart, Triton with TensorRT-LLM", llmdPool + "|--total-queued-requests-metric|nv_trt_llm_request_metrics{request_type=waiting}|--total-running-requests-metric|nv_trt_llm_request_metrics{request_type=scheduled}|--kv-cache-usage-percentage-metric|nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type=fraction}|--lora-info-metric||--zap-encoder|json|--config-file|CONFIG|--tracing=false", "0.8-default", 5},
	{"0.8 chart, trtllm-serve", llmdPool + `|--total-queued-requests-metric="trtllm_num_requests_waiting"|--total-running-requests-metric="trtllm_num_requests_running"|--kv-cache-usage-percentage-metric="trtllm_kv_cache_utilization"|--cache-info-metric="trtllm_cache_config_info"|--model-server-metrics-path="/prometheus/metrics"|--lora-info-metric||--zap-encoder|json|--config-file|CONFIG|--tracing=false`, "0.8-default", 7},
	{"0.8 chart, Triton", llmdPool + `|--total-queued-requests-metric="nv_inference_pending_request_count"|--total-running-requests-metric="nv_inference_exec_count"|--kv-cache-usage-percentage-metric=""|--cache-info-metric=""|--lora-info-metric=""|--zap-encoder|json|--config-file|CONFIG|--tracing=false`, "0.8-default", 6},
	{"0.8 prefill and decode", llmdPool + "|--zap-encoder|json|--config-file|CONFIG|--tracing=false", "0.8-prefill-decode", 4},
	{"0.8 exact caches", llmdPool + "|--zap-encoder|json|--config-file|CONFIG|--v=4|--tracing=false", "0.8-exact", -1},
	{"0.8 manifests", "--pool-name|llama|--pool-namespace|prod|--v|4|--zap-encoder|json|--grpc-port|9002|--grpc-health-port|9003|--config-file|CONFIG|--metrics-endpoint-auth=false", "0.8-default", 1},

	{"0.9 chart", llmdPool + "|--zap-encoder|json|--config-file|CONFIG|--grpc-health-port|9003|--v=2|--tracing=false", "0.9-default", 0},
	{"0.9 chart, another engine", llmdPool + "|--zap-encoder|json|--config-file|CONFIG|--v=2|--tracing=false", "0.9-sglang", 0},
	{"0.9 chart, any body", llmdPool + "|--zap-encoder|json|--config-file|CONFIG|--v=2|--tracing=false", "0.9-payload-agnostic", 0},
	{"0.9 chart, two caches", llmdPool + "|--zap-encoder|json|--config-file|CONFIG|--v=2|--tracing=false", "0.9-two-caches", 1},
	{"0.9 chart, sticky", llmdPool + "|--zap-encoder|json|--config-file|CONFIG|--v=2|--tracing=false", "0.9-optimized", 2},
	{"0.9 exact caches", llmdPool + "|--zap-encoder|json|--config-file|CONFIG|--ha-enable-leader-election|--ha-enable-leader-election=false||--tracing=false", "0.9-exact", -1},

	{"0.10 chart", llmdPool + "|--zap-encoder|json|--config-file|CONFIG|--grpc-health-port|9003|--v=2|--tracing=true|--metrics-endpoint-auth=false", "0.9-default", 0},
	{"0.10 chart, by priority", llmdPool + "|--zap-encoder|json|--config-file|CONFIG|--grpc-health-port|9003|--health-checking=true|--v=2|--tracing=false", "0.10-optimized", 1},
	{"0.10 chart, agentgateway", llmdStandalone + "|--zap-encoder|json|--config-file|CONFIG|--grpc-health-port|9003|--secure-serving=false|--tracing=false", "0.9-default", 0},
	{"0.10 prefill and decode", llmdPool + "|--zap-encoder|json|--config-file|CONFIG|--tracing=false", "0.10-prefill-decode", 1},
	{"0.10 flow control", llmdPool + "|--zap-encoder|json|--config-file|CONFIG|--tracing=false", "0.10-flow-control", 0},
	{"0.10 exact caches", llmdPool + "|--zap-encoder|json|--config-file|CONFIG|--tracing=false", "0.10-render", -1},
	{"0.10 every flag at its default", llmdPool + "|--grpc-port=9002|--grpc-health-port=9003|--metrics-port=9090|--ha-enable-leader-election=false|--drain-timeout=30s|--grpc-max-recv-msg-size=|--grpc-max-send-msg-size=|--disable-endpoint-subset-filter=false|--emit-endpoint-scores=false|--refresh-metrics-interval=50ms|--refresh-prometheus-metrics-interval=5s|--metrics-staleness-threshold=2s|--tracing=true|--health-checking=false|--enable-pprof=true|--cert-path=|--enable-cert-reload=false|--enable-grpc-stream-metrics=false|--secure-serving=true|--tls-min-version=|--tls-cipher-suites=|--metrics-endpoint-auth=true|--metrics-client-ca-file=|--metrics-cert-dir=|--config-file=CONFIG|--config-text=|--allow-experimental-plugins=false|-v=2|--zap-devel=false|--zap-encoder=json|--zap-log-level=info|--zap-stacktrace-level=error|--zap-time-encoding=iso8601|--endpoint-selector=", "0.9-default", 0},
	{"0.10 sizes with units", llmdPool + "|--grpc-max-recv-msg-size=10MiB|--grpc-max-send-msg-size=25MB|--refresh-metrics-interval=10ms|--config-file=CONFIG", "0.9-default", 1},

	{"after 0.10", llmdPool + "|--feature-gates=flowControl=true|--fairness-id-metric-label-limit=0|--plugin-state-staleness-threshold=30m|--config-file=CONFIG|--tracing=false", "0.9-default", 0},
}

// llmdAccepts takes args and the configuration that they name as far as the endpoints.
func llmdAccepts(t *testing.T, args []string) *eppConfig {
	t.Helper()
	var f eppFlags
	cmd := newEPPCommand()
	cmd.ResetFlags()
	f.register(cmd.Flags())
	if err := cmd.ParseFlags(args); err != nil {
		t.Fatal(err)
	}
	if err := cmd.ValidateArgs(cmd.Flags().Args()); err != nil {
		t.Fatal(err)
	}
	if err := f.validate(cmd.Flags()); err != nil {
		t.Fatal(err)
	}
	c, err := f.loadConfig()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.cluster.scope(); err != nil {
		t.Error(err)
	}
	if c.policy == nil {
		t.Error("the configuration picks nothing")
	}
	return c
}

// TestLLMDDropIn: what starts llm-d's picker starts this one.
func TestLLMDDropIn(t *testing.T) {
	for _, tt := range llmdCases {
		t.Run(tt.name, func(t *testing.T) {
			file := filepath.Join("testdata", "llm-d", tt.config+".yaml")
			c := llmdAccepts(t, strings.Split(strings.ReplaceAll(tt.args, "CONFIG", file), "|"))
			if tt.warnings >= 0 && len(c.warnings) != tt.warnings {
				t.Errorf("%d warnings, want %d:\n%s", len(c.warnings), tt.warnings, strings.Join(c.warnings, "\n"))
			}
		})
	}
}

// TestLLMDMetricNames: the names that charts write in quotes are read without.
func TestLLMDMetricNames(t *testing.T) {
	c, err := parsed(t, "-f", "x", `--total-queued-requests-metric="sglang:num_queue_reqs"`, `--model-server-metrics-path="/prometheus/metrics"`, "--lora-info-metric", "").loadConfig()
	if err != nil {
		t.Fatal(err)
	}
	if got := c.pool.Scraper.URL("10.0.0.1:8000"); got != "http://10.0.0.1:8000/prometheus/metrics" {
		t.Errorf("metrics are read at %s", got)
	}
	if e, _ := c.pool.Engines.For(nil); e.Name() != flagEngine {
		t.Errorf("engine %q", e.Name())
	}
}

// TestStrayArguments: values that were written apart from their switch are left over;
// anything else is a mistake.
func TestStrayArguments(t *testing.T) {
	for args, ok := range map[string]bool{"": true, "|true|false": true, "run": false, "true|run": false} {
		if err := strayArgs(newEPPCommand(), strings.Split(args, "|")); (err == nil) != ok {
			t.Errorf("%q: %v", args, err)
		}
	}
}

// TestEveryConfigurationIsStarted: no file of testdata/llm-d is forgotten.
func TestEveryConfigurationIsStarted(t *testing.T) {
	files, err := os.ReadDir("testdata/llm-d")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		name := strings.TrimSuffix(f.Name(), ".yaml")
		if filepath.Ext(f.Name()) != ".yaml" {
			continue
		}
		if !slices.ContainsFunc(llmdCases, func(c struct {
			name, args, config string
			warnings           int
		}) bool {
			return c.config == name
		}) {
			t.Errorf("%s is in no case", f.Name())
		}
	}
}

// TestLLMDExample: the example's Deployment is started by its arguments, with the file of
// its ConfigMap.
func TestLLMDExample(t *testing.T) {
	f, err := os.Open(filepath.Join(examples, "kubernetes", "llm-d-epp.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	var args []string
	file := filepath.Join(t.TempDir(), "default-plugins.yaml")
	for d := yaml.NewDecoder(f); ; {
		var o struct {
			Kind string            `yaml:"kind"`
			Data map[string]string `yaml:"data"`
			Spec struct {
				Template struct {
					Spec struct {
						Containers []struct {
							Name string   `yaml:"name"`
							Args []string `yaml:"args"`
						} `yaml:"containers"`
					} `yaml:"spec"`
				} `yaml:"template"`
			} `yaml:"spec"`
		}
		if err := d.Decode(&o); errors.Is(err, io.EOF) {
			break
		} else if err != nil && o.Kind == "" {
			t.Fatal(err)
		}
		if text, ok := o.Data["default-plugins.yaml"]; ok {
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		for _, c := range o.Spec.Template.Spec.Containers {
			if c.Name == "epp" {
				args = c.Args
			}
		}
	}
	for i, a := range args {
		if a == "/config/default-plugins.yaml" {
			args[i] = file
		}
	}
	if c := llmdAccepts(t, args); len(c.warnings) > 0 || len(args) == 0 {
		t.Errorf("%d arguments, warnings %q", len(args), c.warnings)
	}
}
