package session

import (
	"encoding/base64"
	"strings"

	"github.com/fairway-ai/fairway/scheduler"
)

const (
	// maxToken and maxID bound what a client may send, in bytes; what is longer is
	// no session.
	maxToken = 1024
	maxID    = 256
)

// Affinity finds the endpoint of a request's session. It implements
// scheduler.Observer and scheduler.Stamper, and is safe for concurrent use.
type Affinity struct {
	token    string // the token's header; "" with identifiers
	sources  []Source
	profile  string
	bindings *bindings
}

// New returns an Affinity. size bounds the sessions that are remembered; 0 means
// 65,536.
func New(p Parameters, size int) *Affinity {
	a := &Affinity{profile: p.ProfileName}
	if !p.ByID() {
		a.token = p.header()
		return a
	}
	a.sources = p.sources()
	a.bindings = newBindings(size,
		seconds(defaultTTL, p.SessionIDConfig.EvictionTTLSeconds, p.EvictionTTLSeconds),
		seconds(defaultSweep, p.SessionIDConfig.EvictionSweepSeconds, p.EvictionSweepSeconds))
	return a
}

// Bound returns the candidate of in that the request's session is kept on, -1 when
// there is none. known is false for a request without a session.
func (a *Affinity) Bound(c *scheduler.Cycle, in []int32) (i int32, known bool) {
	endpoint := ""
	if a.token != "" {
		endpoint = a.named(c.Request)
		known = endpoint != ""
	} else if id := a.id(c.Request); id != "" {
		endpoint, known = a.bindings.find(id, c.Request.Now), true
	}
	if endpoint != "" {
		for _, i := range in {
			if c.Snapshot.Endpoints[i].ID == endpoint {
				return i, known
			}
		}
	}
	return -1, known
}

// Place returns the candidate for a session that is kept nowhere yet: the one with
// the fewest sessions, -1 where sessions are in tokens.
func (a *Affinity) Place(c *scheduler.Cycle) int32 {
	if a.bindings == nil || len(c.Candidates) == 0 {
		return -1
	}
	return a.bindings.least(c)
}

// named is the endpoint ID in the request's token.
func (a *Affinity) named(r *scheduler.Request) string {
	if a.token == TokenHeader {
		return r.Session
	}
	if r.Header == nil {
		return ""
	}
	token := r.Header(a.token)
	if token == "" || len(token) > maxToken {
		return ""
	}
	id, err := base64.StdEncoding.DecodeString(token)
	if err != nil {
		return ""
	}
	return string(id)
}

// id is the session's identifier.
func (a *Affinity) id(r *scheduler.Request) string {
	if r.Header == nil {
		return ""
	}
	for _, s := range a.sources {
		v := ""
		if s.Cookie != "" {
			v = cookie(r.Header("cookie"), s.Cookie)
		} else {
			v = r.Header(s.Header)
		}
		if v = strings.TrimSpace(v); v != "" && len(v) <= maxID {
			return v
		}
	}
	return ""
}

// cookie is the value of a cookie in a Cookie header.
func cookie(header, name string) string {
	for part := range strings.SplitSeq(header, ";") {
		if k, v, ok := strings.Cut(strings.TrimSpace(part), "="); ok && k == name {
			return strings.Trim(v, `"`)
		}
	}
	return ""
}

// Picked implements scheduler.Observer: the session stays with what was picked. It
// moves only when its endpoint is no candidate any more.
func (a *Affinity) Picked(c *scheduler.Cycle, ranked []int32) {
	if a.bindings == nil || len(ranked) == 0 || !a.concerns(c) {
		return
	}
	if id := a.id(c.Request); id != "" {
		bound, _ := a.Bound(c, c.Candidates)
		a.bindings.bind(id, c.Snapshot.Endpoints[ranked[0]].ID, bound >= 0, c.Request.Now)
	}
}

// concerns reports whether the profile that runs is the one sessions are kept for.
func (a *Affinity) concerns(c *scheduler.Cycle) bool {
	if a.profile == "" {
		return c.Stage == scheduler.StagePick
	}
	return a.profile == c.Profile
}

// Stamps implements scheduler.Stamper.
func (a *Affinity) Stamps() []scheduler.Stamp {
	if a.token == "" {
		return nil
	}
	return []scheduler.Stamp{{Header: a.token, Profile: a.profile}}
}
