package envoy

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/fairway-ai/fairway/internal/testkit"
	"github.com/fairway-ai/fairway/test/realenvoy"
)

// program is a running `fairway run`.
type program struct {
	t    *testing.T
	cmd  *exec.Cmd
	out  *recorder
	url  string
	tmp  string
	done chan error
}

// binary is cmd/fairway, built when first needed and removed by TestMain.
var binary built

type built struct {
	once sync.Once
	dir  string
	err  error
}

func (b *built) build() (string, error) {
	b.once.Do(func() {
		if b.dir, b.err = os.MkdirTemp("", "fw"); b.err != nil {
			return
		}
		out, err := exec.Command("go", "build", "-o", filepath.Join(b.dir, "fairway"), "../../cmd/fairway").CombinedOutput()
		if err != nil {
			b.err = fmt.Errorf("%w\n%s", err, out)
		}
	})
	return filepath.Join(b.dir, "fairway"), b.err
}

func startProgram(t *testing.T, args ...string) *program {
	t.Helper()
	envoy, err := filepath.Abs(realenvoy.Path(t))
	if err != nil {
		t.Fatal(err)
	}
	bin, err := binary.build()
	if err != nil {
		t.Fatal(err)
	}
	listen := testkit.Refused(t)
	p := &program{t: t, out: logging(t), url: "http://" + listen, tmp: shortDir(t), done: make(chan error, 1)}
	p.cmd = exec.CommandContext(t.Context(), bin, append([]string{
		"run", "--envoy", envoy, "--listen", listen, "--admin", testkit.Refused(t), "--concurrency", "1",
	}, args...)...)
	p.cmd.Env = append(os.Environ(), "TMPDIR="+p.tmp)
	p.cmd.Stdout, p.cmd.Stderr = p.out, p.out
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { p.done <- p.cmd.Wait() }()
	eventually(t, "ready", func() error {
		if !strings.Contains(p.out.String(), `is ready" address=`) {
			return fmt.Errorf("not ready")
		}
		return nil
	})
	return p
}

func (p *program) post(body string) (int, string, error) {
	resp, err := http.Post(p.url+chat, "application/json", strings.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(data), err
}

func (p *program) signal(s os.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

// ended waits for the program's end and checks that nothing is left of it.
func (p *program) ended() {
	p.t.Helper()
	select {
	case err := <-p.done:
		if err != nil {
			p.t.Errorf("it ended with %v", err)
		}
	case <-time.After(patience):
		p.t.Fatal("it did not end")
	}
	if left, _ := os.ReadDir(p.tmp); len(left) > 0 {
		p.t.Errorf("left behind: %v", left)
	}
	out, _ := exec.Command("ps", "-eo", "args").Output()
	if bytes.Contains(out, []byte(p.tmp)) {
		p.t.Error("Envoy is left behind")
	}
}

func TestRunDrains(t *testing.T) {
	p := startProgram(t, "--sim", "2")
	long := func(tokens int) (*http.Response, error) {
		return http.Post(p.url+chat, "application/json", strings.NewReader(fmt.Sprintf(
			`{"model":"sim","stream":true,"max_tokens":%d,"messages":[{"role":"user","content":"hello"}]}`, tokens)))
	}
	resp, err := long(60)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	p.signal(os.Interrupt)
	body, err := io.ReadAll(resp.Body)
	if err != nil || !strings.HasSuffix(strings.TrimSpace(string(body)), "[DONE]") {
		t.Errorf("the running stream was cut: %v, %d bytes", err, len(body))
	}
	p.ended()
}

func TestRunStopsAtOnceWhenToldTwice(t *testing.T) {
	p := startProgram(t, "--sim", "1")
	resp, err := http.Post(p.url+chat, "application/json",
		strings.NewReader(`{"model":"sim","stream":true,"max_tokens":100000,"messages":[{"role":"user","content":"hello"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	p.signal(os.Interrupt)
	eventually(t, "it says that it stops", func() error {
		if !strings.Contains(p.out.String(), "stopping") {
			return fmt.Errorf("nothing said")
		}
		return nil
	})
	// It may not be listening for the second one yet.
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(patience)
	for {
		select {
		case err := <-p.done:
			p.done <- err
			p.ended()
			return
		case <-deadline:
			t.Fatal("it did not end")
		case <-tick.C:
			_ = p.cmd.Process.Signal(syscall.SIGINT) // fails when it has ended
		}
	}
}

func TestRunFollowsItsFile(t *testing.T) {
	a, b := newBackend(t, nil), newBackend(t, nil)
	file := filepath.Join(t.TempDir(), "fairway.yaml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file+".new", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(file+".new", file); err != nil {
			t.Fatal(err)
		}
	}
	endpoint := func(b *backend) string {
		host, port, _ := strings.Cut(b.addr, ":")
		return fmt.Sprintf("endpoints:\n  - name: e%s\n    address: %s\n    port: %q\n", port, host, port)
	}
	write(endpoint(a))
	p := startProgram(t, "-f", file)
	serves := func(want *backend) {
		t.Helper()
		n := want.requests()
		eventually(t, "served by "+want.addr, func() error {
			status, body, err := p.post(prompt)
			if err == nil && (status != 200 || want.requests() == n) {
				err = fmt.Errorf("status %d: %s", status, body)
			}
			return err
		})
	}
	serves(a)
	write(endpoint(b))
	serves(b)
	write("endpoints:\n  - name: x\n    adress: 10.0.0.1\n")
	eventually(t, "the mistake is reported", func() error {
		if !strings.Contains(p.out.String(), file+":3: endpoints[0].adress") {
			return fmt.Errorf("not reported")
		}
		return nil
	})
	serves(b)
	p.signal(syscall.SIGTERM)
	p.ended()
}
