package server

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"
)

// Duration is a time.Duration written as in "1.5s" in JSON.
type Duration time.Duration

// MarshalText implements encoding.TextMarshaler.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	*d = Duration(v)
	return err
}

// Failures are the ways in which the server misbehaves. The zero value behaves.
// Durations are real time; Speed does not change them.
type Failures struct {
	// ErrorRate is the fraction of requests answered with status 500, 0 to 1.
	ErrorRate float64 `json:"errorRate"`
	// Hang accepts requests and never answers them.
	Hang bool `json:"hang"`
	// StartDelay is how long the server is not ready: health checks and requests
	// get status 503. It counts from the start, or from when it was set.
	StartDelay Duration `json:"startDelay"`
	// DropAfter closes the connection after this many tokens of an answer; 0 never.
	DropAfter int `json:"dropAfter"`
	// MaxWaiting is the queue length at which requests get status 429; 0 means any.
	MaxWaiting int `json:"maxWaiting"`
	// MetricsDelay delays every metrics page.
	MetricsDelay Duration `json:"metricsDelay"`
	// MetricsGarbage replaces the metrics page by bytes that are none.
	MetricsGarbage bool `json:"metricsGarbage"`
}

const maxFailureDelay = 24 * time.Hour

func (f Failures) validate() error {
	switch {
	case !(f.ErrorRate >= 0 && f.ErrorRate <= 1):
		return fmt.Errorf("errorRate %g: must be 0 to 1", f.ErrorRate)
	case f.StartDelay < 0 || time.Duration(f.StartDelay) > maxFailureDelay:
		return fmt.Errorf("startDelay %v: must be 0 to %v", time.Duration(f.StartDelay), maxFailureDelay)
	case f.MetricsDelay < 0 || time.Duration(f.MetricsDelay) > maxFailureDelay:
		return fmt.Errorf("metricsDelay %v: must be 0 to %v", time.Duration(f.MetricsDelay), maxFailureDelay)
	case f.DropAfter < 0:
		return fmt.Errorf("dropAfter %d: must not be negative", f.DropAfter)
	case f.MaxWaiting < 0:
		return fmt.Errorf("maxWaiting %d: must not be negative", f.MaxWaiting)
	}
	return nil
}

// Failures returns how the server misbehaves now.
func (s *Server) Failures() Failures {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failures
}

// SetFailures changes how the server misbehaves, from the next request on. A
// request that hangs keeps hanging. It returns an error that names the field that
// is out of range, and then nothing has changed.
func (s *Server) SetFailures(f Failures) error {
	if err := f.validate(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if f.StartDelay != s.failures.StartDelay {
		s.readyAt = s.clock.Now().Add(time.Duration(f.StartDelay))
	}
	s.failures = f
	return nil
}

// ready says whether the server has started, as it pretends.
func (s *Server) ready() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.clock.Now().Before(s.readyAt)
}

// verdict is what happens to a request, by the failure switches.
func (s *Server) verdict() (f Failures, fail bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failures, s.failures.ErrorRate > 0 && s.rng.Float64() < s.failures.ErrorRate
}

// maxAdminBody bounds the body of /admin/config.
const maxAdminBody = 64 << 10

// adminConfig shows the switches (GET) or changes those named in the body (POST).
func (s *Server) adminConfig(w http.ResponseWriter, r *http.Request) {
	f := s.Failures()
	if r.Method == http.MethodPost {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxAdminBody))
		if err != nil {
			openAIStyle.write(w, bodyError(err))
			return
		}
		d := json.NewDecoder(bytes.NewReader(body))
		d.DisallowUnknownFields()
		if err := d.Decode(&f); err != nil {
			openAIStyle.write(w, badRequest(err.Error(), ""))
			return
		}
		if err := s.SetFailures(f); err != nil {
			openAIStyle.write(w, badRequest(err.Error(), ""))
			return
		}
	}
	writeJSON(w, http.StatusOK, f)
}
