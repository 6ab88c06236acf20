package filter

import (
	"github.com/fairway-ai/fairway/scheduler"
	"github.com/fairway-ai/fairway/scheduler/session"
)

// SessionAffinityType is the type name of [SessionAffinity].
const SessionAffinityType = "session-affinity-filter"

// SessionAffinity keeps only the endpoint that the request's session is kept on, and
// all where there is none.
type SessionAffinity struct {
	name string
	*session.Affinity
}

// NewSessionAffinity returns the filter; an empty name means its type.
func NewSessionAffinity(name string, a *session.Affinity) *SessionAffinity {
	return &SessionAffinity{nameOr(name, SessionAffinityType), a}
}

// Name implements scheduler.Filter.
func (f *SessionAffinity) Name() string { return f.name }

// Filter implements scheduler.Filter.
func (f *SessionAffinity) Filter(c *scheduler.Cycle, in []int32) []int32 {
	bound, _ := f.Bound(c, in)
	if bound < 0 {
		return in
	}
	return append(in[:0], bound)
}
