package main

import (
	"log/slog"
	"strings"
	"testing"

	"k8s.io/client-go/rest"

	"github.com/fairway-ai/fairway/epp"
	"github.com/fairway-ai/fairway/internal/testkit"
)

// TestOpenMetricsAreTold: in a cluster, where anybody may reach the port, it is said once
// that metrics are open, unless the flags settle who may read them.
func TestOpenMetricsAreTold(t *testing.T) {
	dir := t.TempDir()
	ca, _ := authority(t, dir)
	for _, test := range []struct {
		args    string
		cluster bool
		want    int
	}{
		{"", true, 1},
		{"", false, 0},
		{"--metrics-endpoint-auth=false", true, 0},
		{"--metrics-endpoint-auth", true, 0},
		{"--metrics-port=0", true, 0},
		{"--metrics-cert-dir=" + dir, true, 1},
		{"--metrics-cert-dir=" + dir + " --metrics-client-ca-file=" + ca, true, 0},
	} {
		f := parsed(t, append(strings.Fields(test.args), "-f", "x")...)
		var log testkit.Log
		var cluster *rest.Config
		if test.cluster {
			cluster = &rest.Config{Host: "https://127.0.0.1:1"}
		}
		o := epp.ServerOptions{MetricsAddr: listenAddr(f.metricsPort)}
		if err := f.more.serveMetrics(&o, f.metricsAuth, cluster, "", slog.New(slog.NewTextHandler(&log, nil))); err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(log.String(), "/metrics is open to whoever reaches --metrics-port"); n != test.want {
			t.Errorf("%q, cluster %v: %d warnings, want %d\n%s", test.args, test.cluster, n, test.want, &log)
		}
		if (o.MetricsAuth != nil) != f.metricsAuth {
			t.Errorf("%q: who may read is not asked as the flag says", test.args)
		}
	}
}
