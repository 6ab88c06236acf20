package main

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/client-go/rest"

	"github.com/fairway-ai/fairway/epp"
	"github.com/fairway-ai/fairway/gateway/cluster"
	"github.com/fairway-ai/fairway/internal/testkit"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

func TestPodEvents(t *testing.T) {
	got := make(chan string, 10)
	status := http.StatusCreated
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		got <- r.URL.Path + " " + string(b)
		w.Header().Set("content-type", "application/json")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, `{"apiVersion":"events.k8s.io/v1","kind":"Event"}`)
	}))
	defer api.Close()
	config := &rest.Config{Host: api.URL, ContentConfig: rest.ContentConfig{ContentType: "application/json"}}
	var log testkit.Log
	l := slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	t.Setenv("POD_NAME", "")
	if podEvents(config, l) != nil {
		t.Error("a process that is no pod tells events")
	}
	t.Setenv("POD_NAME", "epp-1")
	t.Setenv("NAMESPACE", "prod")
	if podEvents(nil, l) != nil {
		t.Error("a process without a cluster tells events")
	}
	tell := podEvents(config, l)
	tell(t.Context(), true, "fine")
	if e := <-got; !strings.HasPrefix(e, "/apis/events.k8s.io/v1/namespaces/prod/events ") || !strings.Contains(e, `"reason":"ConfigReloaded"`) || !strings.Contains(e, `"type":"Normal"`) || !strings.Contains(e, `"name":"epp-1"`) {
		t.Errorf("event %s", e)
	}
	status = http.StatusForbidden
	tell(t.Context(), false, strings.Repeat("é", maxNote))
	if e := <-got; !strings.Contains(e, `"reason":"ConfigRefused"`) || !strings.Contains(e, `"type":"Warning"`) || strings.Contains(e, "\ufffd") {
		t.Errorf("event %s", e)
	}
	if !strings.Contains(log.String(), "was not told") {
		t.Errorf("log %s", &log)
	}
}

// TestGatewayFollowsItsFile: the gateway's pools, too, have the policy of the file as it
// is now.
func TestGatewayFollowsItsFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "c.yaml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("plugins: [{type: queue-scorer}]")
	var log testkit.Log
	o := cluster.Options{Log: slog.New(slog.NewTextHandler(&log, nil))}
	f := gatewayFlags{configFile: file}
	if err := f.policy(&o); err != nil || o.Policy == nil {
		t.Fatal(err)
	}
	picker, err := epp.New(epp.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer picker.Close()
	registry := prometheus.NewRegistry()
	set := epp.NewPoolSet(epp.PoolSetOptions{Picker: picker, Policy: o.Policy})
	done := make(chan error)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	go func() { done <- o.Follow(ctx, cluster.Followed{Pools: set, Picker: picker, Registry: registry}) }()
	reloads := func(want string) func() bool {
		return func() bool {
			return testutil.GatherAndCompare(registry, strings.NewReader("# HELP fairway_config_last_reload_success 1 when the configuration file as it is now is in force, 0 when it was refused.\n# TYPE fairway_config_last_reload_success gauge\nfairway_config_last_reload_success "+want+"\n"), "fairway_config_last_reload_success") == nil
		}
	}
	eventually(t, "the file is followed", &log, reloads("1"))
	write("plugins: [{type: nonsense}]")
	eventually(t, "a bad file is refused", &log, reloads("0"))
	write("plugins: [{type: load-aware-scorer}]")
	eventually(t, "a good one is used", &log, reloads("1"))
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
