package fire

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/fairway-ai/fairway/gateway/xds"
	"github.com/fairway-ai/fairway/test/realenvoy"
)

// program is a running `fairway run`.
type program struct {
	t     *testing.T
	cmd   *exec.Cmd
	out   *output
	url   string
	admin string // URL
	tmp   string
	ended chan error
}

// newProgram prepares `fairway run` on free ports.
func newProgram(t *testing.T, args ...string) *program {
	t.Helper()
	listen, admin := "127.0.0.1:"+freePort(t), "127.0.0.1:"+freePort(t)
	args = append([]string{"run", "--envoy", realenvoy.Path(t), "--listen", listen, "--admin", admin, "--concurrency", "1"}, args...)
	p := &program{
		t: t, cmd: exec.Command(fairwayPath, args...), out: newOutput(t, "fairway run"),
		url: "http://" + listen, admin: "http://" + admin, tmp: shortDir(t), ended: make(chan error, 1),
	}
	p.cmd.Env = append(os.Environ(), "TMPDIR="+p.tmp)
	p.cmd.Stdout, p.cmd.Stderr = p.out, p.out
	return p
}

// run starts `fairway run` and waits until it serves.
func run(t *testing.T, args ...string) *program {
	t.Helper()
	p := newProgram(t, args...)
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.cmd.Process.Kill() }) // fails when it has ended
	go func() { p.ended <- p.cmd.Wait() }()
	p.out.says(t, "is ready")
	return p
}

func (p *program) signal(s os.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

// children are the processes it has started and that run.
func (p *program) children() (pids []int) {
	p.t.Helper()
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", p.cmd.Process.Pid))
	if err != nil || len(tasks) == 0 {
		p.t.Skipf("needs /proc: %v", err)
	}
	for _, task := range tasks {
		text, _ := os.ReadFile(task) // a thread may end
		for _, field := range strings.Fields(string(text)) {
			pid, err := strconv.Atoi(field)
			if err != nil {
				p.t.Fatal(err)
			}
			if running(pid) == nil {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

// envoy is the process ID of its only child.
func (p *program) envoy() int {
	p.t.Helper()
	pids := p.children()
	if len(pids) != 1 {
		p.t.Fatalf("the processes started are %v, want one Envoy", pids)
	}
	return pids[0]
}

// gone waits for the end of a process.
func gone(t *testing.T, pid int) {
	t.Helper()
	eventually(t, fmt.Sprintf("process %d ends", pid), func() error {
		if running(pid) == nil {
			return errors.New("it runs")
		}
		return nil
	})
}

// nothingLeft checks that no file is left where it keeps them.
func (p *program) nothingLeft() {
	p.t.Helper()
	left, err := os.ReadDir(p.tmp)
	if err != nil || len(left) > 0 {
		p.t.Errorf("left behind: %v, %v", left, err)
	}
}

// Asked to end, by Ctrl-C or otherwise, it lets streams end and leaves nothing behind.
func TestRunDrains(t *testing.T) {
	for _, signal := range []os.Signal{os.Interrupt, syscall.SIGTERM} {
		t.Run(signal.String(), func(t *testing.T) {
			p := run(t, "--sim", "2", "--speed", "4")
			envoy := p.envoy()
			const tokens = 250 // about a second
			var streams []*stream
			for i := range 8 {
				streams = append(streams, open(t, p.url, question(fmt.Sprint("question ", i), true, tokens)))
			}
			p.signal(signal)
			p.out.says(t, "stopping")
			eventually(t, "new requests are refused", func() error {
				if c, err := net.Dial("tcp", strings.TrimPrefix(p.url, "http://")); err == nil {
					c.Close()
					return errors.New("it listens")
				}
				return nil
			})
			for i, s := range streams {
				a, err := s.rest()
				if err == nil {
					err = a.complete(tokens)
				}
				if err != nil {
					t.Errorf("stream %d: %v", i, err)
				}
			}
			if err := soon(t, "it ends", p.ended); err != nil {
				t.Errorf("it ended with: %v", err)
			}
			if running(envoy) == nil {
				t.Error("Envoy is left behind")
			}
			p.nothingLeft()
		})
	}
}

// Killed, it takes Envoy with it.
func TestRunKilled(t *testing.T) {
	p := run(t, "--sim", "1")
	envoy := p.envoy()
	open(t, p.url, question("go on", true, 100_000))
	p.signal(syscall.SIGKILL)
	_ = soon(t, "it ends", p.ended) // it was killed
	gone(t, envoy)
}

// Envoy killed is started again, and serves as before.
func TestRunEnvoyKilled(t *testing.T) {
	p := run(t, "--sim", "2", "--speed", "10")
	served := func() error {
		_, err := ask(http.DefaultClient, p.url, "hello", 5)
		return err
	}
	if err := served(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		old := p.envoy()
		cut := open(t, p.url, question("go on", true, 100_000))
		if err := syscall.Kill(old, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		if _, err := cut.rest(); err == nil {
			t.Error("the stream of a killed Envoy ended well")
		}
		gone(t, old)
		eventually(t, "served again", served)
		if now := p.envoy(); now == old {
			t.Errorf("Envoy is process %d still", now)
		}
	}
	if !strings.Contains(p.out.String(), "starting it again") {
		t.Error("the crash was not logged")
	}
	idleAt(t, p.admin)
	l := newLoad(t, p.url, 4, 5)
	l.more(t, 40)
	l.allWell(t)
	p.signal(os.Interrupt)
	if err := soon(t, "it ends", p.ended); err != nil {
		t.Errorf("it ended with: %v", err)
	}
	p.nothingLeft()
}

// Endpoints come and go with the file, without a restart and without a lost request; a
// file with a mistake changes nothing.
func TestRunFollowsItsFile(t *testing.T) {
	a, b := answering(t, short), answering(t, short)
	file := filepath.Join(t.TempDir(), "fairway.yaml")
	write := func(servers ...*modelServer) {
		t.Helper()
		text := "endpoints:\n"
		for i, s := range servers {
			text += endpointLine(i, s.addr)
		}
		writeFile(t, file, text)
	}
	write(a)
	p := run(t, "-f", file)
	envoy := p.envoy()
	l := newLoad(t, p.url, 8, 5)
	serves := func(s *modelServer) {
		t.Helper()
		n := s.posts.Load()
		eventually(t, s.addr+" serves", func() error {
			if s.posts.Load() < n+20 {
				return errors.New("it does not")
			}
			return nil
		})
	}
	rests := func(s *modelServer) {
		t.Helper()
		eventually(t, s.addr+" gets no more", func() error {
			n := s.posts.Load()
			l.more(t, 40)
			if s.posts.Load() > n {
				return errors.New("it does")
			}
			return nil
		})
	}
	serves(a)
	write(a, b)
	serves(a)
	serves(b)
	write(b)
	rests(a)
	serves(b)
	writeFile(t, file, "endpoints:\n- {name: e0, address: 127.0.0.1, port: \"8000\"}\n- name: x\n  adress: 10.0.0.1\n")
	p.out.says(t, file+":4: ")
	if !strings.Contains(p.out.String(), "adress") {
		t.Error("the field that is wrong is not named")
	}
	serves(b)
	rests(a)
	write(a, b)
	serves(a)
	l.allWell(t)
	if now := p.envoy(); now != envoy {
		t.Error("Envoy was started anew for an edit")
	}
	p.signal(os.Interrupt)
	if err := soon(t, "it ends", p.ended); err != nil {
		t.Errorf("it ended with: %v", err)
	}
	p.nothingLeft()
}

// What cannot start says why, in words that help, with exit code 1, and leaves nothing
// behind.
func TestRunCannotStart(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	wrong := filepath.Join(t.TempDir(), "fairway.yaml")
	writeFile(t, wrong, "endpoints:\n- name: x\n  adress: 10.0.0.1\n")
	for _, tt := range []struct {
		name string
		args []string
		want []string
	}{
		{"port for clients taken", []string{"--listen", taken.Addr().String()}, []string{taken.Addr().String(), "address already in use", "--listen"}},
		{"port for metrics taken", []string{"--admin", taken.Addr().String()}, []string{taken.Addr().String(), "address already in use", "--admin"}},
		{"no such file", []string{"-f", "missing.yaml"}, []string{"missing.yaml"}},
		{"a mistake in the file", []string{"-f", wrong}, []string{wrong + ":3: ", "adress"}},
		{"not Envoy", []string{"--envoy", "/bin/echo"}, []string{"/bin/echo", "is it Envoy?"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newProgram(t, append([]string{"--sim", "1"}, tt.args...)...)
			err := p.cmd.Run()
			var exit *exec.ExitError
			if !errors.As(err, &exit) || exit.ExitCode() != 1 {
				t.Errorf("it ended with %v, want exit code 1", err)
			}
			for _, want := range tt.want {
				if !strings.Contains(p.out.String(), want) {
					t.Errorf("it did not say %q:\n%s", want, p.out)
				}
			}
			if strings.Contains(p.out.String(), "goroutine ") || strings.Contains(p.out.String(), "Usage:") {
				t.Errorf("it said too much:\n%s", p.out)
			}
			p.nothingLeft()
		})
	}
}

// The port that another picker has is an error, too, and its socket is not stolen.
func TestPickerPortsTaken(t *testing.T) {
	a := answering(t, short)
	r := newRig(t, xds.Pool{FailOpen: true}, a.addr)
	second := exec.Command(fairwayPath, "epp", "-f", r.file(), "--grpc-uds", r.socket(), "--grpc-port", "0",
		"--grpc-health-port", "0", "--metrics-port", "0")
	out, err := second.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 1 || !strings.Contains(string(out), r.socket()) {
		t.Errorf("a second picker on the socket ended with %v: %s", err, out)
	}
	if _, err := ask(http.DefaultClient, r.url, "hello", 5); err != nil {
		t.Error(err)
	}
	r.picks(1)
}
