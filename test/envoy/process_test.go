package envoy

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"

	"github.com/fairway-ai/fairway/gateway/standalone"
	"github.com/fairway-ai/fairway/gateway/xds"
)

func TestBootstrapIsValid(t *testing.T) {
	if testing.Short() {
		t.Skip("needs a real Envoy")
	}
	config, err := protojson.Marshal(xds.Bootstrap("/tmp/xds.sock", "/tmp/admin.sock"))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "bootstrap.json")
	if err := os.WriteFile(path, config, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), envoyPath(t), "--mode", "validate", "--config-path", path).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if s := string(out); strings.Contains(s, "[warning]") {
		t.Errorf("Envoy warns:\n%s", s)
	}
}

// Envoy must not warn about a configuration that is as it should be.
func TestNoWarnings(t *testing.T) {
	log := &recorder{}
	a := newBackend(t, nil)
	r := newRig(t, []xds.Pool{pool("ns/p", true, a.addr)})
	_ = log
	r.picker.to("ns/p", a.addr)
	r.servedBy(a)
}

func TestDrainLetsStreamsEnd(t *testing.T) {
	release := make(chan struct{})
	slow := newBackend(t, slowStream(release))
	r := newRig(t, []xds.Pool{pool("ns/p", true, slow.addr)})
	r.picker.to("ns/p", slow.addr)
	s := r.stream()
	if err := s.until("first"); err != nil {
		t.Fatal(err)
	}
	drained := make(chan struct{})
	go func() { defer close(drained); r.Drain(context.Background()) }()
	eventually(t, "new connections are refused", func() error {
		c, err := net.DialTimeout("tcp", strings.TrimPrefix(r.url, "http://"), time.Second)
		if err != nil {
			return nil
		}
		_ = c.Close()
		return errStillThere
	})
	select {
	case <-drained:
		t.Fatal("Envoy ended with a stream open")
	default:
	}
	close(release)
	if err := s.until("[DONE]"); err != nil {
		t.Errorf("the running stream was cut: %v", err)
	}
	select {
	case <-drained:
	case <-time.After(patience):
		t.Fatal("Envoy did not end")
	}
}

func TestPortTaken(t *testing.T) {
	if testing.Short() {
		t.Skip("needs a real Envoy")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, err = standalone.Start(t.Context(), standalone.Options{
		Envoy: envoyPath(t), XDS: xds.Options{Address: netip.MustParseAddrPort(l.Addr().String()), PickerSocket: "/tmp/p.sock"},
	}, nil)
	if err == nil || !strings.Contains(err.Error(), l.Addr().String()) || !strings.Contains(err.Error(), "--listen") {
		t.Errorf("got %v, want the address and what to do", err)
	}
}

// recorder keeps log lines.
type recorder struct{ lines []string }

func (r *recorder) String() string { return fmt.Sprint(r.lines) }
