package standalone

import (
	"errors"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/fairway-ai/fairway/gateway/xds"
)

// script makes an executable that stands in for Envoy.
func script(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestFindEnvoy(t *testing.T) {
	t.Chdir(t.TempDir())
	t.Setenv("FAIRWAY_ENVOY", "")
	t.Setenv("PATH", "")
	if _, err := FindEnvoy(""); err == nil || !strings.Contains(err.Error(), "make envoy") || !strings.Contains(err.Error(), "--envoy") {
		t.Errorf("nothing found: %v, want what to do", err)
	}
	find := func(given, want string) {
		t.Helper()
		if got, err := FindEnvoy(given); err != nil || got != want {
			t.Errorf("got %q, %v, want %q", got, err, want)
		}
	}
	inPath := script(t, filepath.Join(t.TempDir(), "envoy"), "")
	t.Setenv("PATH", filepath.Dir(inPath))
	find("", inPath)
	local := script(t, filepath.Join("bin", "envoy"), "")
	find("", local)
	env := script(t, filepath.Join(t.TempDir(), "any-name"), "")
	t.Setenv("FAIRWAY_ENVOY", env)
	find("", env)
	find(inPath, inPath)

	// What is named and is not there is an error, whatever else there is.
	if _, err := FindEnvoy("gone"); err == nil || !strings.Contains(err.Error(), "--envoy") {
		t.Errorf("--envoy of a missing file: %v", err)
	}
	if _, err := FindEnvoy(t.TempDir()); err == nil {
		t.Error("--envoy of a folder was accepted")
	}
	plain := filepath.Join(t.TempDir(), "envoy")
	if err := os.WriteFile(plain, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	t.Setenv("FAIRWAY_ENVOY", plain)
	if _, err := FindEnvoy(""); err == nil || !strings.Contains(err.Error(), "FAIRWAY_ENVOY") {
		t.Errorf("$FAIRWAY_ENVOY of a file that is not executable: %v", err)
	}
}

func TestCheckVersion(t *testing.T) {
	for _, tt := range []struct{ prints, want, err string }{
		{"envoy  version: 9e55/1.40.0/Clean/RELEASE/BoringSSL", "1.40.0", ""},
		{"envoy  version: 9e55/1.41.2-dev/Clean/RELEASE/BoringSSL", "1.41.2", ""},
		{"envoy  version: 9e55/2.0.0/Clean/RELEASE/BoringSSL", "2.0.0", ""},
		{"envoy  version: 9e55/1.39.3/Clean/RELEASE/BoringSSL", "", "needs 1.40"},
		{"hello", "", "is it Envoy?"},
	} {
		path := script(t, filepath.Join(t.TempDir(), "envoy"), "echo '"+tt.prints+"'")
		got, err := checkVersion(t.Context(), path)
		if got != tt.want || tt.err == "" && err != nil || tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)) {
			t.Errorf("%q: %q, %v", tt.prints, got, err)
		}
	}
	if _, err := checkVersion(t.Context(), script(t, filepath.Join(t.TempDir(), "envoy"), "exit 1")); err == nil {
		t.Error("a binary that fails was accepted")
	}
}

// Only the types that changed get a new version, and endpoints do with their
// clusters.
func TestVersions(t *testing.T) {
	c := newControl(t.Context(), slog.New(slog.DiscardHandler))
	defer c.server.Stop()
	o := xds.Options{Address: netip.MustParseAddrPort("127.0.0.1:80"), PickerSocket: "/p.sock"}
	types := []resource.Type{resource.ListenerType, resource.RouteType, resource.ClusterType, resource.EndpointType}
	var before map[resource.Type]string
	for _, tt := range []struct {
		what    string
		pool    xds.Pool
		changed []resource.Type
	}{
		{"first", xds.Pool{Name: "a/b", Endpoints: []string{"10.0.0.1:1"}}, types},
		{"nothing", xds.Pool{Name: "a/b", Endpoints: []string{"10.0.0.1:1"}}, nil},
		{"endpoint", xds.Pool{Name: "a/b", Endpoints: []string{"10.0.0.1:1", "10.0.0.2:1"}}, types[3:]},
		{"failure mode", xds.Pool{Name: "a/b", Endpoints: []string{"10.0.0.1:1", "10.0.0.2:1"}, FailOpen: true}, types[1:2]},
		{"protocol", xds.Pool{Name: "a/b", Endpoints: []string{"10.0.0.1:1", "10.0.0.2:1"}, FailOpen: true, HTTP2: true}, types[2:]},
	} {
		all, err := xds.Resources(o, []xds.Pool{tt.pool})
		if err != nil {
			t.Fatal(err)
		}
		if err := c.update(t.Context(), all); err != nil {
			t.Fatal(err)
		}
		snap, err := c.cache.GetSnapshot(xds.NodeID)
		if err != nil {
			t.Fatal(err)
		}
		now, want := map[resource.Type]string{}, map[resource.Type]bool{}
		for _, typ := range tt.changed {
			want[typ] = true
		}
		for _, typ := range types {
			now[typ] = snap.GetVersion(typ)
			if got := now[typ] != before[typ]; got != want[typ] {
				t.Errorf("%s: new version of %s is %v, want %v", tt.what, typ, got, want[typ])
			}
		}
		before = now
	}
}

func TestRefusalIsKept(t *testing.T) {
	var log strings.Builder
	c := newControl(t.Context(), slog.New(slog.NewTextHandler(&log, nil)))
	defer c.server.Stop()
	if err := c.requested(1, &discovery.DiscoveryRequest{TypeUrl: resource.ListenerType}); err != nil || c.refused() != nil {
		t.Errorf("an acknowledgement: %v, %v", err, c.refused())
	}
	refusal := new(discovery.DiscoveryRequest)
	if err := protojson.Unmarshal([]byte(`{"errorDetail":{"message":"cannot bind"}}`), refusal); err != nil {
		t.Fatal(err)
	}
	if err := c.requested(1, refusal); err != nil {
		t.Errorf("the stream was ended: %v", err)
	}
	if err := c.refused(); err == nil || !strings.Contains(err.Error(), "cannot bind") || !strings.Contains(log.String(), "cannot bind") {
		t.Errorf("got %v, logged %q", err, log.String())
	}
}

func TestEnvoyLog(t *testing.T) {
	var log strings.Builder
	p := &process{log: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))}
	p.copyLog(strings.NewReader("warning\tmain\tcareful\ncritical\tconfig\tbad\tthing\nno tabs\ninfo\tx\ty\n" +
		strings.Repeat("z", 3*maxLogLine) + "\n"))
	for _, want := range []string{
		`level=WARN msg=envoy component=main message=careful`,
		`level=ERROR msg=envoy component=config message="bad\tthing"`,
		`level=DEBUG msg=envoy line="no tabs"`,
		`level=DEBUG msg=envoy component=x message=y`,
		`zzz`,
	} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("no %s in\n%.2000s", want, log.String())
		}
	}
	p.ended = errors.New("exit status 1")
	if got := p.failure().Error(); got != "exit status 1: bad\tthing" {
		t.Errorf("failure is %q", got)
	}
	log.Reset()
	p.stopped = true
	p.copyLog(strings.NewReader("warning\tmain\tcaught SIGTERM\n"))
	if !strings.Contains(log.String(), "level=DEBUG") {
		t.Errorf("after stop: %s", log.String())
	}
}

// A process that was stopped before it started is not started.
func TestStopBeforeStart(t *testing.T) {
	p := &process{path: script(t, filepath.Join(t.TempDir(), "envoy"), "exit 0"), stdout: io.Discard, log: slog.New(slog.DiscardHandler)}
	p.stop()
	p.kill()
	if err := p.run(t.Context()); err != nil || p.failure() != nil {
		t.Errorf("run: %v, %v", err, p.failure())
	}
}
