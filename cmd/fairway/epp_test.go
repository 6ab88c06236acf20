package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthgrpc "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/fairway-ai/fairway/internal/logs"
	"github.com/fairway-ai/fairway/internal/testkit"
)

func writeEndpoints(t *testing.T, path string, names ...string) {
	t.Helper()
	var b strings.Builder
	b.WriteString("endpoints:\n")
	for i, n := range names {
		fmt.Fprintf(&b, "  - {name: %s, namespace: prod, address: 127.0.0.1, port: %d}\n", n, 20100+i)
	}
	tmp := path + ".tmp"
	if err := os.WriteFile(tmp, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(tmp, path); err != nil {
		t.Fatal(err)
	}
}

func eventually(t *testing.T, what string, log fmt.Stringer, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s\n%s", what, log)
		}
	}
}

func TestEPPRunsFollowsItsFileAndStops(t *testing.T) {
	dir := t.TempDir()
	endpoints := filepath.Join(dir, "endpoints.yaml")
	writeEndpoints(t, endpoints, "a", "b")
	metricsPort, healthPort := testkit.FreePort(t), testkit.FreePort(t)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var log testkit.Log
	cmd := newEPPCommand()
	cmd.SetErr(&log)
	cmd.SetArgs([]string{
		"--endpoints-file", endpoints, "--pool-name", "llama", "--pool-namespace", "prod",
		"--grpc-port", "0", "--grpc-uds", filepath.Join(dir, "epp.sock"), "--secure-serving=false",
		"--metrics-port", fmt.Sprint(metricsPort), "--grpc-health-port", fmt.Sprint(healthPort), "--drain-timeout", "1s", "-v=4",
	})
	done := make(chan error, 1)
	go func() { done <- cmd.ExecuteContext(ctx) }()
	page := func(path string) string {
		resp, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d%s", metricsPort, path))
		if err != nil {
			return ""
		}
		defer func() { _ = resp.Body.Close() }()
		b, _ := io.ReadAll(resp.Body)
		return string(b)
	}
	eventually(t, "ready", &log, func() bool { return page("/readyz") == "ok\n" })
	queue := func(name string) string {
		return fmt.Sprintf(`llm_d_epp_per_endpoint_queue_size{model_server_endpoint="%s",name="llama"}`, name)
	}
	if got := page("/metrics"); !strings.Contains(got, queue("b")) || strings.Contains(got, "inference_pool_") {
		t.Errorf("metrics:\n%s", got)
	}
	conn, err := grpc.NewClient(fmt.Sprintf("127.0.0.1:%d", healthPort), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	h, err := healthgrpc.NewHealthClient(conn).Check(ctx, &healthgrpc.HealthCheckRequest{Service: "inference-extension"})
	if err != nil || h.Status != healthgrpc.HealthCheckResponse_SERVING {
		t.Errorf("health: %v %v", h, err)
	}

	writeEndpoints(t, endpoints, "a", "c")
	eventually(t, "the file is followed", &log, func() bool {
		got := page("/metrics")
		return strings.Contains(got, queue("c")) && !strings.Contains(got, queue("b"))
	})
	bad := filepath.Join(dir, "bad.yaml")
	if err := os.WriteFile(bad, []byte("endpoints: [{name: 7"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(bad, endpoints); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a bad file is reported", &log, func() bool { return strings.Contains(log.String(), "those in use stay") })
	if got := page("/metrics"); !strings.Contains(got, queue("c")) {
		t.Error("a bad file took the endpoints away")
	}
	stop()
	if err := <-done; err != nil {
		t.Errorf("epp: %v\n%s", err, &log)
	}
}

func TestEPPRefuses(t *testing.T) {
	dir := t.TempDir()
	good, bad := filepath.Join(dir, "good.yaml"), filepath.Join(dir, "bad.yaml")
	writeEndpoints(t, good, "a")
	if err := os.WriteFile(bad, []byte("endpoints: [{}]"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		args string
		want string
	}{
		{"", "where are the endpoints"},
		{"--endpoint-selector app=llama", "name 1 to 8"},
		{"--endpoint-selector app=llama --endpoint-target-ports 1,2,3,4,5,6,7,8,9", "name 1 to 8"},
		{"--endpoint-selector app=llama --endpoint-target-ports 4294967376", "no port"},
		{"--endpoint-selector app=(a --endpoint-target-ports 80", "--endpoint-selector"},
		{"--endpoint-target-ports 8000", "those of --endpoint-selector"},
		{"--pool-name x --pool-group x", "--pool-group: \"x\" must be"},
		{"--pool-name x --all-pools", "use only one"},
		{"--pools a/b --all-pools", "use only one"},
		{"--pools a", "namespace/name"},
		{"--pools a/b/c", "namespace/name"},
		{"--pools a/b -f x", "use only one"},
		{"--pool-name a --service-name x", "--service-name"},
		{"--ha-enable-leader-election -f x", "needs a cluster"},
		{"--ha-enable-leader-election", "where are the endpoints"},
		{"--pool-name a --kubeconfig " + filepath.Join(dir, "none"), "--kubeconfig: stat"},
		{"--pools a/b --config-text " + strings.Join(strings.Fields(`{"kind":"EndpointPickerConfig","plugins":[{"type":"file-discovery","name":"f","parameters":{"path":"x"}}],"dataLayer":{"discovery":{"pluginRef":"f"}}}`), ""), "use only one"},
		{"--grpc-port 70000", "not a port"},
		{"--grpc-port 0", "--grpc-uds"},
		{"--config-file a --config-text b", "set only one"},
		{"--endpoints-file a -f b", "set only one"},
		{"--cert-path x --secure-serving=false", "of no use"},
		{"--enable-cert-reload", "--cert-path"},
		{"--refresh-metrics-interval 0s", "longer than 0"},
		{"--grpc-max-recv-msg-size 10Qx", "is no size"},
		{"--fairness-id-metric-label-limit -1", "must be 0 to 1000"},
		{"--feature-gates flowContrl -f x", "unknown feature gate"},
		{"--metrics-staleness-threshold 0s", "longer than 0"},
		{"--max-body-bytes 0", "--max-body-bytes"},
		{"--zap-log-level loud", "--zap-log-level"},
		{"--zap-encoder xml", "--zap-encoder"},
		{"--endpoints-file " + filepath.Join(dir, "none"), "none"},
		{"--endpoints-file " + bad, "endpoints[0].name"},
		{"--endpoints-file " + good + " --cert-path " + dir, "--cert-path"},
		{"positional", "takes no arguments"},
	} {
		cmd := newEPPCommand()
		cmd.SilenceErrors, cmd.SilenceUsage = true, true
		cmd.SetErr(io.Discard)
		cmd.SetArgs(strings.Fields(tt.args))
		if err := cmd.ExecuteContext(t.Context()); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q: error %v, want one with %q", tt.args, err, tt.want)
		}
	}
}

func TestEPPTakesTheFlagsOfItsPeer(t *testing.T) {
	cmd := newEPPCommand()
	args := strings.Fields("--grpc-port=9002 --v=5 --zap-encoder=json --zap-log-level=3 --zap-devel=false --zap-time-encoding=iso8601 --zap-stacktrace-level=error --metrics-endpoint-auth=false --ha-enable-leader-election=false --pool-name=p --pool-namespace=n --tracing=false --health-checking --enable-pprof=true")
	if err := cmd.ParseFlags(args); err != nil {
		t.Fatal(err)
	}
}

func TestLogFlags(t *testing.T) {
	for _, tt := range []struct {
		l    logFlags
		want string
	}{
		{logFlags{verbosity: 2, encoder: "console"}, "info"},
		{logFlags{verbosity: 5, encoder: "json"}, "debug"},
		{logFlags{verbosity: 5, level: "error", encoder: "json"}, "error"},
		{logFlags{level: "4", encoder: "json"}, "debug"},
		{logFlags{level: "1", encoder: "json"}, "info"},
	} {
		log, err := tt.l.logger(io.Discard)
		if err != nil {
			t.Fatal(err)
		}
		want, _ := logs.New(io.Discard, logs.Options{Level: tt.want})
		for level := range 4 {
			l := []int{-4, 0, 4, 8}[level]
			if got := log.Enabled(t.Context(), slog.Level(l)); got != want.Enabled(t.Context(), slog.Level(l)) {
				t.Errorf("%+v: level %d enabled: %v", tt.l, l, got)
			}
		}
	}
}
