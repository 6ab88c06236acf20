package envoy

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"

	"github.com/fairway-ai/fairway/gateway/standalone"
	"github.com/fairway-ai/fairway/gateway/xds"
	"github.com/fairway-ai/fairway/internal/testkit"
	"github.com/fairway-ai/fairway/test/realenvoy"
)

func TestBootstrapIsValid(t *testing.T) {
	path := realenvoy.Path(t)
	config, err := protojson.Marshal(xds.Bootstrap("/tmp/xds.sock", "/tmp/admin.sock"))
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "bootstrap.json")
	if err := os.WriteFile(file, config, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), path, "--mode", "validate", "--config-path", file).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

// Nothing is logged at info or above while all is well, and the access log is JSON.
func TestQuietLogAndAccessLog(t *testing.T) {
	a, b := newBackend(t, nil), newBackend(t, nil)
	r := newRig(t, []xds.Pool{pool("ns/p", true, a.addr)}, func(o *xds.Options) { o.AccessLog = true })
	r.picker.to("ns/p", a.addr)
	r.servedBy(a)
	r.update(pool("ns/p", true, a.addr), pool("ns/q", false, b.addr))
	r.picker.to("ns/q", b.addr)
	r.servedBy(b)
	r.Drain(t.Context()) // flushes the access log
	if s := r.logs.String(); s != "" {
		t.Errorf("logged:\n%s", s)
	}
	for line := range strings.Lines(r.access.String()) {
		var entry struct {
			Status         int
			Pool, Endpoint string
		}
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		if entry.Pool == "ns/q" && (entry.Status != 200 || entry.Endpoint != b.addr) {
			t.Errorf("got %s", line)
		}
	}
	if !strings.Contains(r.access.String(), `"ns/q"`) {
		t.Errorf("the access log lacks a request: %s", r.access)
	}
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
	eventually(t, "new connections are refused", func() error { return r.refuses() })
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

// refuses is nil when nobody listens.
func (r *rig) refuses() error {
	c, err := net.DialTimeout("tcp", strings.TrimPrefix(r.url, "http://"), time.Second)
	if err != nil {
		return nil
	}
	return errors.Join(errors.New("still listening"), c.Close())
}

func TestKillDoesNotWait(t *testing.T) {
	slow := newBackend(t, slowStream(nil))
	r := newRig(t, []xds.Pool{pool("ns/p", true, slow.addr)})
	r.picker.to("ns/p", slow.addr)
	if err := r.stream().until("first"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	drained := make(chan struct{})
	go func() { defer close(drained); r.Drain(ctx) }()
	eventually(t, "new connections are refused", func() error { return r.refuses() })
	cancel()
	select {
	case <-drained:
	case <-time.After(patience / 2): // the drain timeout is longer
		t.Fatal("Envoy did not end")
	}
}

func TestCrashIsFollowedByRestart(t *testing.T) {
	a := newBackend(t, nil)
	r := newRig(t, []xds.Pool{pool("ns/p", true, a.addr)}, func(o *xds.Options) {
		o.Address = netip.MustParseAddrPort(testkit.Refused(t))
	})
	r.picker.to("ns/p", a.addr)
	r.servedBy(a)
	pids := children(t, os.Getpid())
	if len(pids) != 1 {
		t.Fatalf("children are %v, want one Envoy", pids)
	}
	if err := syscall.Kill(pids[0], syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "served again", func() error {
		got, err := r.try(chat, strings.NewReader(prompt))
		if err != nil {
			return err
		}
		if now := children(t, os.Getpid()); len(now) != 1 || now[0] == pids[0] {
			return fmt.Errorf("children are %v", now)
		}
		if got.status != 200 || got.by() != a.addr {
			return fmt.Errorf("got %d by %s", got.status, got.by())
		}
		return nil
	})
	if s := r.logs.String(); !strings.Contains(s, "starting it again") {
		t.Errorf("the crash was not logged: %s", s)
	}
	r.Kill()
	if left := children(t, os.Getpid()); len(left) != 0 {
		t.Errorf("processes are left: %v", left)
	}
}

// children lists the child processes of pid.
func children(t *testing.T, pid int) (all []int) {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("needs /proc")
	}
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, task := range tasks {
		text, err := os.ReadFile(task)
		if err != nil {
			continue // the thread has ended
		}
		for _, f := range strings.Fields(string(text)) {
			child, err := strconv.Atoi(f)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, child)
		}
	}
	return all
}

// childVar makes the test binary a gateway, whose Envoy is $childVar.
const childVar = "FAIRWAY_TEST_GATEWAY"

func TestMain(m *testing.M) {
	if path := os.Getenv(childVar); path != "" {
		_, err := standalone.Start(context.Background(), standalone.Options{
			Envoy: path, Concurrency: 1, DrainTimeout: time.Second,
			XDS: xds.Options{Address: netip.MustParseAddrPort("127.0.0.1:0"), PickerSocket: "/tmp/no-picker.sock"},
		}, nil)
		fmt.Println("started", err)
		select {}
	}
	code := m.Run()
	if binary.dir != "" {
		_ = os.RemoveAll(binary.dir)
	}
	os.Exit(code)
}

// Killing the gateway leaves no Envoy behind.
func TestEnvoyDiesWithItsParent(t *testing.T) {
	path := realenvoy.Path(t)
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), childVar+"="+path, "TMPDIR="+shortDir(t))
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill() }()
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || line != "started <nil>\n" {
		t.Fatalf("%q, %v", line, err)
	}
	pids := children(t, cmd.Process.Pid)
	if len(pids) != 1 {
		t.Fatalf("children are %v, want one Envoy", pids)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	eventually(t, "Envoy's end", func() error {
		if err := syscall.Kill(pids[0], 0); !errors.Is(err, syscall.ESRCH) {
			// Where nobody reaps orphans, it stays as a zombie.
			if stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pids[0])); strings.Contains(string(stat), ") Z ") {
				return nil
			}
			return fmt.Errorf("process %d is there: %v", pids[0], err)
		}
		return nil
	})
}

// shortDir is a folder with a path that leaves room for a socket's name.
func shortDir(t *testing.T) string {
	dir, err := os.MkdirTemp("/tmp", "fw")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func TestStartFails(t *testing.T) {
	path := realenvoy.Path(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	script := filepath.Join(t.TempDir(), "envoy")
	text := "#!/bin/sh\n[ \"$1\" = --version ] && echo 'envoy  version: abc/1.40.0/Clean' && exit 0\nprintf 'critical\\tmain\\tno luck\\n' >&2\nexit 3\n"
	if err := os.WriteFile(script, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	free := netip.MustParseAddrPort("127.0.0.1:0")
	for _, tt := range []struct {
		name  string
		o     standalone.Options
		wants []string
	}{
		{"port taken", standalone.Options{Envoy: path, XDS: xds.Options{Address: netip.MustParseAddrPort(l.Addr().String())}},
			[]string{l.Addr().String(), "--listen"}},
		{"not this machine's address", standalone.Options{Envoy: path, XDS: xds.Options{Address: netip.MustParseAddrPort("192.0.2.1:0")}},
			[]string{"192.0.2.1"}},
		{"Envoy ends", standalone.Options{Envoy: script, XDS: xds.Options{Address: free}}, []string{"exit status 3", "no luck"}},
		{"not Envoy", standalone.Options{Envoy: "/bin/echo", XDS: xds.Options{Address: free}}, []string{"is it Envoy?"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := shortDir(t)
			t.Setenv("TMPDIR", dir)
			tt.o.XDS.PickerSocket = "/tmp/p.sock"
			_, err := standalone.Start(t.Context(), tt.o, nil)
			for _, want := range tt.wants {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("got %v, want %q in it", err, want)
				}
			}
			if left, _ := os.ReadDir(dir); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
			if runtime.GOOS == "linux" {
				if pids := children(t, os.Getpid()); len(pids) > 0 {
					t.Errorf("processes are left: %v", pids)
				}
			}
		})
	}
}
