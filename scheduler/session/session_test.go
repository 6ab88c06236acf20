package session_test

import (
	"encoding/base64"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fairway-ai/fairway/scheduler"
	"github.com/fairway-ai/fairway/scheduler/session"
)

// world is three endpoints and a clock.
type world struct {
	t   *testing.T
	a   *session.Affinity
	now time.Time
}

func newWorld(t *testing.T, p session.Parameters, size int) *world {
	t.Helper()
	if err := p.Validate(); err != nil {
		t.Fatal(err)
	}
	return &world{t, session.New(p, size), time.Unix(1000, 0)}
}

// cycle is a request with a header, of which the endpoints named are candidates.
func (w *world) cycle(header, value, candidates string) *scheduler.Cycle {
	c := &scheduler.Cycle{Snapshot: &scheduler.Snapshot{}, Request: &scheduler.Request{Now: w.now, Header: func(name string) string {
		if name == header {
			return value
		}
		return ""
	}}}
	for i, id := range []string{"a", "b", "c"} {
		c.Snapshot.Endpoints = append(c.Snapshot.Endpoints, scheduler.Endpoint{ID: id})
		if strings.Contains(candidates, id) {
			c.Candidates = append(c.Candidates, int32(i))
		}
	}
	return c
}

// bound wants a session on an endpoint, "" for none.
func (w *world) bound(id, candidates, want string) {
	w.t.Helper()
	c := w.cycle("x-session-id", id, candidates)
	i, known := w.a.Bound(c, c.Candidates)
	if known != (id != "") {
		w.t.Errorf("session %q known: %v", id, known)
	}
	got := ""
	if i >= 0 {
		got = c.Snapshot.Endpoints[i].ID
	}
	if got != want {
		w.t.Errorf("session %q of %s is on %q, want %q", id, candidates, got, want)
	}
}

func (w *world) pick(id, candidates, endpoint string) {
	c := w.cycle("x-session-id", id, candidates)
	w.a.Picked(c, []int32{int32(strings.Index("abc", endpoint))})
}

func byID(change func(*session.Parameters)) session.Parameters {
	p := session.Parameters{Strategy: session.SessionID}
	change(&p)
	return p
}

func TestSessionsStayUntilTheirEndpointIsGone(t *testing.T) {
	w := newWorld(t, byID(func(*session.Parameters) {}), 0)
	w.bound("s", "abc", "")
	w.pick("s", "abc", "b")
	w.bound("s", "abc", "b")
	w.bound("", "abc", "")
	w.bound("other", "abc", "")
	w.pick("s", "abc", "c") // the picker preferred another, but b is there
	w.bound("s", "abc", "b")
	w.bound("s", "ac", "")
	w.pick("s", "ac", "c")
	w.bound("s", "abc", "c")
}

func TestSessionsExpire(t *testing.T) {
	w := newWorld(t, byID(func(p *session.Parameters) { p.SessionIDConfig.EvictionTTLSeconds = 60 }), 0)
	w.pick("s", "abc", "b")
	w.now = w.now.Add(60 * time.Second)
	w.bound("s", "abc", "b")
	w.pick("s", "abc", "b") // used again
	w.now = w.now.Add(60 * time.Second)
	w.bound("s", "abc", "b")
	w.now = w.now.Add(time.Second)
	w.bound("s", "abc", "")
	w.pick("s", "abc", "a") // it may go anywhere now, although b is there
	w.bound("s", "abc", "a")
}

func TestNewSessionsGoWhereFewestAre(t *testing.T) {
	w := newWorld(t, byID(func(p *session.Parameters) { p.EvictionTTLSeconds, p.EvictionSweepSeconds = 100, 10 }), 0)
	place := func(candidates, want string) {
		t.Helper()
		if got := w.a.Place(w.cycle("x-session-id", "new", candidates)); got != int32(strings.Index("abc", want)) {
			t.Errorf("placed on %d, want %s", got, want)
		}
	}
	place("abc", "a")
	w.pick("1", "abc", "a")
	place("abc", "b")
	w.pick("2", "abc", "b")
	w.pick("3", "abc", "b")
	place("abc", "c")
	place("ab", "a")
	w.pick("2", "ac", "c") // moves
	w.pick("4", "abc", "a")
	place("bc", "b")
	w.now = w.now.Add(101 * time.Second)
	w.pick("5", "abc", "c") // sweeps the others
	place("abc", "a")
	place("c", "c")
}

func TestOnlySoManySessions(t *testing.T) {
	w := newWorld(t, byID(func(*session.Parameters) {}), 2)
	for _, id := range []string{"1", "2", "3"} {
		w.pick(id, "abc", "b")
	}
	w.bound("1", "abc", "")
	w.bound("2", "abc", "b")
	w.bound("3", "abc", "b")
	if got := w.a.Place(w.cycle("x-session-id", "new", "b")); got != 1 {
		t.Errorf("placed on %d", got)
	}
	w.pick(strings.Repeat("x", 300), "abc", "a") // too long to be one
	w.bound("3", "abc", "b")
}

func TestSources(t *testing.T) {
	for name, tc := range map[string]struct {
		p             session.Parameters
		header, value string
		known         bool
	}{
		"default":            {byID(func(*session.Parameters) {}), "x-session-id", "s", true},
		"default, blank":     {byID(func(*session.Parameters) {}), "x-session-id", "  ", false},
		"default, elsewhere": {byID(func(*session.Parameters) {}), "x-session-token", "s", false},
		"named": {byID(func(p *session.Parameters) {
			p.SessionIDConfig.Sources = []session.Source{{Header: "X-First"}, {Header: "x-second"}}
		}), "x-second", "s", true},
		"earlier form":  {session.Parameters{Algorithm: "session_id_header", HeaderName: "X-Mine"}, "x-mine", "s", true},
		"token":         {session.Parameters{EncodedEndpointHeader: session.EncodedConfig{Header: "X-Token"}}, "x-token", base64.StdEncoding.EncodeToString([]byte("b")), true},
		"token, broken": {session.Parameters{HeaderName: "x-token"}, "x-token", "%%%", false},
	} {
		w := newWorld(t, tc.p, 0)
		c := w.cycle(tc.header, tc.value, "abc")
		if _, known := w.a.Bound(c, c.Candidates); known != tc.known {
			t.Errorf("%s: known %v, want %v", name, known, tc.known)
		}
	}
	cookies := byID(func(p *session.Parameters) {
		p.SessionIDConfig.Sources = []session.Source{{Cookie: "sid"}}
	})
	a := session.New(cookies, 0)
	w := &world{t, a, time.Unix(1000, 0)}
	c := w.cycle("cookie", `x=1; sid="s1"; y=2`, "abc")
	a.Picked(c, []int32{2})
	if i, _ := a.Bound(w.cycle("cookie", "sid=s1", "abc"), c.Candidates); i != 2 {
		t.Errorf("cookie: bound to %d, want 2", i)
	}
}

// A session is kept for the profile that is asked for, else for the pick.
func TestProfiles(t *testing.T) {
	for _, tc := range []struct {
		name  string
		run   string
		stage scheduler.Stage
		want  int32
	}{
		{"", "decode", scheduler.StagePick, 1}, {"", "prefill", scheduler.StagePrefill, -1},
		{"prefill", "prefill", scheduler.StagePrefill, 1}, {"prefill", "decode", scheduler.StagePick, -1},
	} {
		w := newWorld(t, byID(func(p *session.Parameters) { p.ProfileName = tc.name }), 0)
		c := w.cycle("x-session-id", "s", "abc")
		c.Profile, c.Stage = tc.run, tc.stage
		w.a.Picked(c, []int32{1})
		if got, _ := w.a.Bound(c, c.Candidates); got != tc.want {
			t.Errorf("%+v: bound to %d", tc, got)
		}
	}
	stamps := session.New(session.Parameters{ProfileName: "prefill", HeaderName: "X-P"}, 0).Stamps()
	if len(stamps) != 1 || stamps[0] != (scheduler.Stamp{Header: "x-p", Profile: "prefill"}) {
		t.Errorf("stamps %+v", stamps)
	}
	if s := session.New(byID(func(*session.Parameters) {}), 0).Stamps(); s != nil {
		t.Errorf("stamps %+v of sessions that the client names", s)
	}
}

func TestValidate(t *testing.T) {
	for _, bad := range []session.Parameters{
		{Strategy: "sticky"}, {Algorithm: "sticky"}, {EvictionTTLSeconds: -1}, {MissThreshold: -1},
		{SessionIDConfig: session.IDConfig{EvictionSweepSeconds: 1e9}},
		{SessionIDConfig: session.IDConfig{Sources: []session.Source{{}}}},
		{SessionIDConfig: session.IDConfig{Sources: []session.Source{{Header: "a", Attribute: "b"}}}},
	} {
		if bad.Validate() == nil {
			t.Errorf("%+v was accepted", bad)
		}
	}
}

func TestConcurrent(t *testing.T) {
	w := newWorld(t, byID(func(*session.Parameters) {}), 8)
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 300 {
				c := w.cycle("x-session-id", fmt.Sprint(g, i%20), "abc")
				w.a.Bound(c, c.Candidates)
				w.a.Place(c)
				w.a.Picked(c, []int32{int32(i % 3)})
			}
		})
	}
	wg.Wait()
}
