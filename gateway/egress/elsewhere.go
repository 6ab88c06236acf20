package egress

import (
	"net/http"
	"time"

	"github.com/fairway-ai/fairway/extproc"
)

// elsewhere is the Observer of a request that was picked for in a pool and may be
// answered by somebody else. The pool's picker is told then that its endpoint failed,
// and nothing of what the other one did.
type elsewhere struct {
	extproc.Observer
	pool string
	left bool
}

// nowhere is an address that no pool has.
const nowhere = "elsewhere"

// ReadHeaders implements extproc.HeaderReader.
func (e *elsewhere) ReadHeaders(get func(string) string) {
	by := get(BackendHeader)
	e.left = by != "" && by != e.pool
}

// ResponseHeaders implements extproc.Observer.
func (e *elsewhere) ResponseHeaders(now time.Time, status int, served string) []extproc.Header {
	if !e.left {
		return e.Observer.ResponseHeaders(now, status, served)
	}
	e.Observer.ResponseHeaders(now, http.StatusServiceUnavailable, nowhere)
	e.Observer.End(now, extproc.Outcome{Status: http.StatusServiceUnavailable, Complete: true})
	return nil
}

// FirstToken implements extproc.Observer.
func (e *elsewhere) FirstToken(now time.Time) {
	if !e.left {
		e.Observer.FirstToken(now)
	}
}

// End implements extproc.Observer.
func (e *elsewhere) End(now time.Time, o extproc.Outcome) {
	if !e.left {
		e.Observer.End(now, o)
	}
}
