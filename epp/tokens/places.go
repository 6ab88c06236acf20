package tokens

import (
	"slices"
	"sync"
	"time"
)

// route is where an endpoint is asked.
type route int

const (
	chatRender route = iota
	completionRender
	messagesRender
	responsesRender
	tokenize
	routes // the number of them
)

// path is the route's on an endpoint.
func (r route) path() string {
	return [routes]string{"/v1/chat/completions/render", "/v1/completions/render", "/v1/messages/render", "/v1/responses/render", "/tokenize"}[r]
}

// places remembers which endpoints cannot be asked, and takes the others in turn.
type places struct {
	mu    sync.Mutex
	state map[string]*state
	turn  uint
}

// state is what is known of an endpoint that has a fault.
type state struct {
	failing time.Time         // until when it is not asked
	strikes int               // failures since it last answered
	missing [routes]time.Time // until when it is taken not to have a route
}

// maxStates is how many endpoints' faults are kept before those that have gone are
// forgotten.
const maxStates = 1024

// next returns an endpoint that can be asked at now and has one of want, and those
// of want that it may have. Endpoints in tried are passed over.
func (p *places) next(endpoints, tried []string, want []route, now time.Time) (string, []route, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.state) > maxStates {
		p.forget(endpoints, now)
	}
	if len(tried) == 0 { // a question has one turn, however many endpoints it is asked of
		p.turn++
	}
	for i := range endpoints {
		at := endpoints[(p.turn+uint(i))%uint(len(endpoints))]
		if slices.Contains(tried, at) {
			continue
		}
		s := p.state[at]
		if s == nil {
			return at, want, true
		}
		if now.Before(s.failing) {
			continue
		}
		var has []route
		for _, r := range want {
			if !now.Before(s.missing[r]) {
				has = append(has, r)
			}
		}
		if len(has) > 0 {
			return at, has, true
		}
	}
	return "", nil, false
}

// forget drops what is over, and endpoints that are not among those given.
func (p *places) forget(endpoints []string, now time.Time) {
	there := make(map[string]bool, len(endpoints))
	for _, at := range endpoints {
		there[at] = true
	}
	for at, s := range p.state {
		over := !now.Before(s.failing)
		for _, t := range s.missing {
			over = over && !now.Before(t)
		}
		if over || !there[at] {
			delete(p.state, at)
		}
	}
}

func (p *places) of(at string) *state {
	s := p.state[at]
	if s == nil {
		s = &state{}
		p.state[at] = s
	}
	return s
}

// maxStrikes is how many questions in a row an endpoint may fail. One alone may be
// the question's fault, and must not keep others from being asked.
const maxStrikes = 3

// fails says that the endpoint failed: it is not to be asked before until, at once
// if it cannot be reached, otherwise if it has failed often.
func (p *places) fails(at string, unreachable bool, until time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.of(at)
	if s.strikes++; unreachable || s.strikes >= maxStrikes {
		s.failing, s.strikes = until, 0
	}
}

// answers says that the endpoint works.
func (p *places) answers(at string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s := p.state[at]; s != nil {
		s.failing, s.strikes = time.Time{}, 0
	}
}

// lacks says that the endpoint has no route r, as far as is known until then.
func (p *places) lacks(at string, r route, until time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.of(at).missing[r] = until
}
