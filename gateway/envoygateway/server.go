package envoygateway

import (
	"context"
	"errors"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/fairway-ai/fairway/gateway/xds"
)

const (
	// readTimeout bounds the reading of one translation: Envoy Gateway itself would
	// wait for ever.
	readTimeout = 10 * time.Second
	// maxRemembered bounds the problems that are remembered as logged.
	maxRemembered = 10_000
)

// Server answers Envoy Gateway's hooks. Safe for concurrent use.
type Server struct {
	o       Options
	metrics *metrics

	mu sync.Mutex
	// logged are the problems that were logged, so that a reference that leads
	// nowhere is one line and not one per translation.
	logged map[problem]bool
}

// New returns a server.
func New(o Options) (*Server, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	if o.Limits.SystemCA == "" {
		o.Limits.SystemCA = DefaultSystemCA
	}
	m, err := newMetrics(o.Metrics)
	if err != nil {
		return nil, err
	}
	return &Server{o: o, metrics: m, logged: map[problem]bool{}}, nil
}

// translateHook answers PostTranslateModify.
func (s *Server) translateHook(ctx context.Context, in *message) (*message, error) {
	start := time.Now()
	out, result, err := s.translate(ctx, in.data)
	s.metrics.translations.WithLabelValues(result).Inc()
	s.metrics.seconds.Observe(time.Since(start).Seconds())
	if err != nil {
		s.o.Log.Error("Envoy Gateway keeps its last configuration", "error", err)
		return nil, err
	}
	return &message{data: out}, nil
}

// translate is the hook without transport. result is a value of a metric's label.
func (s *Server) translate(ctx context.Context, request []byte) (out []byte, result string, err error) {
	defer func() {
		if p := recover(); p != nil {
			out, result, err = nil, "failed", status.Errorf(codes.Internal, "translation: %.500v", p)
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	in, err := decodeRequest(request)
	if err != nil {
		return nil, "invalid", status.Errorf(codes.InvalidArgument, "decode PostTranslateModifyRequest: %v", err)
	}
	d, err := s.discovery()
	if err != nil {
		return nil, "unavailable", status.Errorf(codes.Unavailable, "%v", err)
	}
	t := newTranslation(newReadings(s.o.Reader, s.o.Live), &s.o, d)
	changed, err := t.run(ctx, in)
	switch {
	case errors.As(err, &errReading{}):
		return nil, "unavailable", status.Errorf(codes.Unavailable, "%v", err)
	case err != nil:
		return nil, "invalid", status.Errorf(codes.InvalidArgument, "%v", err)
	}
	s.report(t.problems)
	return encodeResponse(changed), "ok", nil
}

// discovery fails while there is no certificate authority yet, rather than going
// without encryption.
func (s *Server) discovery() (xds.Discovery, error) {
	d := xds.Discovery{Target: s.o.EDS, ServerName: s.o.ServerName}
	if s.o.CA == nil {
		return d, nil
	}
	if d.CA = s.o.CA(); len(d.CA) == 0 {
		return d, errors.New("the certificate authority is not there yet")
	}
	return d, nil
}

// report counts shares that answer 500, and logs problems that are new.
func (s *Server) report(problems []problem) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range problems {
		text := "a share of a rule answers 500"
		if p.reason == reasonPolicies {
			text = "AIRoutes of a host have different policies, so that requests to the paths of some do not find the models of others"
		} else {
			s.metrics.refused.WithLabelValues(p.reason).Inc()
		}
		if s.logged[p] {
			continue
		}
		if len(s.logged) >= maxRemembered {
			clear(s.logged)
		}
		s.logged[p] = true
		s.o.Log.Warn(text,
			"route", p.at.route.String(), "rule", p.at.index, "reason", p.reason, "object", p.object)
	}
}
