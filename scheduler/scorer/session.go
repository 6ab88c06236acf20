package scorer

import (
	"github.com/fairway-ai/fairway/scheduler"
	"github.com/fairway-ai/fairway/scheduler/session"
)

// SessionAffinityType is the type name of [SessionAffinity].
const SessionAffinityType = "session-affinity-scorer"

// SessionAffinity prefers the endpoint that the request's session is kept on: 1
// there, 0 elsewhere. A session with an identifier that is kept nowhere yet is drawn
// to the endpoint with the fewest sessions.
type SessionAffinity struct {
	named
	*session.Affinity
}

// NewSessionAffinity returns the scorer; an empty name means its type.
func NewSessionAffinity(name string, a *session.Affinity) *SessionAffinity {
	return &SessionAffinity{nameOr(name, SessionAffinityType), a}
}

// Score implements scheduler.Scorer.
func (s *SessionAffinity) Score(c *scheduler.Cycle, out []float32) {
	bound, known := s.Bound(c, c.Candidates)
	if bound < 0 && known {
		bound = s.Place(c)
	}
	for _, i := range c.Candidates {
		out[i] = 0
	}
	if bound >= 0 {
		out[bound] = 1
	}
}
