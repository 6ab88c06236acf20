package epp

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/grpc"
	healthgrpc "google.golang.org/grpc/health/grpc_health_v1"
)

// Reporter is told how it goes.
type Reporter interface {
	// Done reports a case's result, in the order of [Cases].
	Done(Result)
}

// Run judges the picker at o.Target and tells reporter, which may be nil, as it
// goes. It returns an error when the options are wrong or nobody answers; what the
// picker does wrong is in the report. When ctx ends, the rest is reported as
// skipped.
func Run(ctx context.Context, o Options, reporter Reporter) (Report, error) {
	return run(ctx, o, Cases(), reporter)
}

func run(ctx context.Context, o Options, cases []Case, reporter Reporter) (Report, error) {
	endpoints, err := o.complete()
	if err != nil {
		return Report{}, err
	}
	s := &session{o: o, endpoints: endpoints, given: len(endpoints) > 0}
	conn, err := dial(o.Target, o.TLS)
	if err != nil {
		return Report{}, fmt.Errorf("target %s: %w", o.Target, err)
	}
	defer func() { _ = conn.Close() }()
	if err := connect(ctx, conn, &o); err != nil {
		return Report{}, err
	}
	s.client = extprocv3.NewExternalProcessorClient(conn)
	health := conn
	if o.HealthTarget != "" {
		if health, err = dial(o.HealthTarget, nil); err != nil {
			return Report{}, fmt.Errorf("health target %s: %w", o.HealthTarget, err)
		}
		defer func() { _ = health.Close() }()
	}
	s.health = healthgrpc.NewHealthClient(health)

	report := Report{Target: o.Target, Model: o.Model, Started: time.Now().UTC().Truncate(time.Second)}
	for _, c := range cases {
		if o.Run != nil && !o.Run.MatchString(c.ID) {
			continue
		}
		r := s.judge(ctx, c)
		report.add(r)
		if reporter != nil {
			reporter.Done(r)
		}
	}
	for _, e := range s.endpoints {
		report.Endpoints = append(report.Endpoints, e.String())
	}
	return report, nil
}

// session is one run.
type session struct {
	o      Options
	client extprocv3.ExternalProcessorClient
	health healthgrpc.HealthClient

	given     bool // the endpoints were, by the options
	endpoints []netip.AddrPort
	learnOnce sync.Once

	requests atomic.Uint64 // numbers requests, so that no two are alike
}

// judge runs a case.
func (s *session) judge(ctx context.Context, c Case) Result {
	r := Result{Case: c, Status: Passed}
	start := time.Now()
	if ctx.Err() != nil {
		r.Status, r.Reason = Skipped, "interrupted"
		return r
	}
	if c.learns {
		s.learn(ctx)
	}
	// Answers are waited for by o.Timeout; a case with many of them may take
	// longer, though not without end.
	caseCtx, cancel := context.WithTimeout(ctx, 6*s.o.Timeout)
	defer cancel()
	err := c.run(caseCtx, s)
	r.Seconds = time.Since(start).Seconds()
	var skip skipped
	var failure *Failure
	switch {
	case err == nil:
	case ctx.Err() != nil:
		r.Status, r.Reason = Skipped, "interrupted"
	case errors.As(err, &skip):
		r.Status, r.Reason = Skipped, string(skip)
	case errors.As(err, &failure):
		r.Status, r.Failure = Failed, failure
	default:
		r.Status, r.Failure = Failed, &Failure{Sent: "a gRPC call", Got: quote(err.Error()), Want: "an answer"}
	}
	return r
}

// open starts a stream for a request, which is not sent yet.
func (s *session) open(ctx context.Context, sent string) (*stream, error) {
	// Every wait has its own timeout; this one ends sending to a picker that does
	// not read.
	ctx, cancel := context.WithTimeout(ctx, 3*s.o.Timeout)
	call, err := s.client.Process(ctx, grpc.WaitForReady(true))
	if err != nil {
		cancel()
		return nil, &Failure{Sent: "a new ext_proc stream", Got: "error " + quote(err.Error()), Want: "an open stream"}
	}
	x := &stream{call: call, cancel: cancel, sent: sent, timeout: s.o.Timeout, changed: make(chan struct{})}
	go x.receive()
	return x, nil
}

// maxLearn bounds the requests sent to learn the endpoints.
const maxLearn = 24

// learn finds out which endpoints the picker has, unless that is known.
func (s *session) learn(ctx context.Context) {
	if s.given {
		return
	}
	s.learnOnce.Do(func() {
		seen := map[netip.AddrPort]bool{}
		for range maxLearn {
			_, p, err := s.pick(ctx, s.chat(1<<10))
			if err != nil {
				return
			}
			for _, a := range p.addresses {
				if !seen[a] {
					seen[a] = true
					s.endpoints = append(s.endpoints, a)
				}
			}
		}
	})
}
