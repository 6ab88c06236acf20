package bench

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	// startTimeout bounds how long a child may take until it listens.
	startTimeout = 20 * time.Second
	// stopTimeout is how long a child has between SIGTERM and SIGKILL.
	stopTimeout = 5 * time.Second
	// maxTail bounds what is kept of a child's log, in bytes.
	maxTail = 4 << 10
)

// child is a process under measurement.
type child struct {
	cmd  *exec.Cmd
	log  tail
	done chan struct{} // closed when it has ended
	err  error         // how it ended, to be read after done
}

// startChild starts a program and waits until it listens on a unix socket.
func startChild(ctx context.Context, socket, path string, args ...string) (*child, error) {
	return startListening(ctx, "unix", socket, path, args...)
}

// startListening starts a program and waits until it listens.
func startListening(ctx context.Context, network, address, path string, args ...string) (*child, error) {
	c := &child{cmd: exec.Command(path, args...), done: make(chan struct{})}
	c.cmd.Stderr, c.cmd.SysProcAttr = &c.log, childAttributes()
	started := make(chan error, 1)
	go func() {
		// The kernel ties "die with the parent" to the thread that forked.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(c.done)
		err := c.cmd.Start()
		started <- err
		if err == nil {
			c.err = c.cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s %s: %w", path, strings.Join(args, " "), err)
	}
	if err := c.listens(ctx, network, address); err != nil {
		c.stop()
		return nil, err
	}
	return c, nil
}

// listens waits until the child accepts connections.
func (c *child) listens(ctx context.Context, network, address string) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		conn, err := new(net.Dialer).DialContext(ctx, network, address)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-c.done:
			return fmt.Errorf("%s ended: %w", strings.Join(c.cmd.Args, " "), c.failure())
		case <-ctx.Done():
			return fmt.Errorf("%s does not listen: %w", strings.Join(c.cmd.Args, " "), errors.Join(ctx.Err(), err))
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// failure says how the child ended, with the end of its log.
func (c *child) failure() error {
	err := c.err
	if err == nil {
		err = errors.New("exited with status 0")
	}
	if text := c.log.String(); text != "" {
		err = fmt.Errorf("%w: %s", err, text)
	}
	return err
}

func (c *child) pid() int { return c.cmd.Process.Pid }

// stop ends the child and waits for it.
func (c *child) stop() {
	_ = c.cmd.Process.Signal(syscall.SIGTERM) // fails only when it has ended
	select {
	case <-c.done:
	case <-time.After(stopTimeout):
		_ = c.cmd.Process.Kill() // as above
		<-c.done
	}
}

// tail keeps the end of what is written to it.
type tail struct {
	mu sync.Mutex
	b  []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b = append(t.b, p...)
	if n := len(t.b) - maxTail; n > 0 {
		t.b = append(t.b[:0], t.b[n:]...)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.TrimSpace(string(t.b))
}
