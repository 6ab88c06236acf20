package scorer

import (
	"fmt"

	"github.com/fairway-ai/fairway/scheduler"
)

// SessionAffinityType is the type name of [SessionAffinity].
const SessionAffinityType = "session-affinity-scorer"

// SessionHeader carries the session token: the base64 of an endpoint's ID.
const SessionHeader = "x-session-token"

// SessionAffinityParameters are the parameters of [SessionAffinity].
type SessionAffinityParameters struct {
	// HeaderName is the header with the token; only SessionHeader is supported.
	HeaderName string `json:"headerName"`
	// Strategy and Algorithm, its name in later versions, say how sessions are
	// kept; only in the token ("encoded_endpoint_header") is supported.
	Strategy  string `json:"strategy"`
	Algorithm string `json:"algorithm"`
}

const encodedEndpoint = "encoded_endpoint_header"

// DefaultSessionAffinityParameters are llm-d's.
func DefaultSessionAffinityParameters() SessionAffinityParameters {
	return SessionAffinityParameters{HeaderName: SessionHeader}
}

// Validate reports the first parameter that is not supported.
func (p SessionAffinityParameters) Validate() error {
	if p.HeaderName != SessionHeader {
		return fmt.Errorf("headerName is %q: only %q is supported", p.HeaderName, SessionHeader)
	}
	for _, f := range [...]struct{ field, value string }{{"strategy", p.Strategy}, {"algorithm", p.Algorithm}} {
		if f.value != "" && f.value != encodedEndpoint {
			return fmt.Errorf("%s is %q: only %q is supported; the prefix index already follows conversations without a session id", f.field, f.value, encodedEndpoint)
		}
	}
	return nil
}

// SessionAffinity prefers the endpoint that the request's session token names:
// 1 there, 0 elsewhere.
type SessionAffinity struct{ named }

// NewSessionAffinity returns the scorer; an empty name means its type.
func NewSessionAffinity(name string) *SessionAffinity {
	return &SessionAffinity{nameOr(name, SessionAffinityType)}
}

// Score implements scheduler.Scorer.
func (s *SessionAffinity) Score(c *scheduler.Cycle, out []float32) {
	for _, i := range c.Candidates {
		out[i] = 0
		if c.Request.Session != "" && c.Snapshot.Endpoints[i].ID == c.Request.Session {
			out[i] = 1
		}
	}
}
