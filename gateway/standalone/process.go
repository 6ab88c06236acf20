package standalone

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	firstBackoff = 100 * time.Millisecond
	maxBackoff   = 10 * time.Second
	// steady is how long Envoy must have run for its next crash to be a first one.
	steady = time.Minute
	// killAfter is how long Envoy has between SIGTERM and SIGKILL.
	killAfter = 5 * time.Second
	// maxLogLine bounds a line of Envoy's log.
	maxLogLine = 64 << 10
)

// process supervises Envoy: a crash is followed by a restart, later and later.
type process struct {
	path        string
	bootstrap   string
	concurrency int
	stdout      io.Writer // the access log
	log         *slog.Logger

	mu      sync.Mutex
	cmd     *exec.Cmd // the running process, guarded by mu
	stopped bool      // no more restarts, guarded by mu
	ended   error     // how the process ended the last time, guarded by mu
	lastLog string    // its last line of log at level error, guarded by mu
}

// failure says how the process ended, nil when it has not so far.
func (p *process) failure() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended == nil || p.lastLog == "" {
		return p.ended
	}
	return fmt.Errorf("%w: %s", p.ended, p.lastLog)
}

func (p *process) args() []string {
	args := []string{
		"--config-path", p.bootstrap, "--disable-hot-restart",
		"--log-level", "warning", "--log-format", "%l\t%n\t%v",
		// It warns about every request that the picker does not answer.
		"--component-log-level", "ext_proc:error",
		"--drain-time-s", "5", "--drain-strategy", "immediate",
	}
	if p.concurrency > 0 {
		args = append(args, "--concurrency", strconv.Itoa(p.concurrency))
	}
	return args
}

// run keeps Envoy running until stop is called or ctx ends.
func (p *process) run(ctx context.Context) error {
	// The kernel ties "die with the parent" to the thread that forked.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	backoff := firstBackoff
	for {
		started := time.Now()
		err := p.once()
		p.mu.Lock()
		stopped := p.stopped
		p.ended = err
		p.mu.Unlock()
		if stopped || ctx.Err() != nil {
			return nil
		}
		if time.Since(started) > steady {
			backoff = firstBackoff
		}
		p.log.Error("Envoy ended; starting it again", "error", err, "in", backoff)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(backoff):
		}
		backoff = min(2*backoff, maxBackoff)
	}
}

// once starts Envoy and waits for its end.
func (p *process) once() error {
	cmd := exec.Command(p.path, p.args()...)
	cmd.SysProcAttr = childAttributes()
	logs, err := cmd.StderrPipe()
	if err != nil {
		return fmt.Errorf("envoy's log: %w", err)
	}
	cmd.Stdout = p.stdout
	p.mu.Lock()
	if p.stopped {
		p.mu.Unlock()
		return nil
	}
	if err := cmd.Start(); err != nil {
		p.mu.Unlock()
		return fmt.Errorf("start envoy: %w", err)
	}
	p.cmd = cmd
	p.mu.Unlock()
	p.copyLog(logs)
	err = cmd.Wait()
	p.mu.Lock()
	p.cmd = nil
	p.mu.Unlock()
	if err == nil {
		return fmt.Errorf("exited with status 0")
	}
	return err
}

// pid is the process's ID, 0 when none runs.
func (p *process) pid() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return 0
	}
	return p.cmd.Process.Pid
}

// copyLog passes Envoy's log on, until the process closes it.
func (p *process) copyLog(in io.Reader) {
	lines := bufio.NewReaderSize(in, maxLogLine)
	for {
		line, _, err := lines.ReadLine()
		if err != nil {
			return
		}
		level, rest, ok := strings.Cut(string(line), "\t")
		if !ok {
			p.log.Debug("envoy", "line", string(line))
			continue
		}
		component, message, _ := strings.Cut(rest, "\t")
		p.log.Log(context.Background(), p.logged(level, message), "envoy", "component", component, "message", message)
	}
}

// logged notes a line and returns the level to log it at: what an Envoy says that
// was told to end is of no interest.
func (p *process) logged(envoyLevel, message string) slog.Level {
	level := logLevel(envoyLevel)
	p.mu.Lock()
	defer p.mu.Unlock()
	if level == slog.LevelError {
		p.lastLog = message
	}
	if p.stopped {
		return slog.LevelDebug
	}
	return level
}

func logLevel(envoy string) slog.Level {
	switch envoy {
	case "critical", "error":
		return slog.LevelError
	case "warning":
		return slog.LevelWarn
	}
	return slog.LevelDebug
}

// stop ends Envoy for good: SIGTERM, and SIGKILL for one that does not listen.
func (p *process) stop() {
	p.mu.Lock()
	p.stopped = true
	cmd := p.cmd
	p.mu.Unlock()
	if cmd == nil {
		return
	}
	_ = cmd.Process.Signal(syscall.SIGTERM) // fails only when it has ended
	deadline := time.After(killAfter)
	for {
		p.mu.Lock()
		ended := p.cmd == nil
		p.mu.Unlock()
		if ended {
			return
		}
		select {
		case <-deadline:
			_ = cmd.Process.Kill() // as above
			deadline = nil
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// kill ends Envoy at once.
func (p *process) kill() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stopped = true
	if p.cmd != nil {
		_ = p.cmd.Process.Kill() // fails only when it has ended
	}
}
