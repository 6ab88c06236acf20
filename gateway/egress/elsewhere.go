package egress

import (
	"net/http"
	"time"

	"google.golang.org/grpc/mem"

	"github.com/fairway-ai/fairway/extproc"
	"github.com/fairway-ai/fairway/extproc/observe"
	"github.com/fairway-ai/fairway/gateway/airoute"
)

// elsewhere is the Observer of a request that was picked for in a pool and may be
// answered by somebody else. The pool's picker is told then that its endpoint failed,
// and nothing of what the other one did.
type elsewhere struct {
	extproc.Observer
	target airoute.Target
	left   bool
}

// nowhere is an address that no pool has.
const nowhere = "elsewhere"

// ReadHeaders implements extproc.HeaderReader.
func (e *elsewhere) ReadHeaders(get func(string) string) {
	by := get(BackendHeader)
	e.left = by != "" && !mine(e.target, by)
	if r, ok := e.Observer.(extproc.HeaderReader); ok && !e.left {
		r.ReadHeaders(get)
	}
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

// SkipsBody implements extproc.BodySkipper.
func (e *elsewhere) SkipsBody() bool {
	s, ok := e.Observer.(extproc.BodySkipper)
	return e.left || ok && s.SkipsBody()
}

// FirstToken implements extproc.Observer.
func (e *elsewhere) FirstToken(now time.Time) {
	if !e.left {
		e.Observer.FirstToken(now)
	}
}

// ResponseMetadata implements extproc.MetadataTeller.
func (e *elsewhere) ResponseMetadata(u observe.Usage) []byte {
	if t, ok := e.Observer.(extproc.MetadataTeller); ok && !e.left {
		return t.ResponseMetadata(u)
	}
	return nil
}

// End implements extproc.Observer.
func (e *elsewhere) End(now time.Time, o extproc.Outcome) {
	if !e.left {
		e.Observer.End(now, o)
	}
}

// guarded is the exchange with a foreign picker of a rule's pool. It is broken off when
// somebody else answers, and what the picker changes does not steer the gateway.
type guarded struct {
	extproc.Exchange
	target airoute.Target
	others bool // may answer, too
	seen   bool // the response's headers
	left   bool
}

// WantsResponse implements extproc.Exchange. The headers say who answered.
func (e *guarded) WantsResponse() (headers, body bool) {
	if e.left {
		return false, false
	}
	headers, body = e.Exchange.WantsResponse()
	return headers || e.others && !e.seen, body
}

// ResponseHeaders implements extproc.Exchange.
func (e *guarded) ResponseHeaders(h extproc.Head, hold func(time.Duration) error) extproc.Change {
	e.seen = true
	if by := getter(h.Headers).Get(BackendHeader); e.others && by != "" && !mine(e.target, by) {
		e.left = true
		e.Exchange.Close(false)
		return extproc.Change{}
	}
	if wanted, _ := e.Exchange.WantsResponse(); !wanted {
		return extproc.Change{}
	}
	c := e.Exchange.ResponseHeaders(h, hold)
	guard(&c)
	return c
}

// ResponseBody implements extproc.Exchange.
func (e *guarded) ResponseBody(part mem.BufferSlice, end, mayKeep bool, hold func(time.Duration) error) extproc.Change {
	if e.left {
		return extproc.Change{BodyChanged: true, Body: part}
	}
	c := e.Exchange.ResponseBody(part, end, mayKeep, hold)
	guard(&c)
	return c
}

// Close implements extproc.Exchange.
func (e *guarded) Close(complete bool) {
	if !e.left {
		e.left = true
		e.Exchange.Close(complete)
	}
}
