package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	conformance "github.com/fairway-ai/fairway/conformance/epp"
	"github.com/fairway-ai/fairway/internal/testkit"
)

// noMetric are the metrics of llm-d's that there are not here; docs/metrics.md has the
// reasons. The name stands for all that begin with it.
var noMetric = []string{
	"plugin_data_scope_violations_total",
	"encoder_cache_",
	"program_aware_",
	"inference_request_metric",
	"request_predicted_", "request_ttft_prediction_", "request_tpot_prediction_", "request_slo_violation_total",
	"kv_cache_",
	"flow_control_",
}

// family is a metric as a page shows it.
type family struct {
	typ     string
	labels  []string
	buckets []float64
}

var sampleLine = regexp.MustCompile(`^([a-z0-9_]+)(?:\{(.*)\})? `)

// families reads a page of metrics in Prometheus' text format.
func families(page string) map[string]*family {
	out := map[string]*family{}
	for line := range strings.Lines(page) {
		if words := strings.Fields(line); len(words) == 4 && words[1] == "TYPE" {
			out[words[2]] = &family{typ: words[3]}
		}
		m := sampleLine.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		f := out[m[1]]
		for _, end := range []string{"_bucket", "_sum", "_count"} {
			f = cmp.Or(f, out[strings.TrimSuffix(m[1], end)])
		}
		var labels []string
		for _, l := range regexp.MustCompile(`([a-z_]+)="([^"]*)"`).FindAllStringSubmatch(m[2], -1) {
			if l[1] != "le" {
				labels = append(labels, l[1])
			} else if le, err := strconv.ParseFloat(l[2], 64); err == nil && !slices.Contains(f.buckets, le) {
				f.buckets = append(f.buckets, le)
			}
		}
		slices.Sort(labels)
		f.labels = labels
	}
	return out
}

const everyStage = `
featureGates: [flowControl]
plugins:
- {type: always-disagg-pd-decider}
- {type: disagg-profile-handler, parameters: {deciders: {prefill: always-disagg-pd-decider}}}
- {type: prefix-cache-scorer}
- {type: max-score-picker}
schedulingProfiles:
- {name: prefill, plugins: [{pluginRef: prefix-cache-scorer}, {pluginRef: max-score-picker}]}
- {name: decode, plugins: [{pluginRef: prefix-cache-scorer}, {pluginRef: max-score-picker}]}
flowControl: {maxRequests: 1000, maxBytes: 1Gi, defaultRequestTTL: 1s}
`

const someRewrite = `---
apiVersion: llm-d.ai/v1alpha2
kind: InferenceModelRewrite
metadata: {name: split, namespace: prod}
spec:
  poolRef: {name: llama}
  rules:
  - matches: [{model: {value: conformance}}]
    targets: [{modelRewrite: conformance-v1, weight: 1}]
`

// TestLLMDMetrics: what llm-d's dashboards read is there, after some traffic, under its
// names, with its labels, and with buckets that have all of its bounds.
func TestLLMDMetrics(t *testing.T) {
	dir := t.TempDir()
	pool := "endpoints:\n"
	var addresses []string
	for i := range 3 {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			switch i {
			case 0: // its metrics cannot be read
				w.WriteHeader(http.StatusNotFound)
				return
			case 1: // and these are of another engine
				fmt.Fprint(w, "sglang:num_queue_reqs 0\n")
				return
			}
			fmt.Fprint(w, "vllm:num_requests_waiting 0\nvllm:num_requests_running 0\nvllm:kv_cache_usage_perc 0\n")
		}))
		defer server.Close()
		addresses = append(addresses, server.Listener.Addr().String())
		_, port, _ := strings.Cut(addresses[i], ":")
		pool += fmt.Sprintf("- {name: server-%d, namespace: prod, address: 127.0.0.1, port: %s}\n", i, port)
	}
	file := filepath.Join(dir, "pool.yaml")
	if err := os.WriteFile(file, []byte(pool+someRewrite), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	grpcPort, metricsPort := testkit.FreePort(t), testkit.FreePort(t)
	var log testkit.Log
	cmd := newEPPCommand()
	cmd.SetErr(&log)
	cmd.SetArgs([]string{
		"--endpoints-file", file, "--pool-name", "llama", "--pool-namespace", "prod", "--config-text", everyStage, "--enable-legacy-metrics", "--secure-serving=false", "--health-checking",
		"--grpc-port", fmt.Sprint(grpcPort), "--metrics-port", fmt.Sprint(metricsPort), "--grpc-health-port", "0", "--drain-timeout", "1s",
	})
	done := make(chan error, 1)
	go func() { done <- cmd.ExecuteContext(ctx) }()
	defer func() { stop(); <-done }()
	get := func(path string) string {
		resp, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d%s", metricsPort, path))
		if err != nil {
			return ""
		}
		defer func() { _ = resp.Body.Close() }()
		b, _ := io.ReadAll(resp.Body)
		return string(b)
	}
	eventually(t, "ready", &log, func() bool { return get("/readyz") == "ok\n" })
	_, err := conformance.Run(ctx, conformance.Options{
		Target: fmt.Sprintf("127.0.0.1:%d", grpcPort), Endpoints: addresses, Run: regexp.MustCompile("^(pick|response)/"), Streams: 4,
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "failed scrapes, and the end of every stream", &log, func() bool {
		page := get("/metrics")
		return strings.Contains(page, "llm_d_epp_datalayer_poll_errors_total{") && strings.Contains(page, "llm_d_epp_datalayer_extract_errors_total{") &&
			strings.Contains(page, "\nllm_d_epp_extproc_streams_inflight 0\n")
	})
	got := families(get("/metrics"))
	for _, list := range []string{"metrics.txt", "metrics-legacy.txt"} {
		for line := range strings.Lines(readDoc(t, "testdata/llm-d/"+list)) {
			if words := strings.Fields(line); words[0] != "#" {
				compareFamily(t, words, got[words[0]])
			}
		}
	}
	doc := readDoc(t, "../../docs/metrics.md")
	for _, name := range noMetric {
		if !strings.Contains(doc, "`"+name) {
			t.Errorf("docs/metrics.md does not say why there is no %s", name)
		}
	}
}

// compareFamily compares what there is with what llm-d publishes: name, type, labels
// and buckets.
func compareFamily(t *testing.T, want []string, got *family) {
	t.Helper()
	name := want[0]
	_, ending, _ := strings.Cut(strings.TrimPrefix(name, "llm_d_router_"), "epp_")
	ending = cmp.Or(ending, strings.TrimPrefix(strings.TrimPrefix(name, "inference_extension_"), "llm_d_inference_scheduler_"))
	excepted := slices.ContainsFunc(noMetric, func(n string) bool { return strings.HasPrefix(ending, n) })
	switch labels := strings.FieldsFunc(want[2], func(r rune) bool { return strings.ContainsRune("{,}", r) }); {
	case got == nil && excepted:
	case got == nil:
		t.Errorf("there is no %s", name)
	case got.typ != want[1] || !slices.Equal(got.labels, labels):
		t.Errorf("%s is a %s with %v, want a %s with %v", name, got.typ, got.labels, want[1], labels)
	}
	for _, bound := range want[3:] {
		le, err := strconv.ParseFloat(bound, 64)
		if err != nil || got != nil && !slices.Contains(got.buckets, le) {
			t.Errorf("%s has no bucket that ends at %s, only %v", name, bound, got.buckets)
		}
	}
}
