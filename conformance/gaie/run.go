package gaie

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"
)

// childWait is how long a child has to end after it was interrupted.
const childWait = 10 * time.Second

// Outcome is how a test ended.
type Outcome string

// The outcomes. A test that began and never ended failed.
const (
	Pass Outcome = "pass"
	Fail Outcome = "fail"
	Skip Outcome = "skip"
)

// Test is one test's result.
type Test struct {
	Name    string
	Outcome Outcome
	// Duration is as package testing measured it.
	Duration time.Duration
	// FailedSteps are the test's steps that failed.
	FailedSteps []string
	// Log is the end of what the test printed.
	Log string
}

// Result is what a run gave.
type Result struct {
	// Suite and Extra are the results of the suite's tests and of ours, in the order
	// in which they ran.
	Suite, Extra []Test
	// Problems are failures outside of any test, such as of the set-up.
	Problems []string
}

// Runner runs the tests.
type Runner struct {
	// Command starts a child that calls [Child] with its stdin.
	Command []string
	// Check, before any child starts, says why no test could run; nil finds out by
	// running them. See [CheckCluster].
	Check func(context.Context, Options) error
	// Progress gets a line when a test begins and ends, and the log of one that
	// failed; with Options.Debug, the whole log.
	Progress io.Writer
}

// Run runs the tests that o names, and returns when they ended. The error says that
// they could not be run; that tests failed is in the Result.
func (r Runner) Run(ctx context.Context, o Options) (Result, error) {
	var res Result
	// The children write there while this process does.
	r.Progress = &lockedWriter{w: r.Progress}
	if err := o.complete(); err != nil {
		return res, err
	}
	if r.Check != nil {
		if err := r.Check(ctx, o); err != nil {
			return res, err
		}
	}
	parts := o.parts()
	for i, p := range parts {
		list, problem, err := r.part(ctx, &o, p, i == len(parts)-1)
		if p == partSuite {
			res.Suite = list
		} else {
			res.Extra = list
		}
		if err != nil {
			return res, err
		}
		if problem != "" {
			res.Problems = append(res.Problems, fmt.Sprintf("%s: %s", p, problem))
		}
		if ctx.Err() != nil {
			return res, fmt.Errorf("interrupted; the suite's objects are still in the cluster: %w", ctx.Err())
		}
		if problem != "" && len(list) == 0 {
			break // the next part would only say the same once more
		}
	}
	return res, nil
}

// part runs one child.
func (r *Runner) part(ctx context.Context, o *Options, p part, last bool) (list []Test, problem string, err error) {
	stdin, err := o.order(p, last)
	if err != nil {
		return nil, "", err
	}
	cmd := exec.CommandContext(ctx, r.Command[0], r.Command[1:]...)
	cmd.Stdin = bytes.NewReader(stdin)
	cmd.Stderr = r.Progress
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = childWait
	if o.Kubeconfig != "" {
		cmd.Env = append(os.Environ(), "KUBECONFIG="+o.Kubeconfig)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, "", fmt.Errorf("starting the suite: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return nil, "", fmt.Errorf("starting the suite: %w", err)
	}
	log := r.reader(o, &list)
	readErr := log.read(out)
	waitErr := cmd.Wait()
	for _, t := range log.unfinished() {
		log.ended(t)
	}
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return list, "", nil // Run says so
	case readErr != nil:
		return list, "", fmt.Errorf("reading the suite's log: %w", readErr)
	case waitErr != nil && !errors.As(waitErr, &exit):
		return list, "", fmt.Errorf("running the suite: %w", waitErr)
	}
	return list, log.problem(list, waitErr), nil
}

// reader follows one child's log.
func (r *Runner) reader(o *Options, list *[]Test) *logReader {
	return &logReader{
		started: func(name string) {
			if o.RunTest == "" || o.RunTest == name {
				fmt.Fprintf(r.Progress, "%s  %s\n", time.Now().Format(time.TimeOnly), name)
			}
		},
		ended: func(t Test) {
			if o.RunTest != "" && t.Outcome == Skip {
				return
			}
			*list = append(*list, t)
			if t.Outcome == Fail && !o.Debug {
				fmt.Fprintf(r.Progress, "          --- log of %s\n%s\n          --- end of log\n", t.Name, t.Log)
			}
			fmt.Fprintf(r.Progress, "          %s in %s\n", t.Outcome, t.Duration.Round(time.Millisecond))
		},
		line: func(_, text string) {
			if o.Debug {
				fmt.Fprintln(r.Progress, text)
			}
		},
	}
}

// problem says what went wrong outside of tests, "" when nothing did.
func (l *logReader) problem(list []Test, exit error) string {
	failed := slices.ContainsFunc(list, func(t Test) bool { return t.Outcome == Fail })
	switch {
	case !l.rootEnded:
		return fmt.Sprintf("it ended early (%v):\n%s", exit, l.setup.String())
	case (l.rootFailed || exit != nil) && !failed:
		return "it failed outside of any test:\n" + l.setup.String()
	case len(list) == 0:
		return "no test ran"
	}
	return ""
}

// OK reports whether everything that was to run passed.
func (r *Result) OK() bool { return r.Err() == nil }

// Err sums up what did not pass. Skipped tests are failures: nothing is to be
// skipped.
func (r *Result) Err() error {
	var parts []string
	for name, list := range map[string][]Test{"of the suite": r.Suite, "of Fairway's own tests": r.Extra} {
		bad := 0
		for _, t := range list {
			if t.Outcome != Pass {
				bad++
			}
		}
		if bad > 0 {
			parts = append(parts, fmt.Sprintf("%d of %d %s did not pass", bad, len(list), name))
		}
	}
	slices.Sort(parts)
	parts = append(parts, r.Problems...)
	if len(parts) == 0 {
		return nil
	}
	return errors.New(strings.Join(parts, "; "))
}

// lockedWriter is a writer that several goroutines may use.
type lockedWriter struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *lockedWriter) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(b)
}
