package kvcache

import (
	"log/slog"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fairway-ai/fairway/pool/kvevents"
	"github.com/fairway-ai/fairway/scheduler"
)

// hub passes an endpoint's events on to every pool that the endpoint is in. It is the
// Subscriber's sink.
type hub struct {
	events *kvevents.Subscriber

	mu      sync.Mutex
	servers map[string]*server                   // by address
	byName  atomic.Pointer[map[string][]*target] // by the server's name; replaced, never changed
}

// server is one address that is followed.
type server struct {
	// name is what the Subscriber knows it by: the address, and the number of its life.
	name    string
	life    int
	rank    int
	targets []*target
}

// target is an endpoint as one pool has it.
type target struct {
	cache *Cache
	name  string // the server's
	id    string
	slot  int32
	load  *scheduler.Load

	mu     sync.Mutex
	closed bool
	live   bool
	// nameless: an event has told no model.
	nameless bool
	told     telling
}

var _ kvevents.Sink = (*hub)(nil)

func (h *hub) init(events *kvevents.Subscriber) {
	h.events, h.servers = events, map[string]*server{}
	h.byName.Store(&map[string][]*target{})
}

// wanted is an endpoint of a pool that is to be followed.
type wanted struct {
	cache    *Cache
	endpoint *scheduler.Endpoint
	rank     int
}

// follow brings what is followed in line with the endpoints that c's pool has now, none
// once c is closed.
func (h *hub) follow(c *Cache) {
	h.mu.Lock()
	defer h.mu.Unlock()
	next := map[string][]wanted{}
	for address, s := range h.servers {
		for _, t := range s.targets {
			if t.cache != c {
				next[address] = append(next[address], wanted{t.cache, &scheduler.Endpoint{ID: t.id, Address: address, Slot: t.slot, Load: t.load}, s.rank})
			}
		}
	}
	if !c.closed.Load() {
		es := c.pool.Snapshot().Endpoints
		ranks := c.ranks(es)
		for i := range es {
			next[es[i].Address] = append(next[es[i].Address], wanted{c, &es[i], ranks[i]})
		}
	}
	// What goes comes first: a slot may be another endpoint's by now.
	var fresh []string
	for address, s := range h.servers {
		if !s.serves(next[address]) {
			for _, t := range s.targets {
				t.close()
			}
			s.targets = nil
		}
	}
	for address, list := range next {
		s := h.servers[address]
		if s == nil {
			s = &server{}
			h.servers[address] = s
		}
		if s.targets == nil {
			fresh = append(fresh, address)
			s.begin(address, list)
		}
	}
	for address := range h.servers {
		if next[address] == nil {
			delete(h.servers, address)
		}
	}
	if len(fresh) > 0 || len(h.servers) != len(*h.byName.Load()) {
		h.publish()
	}
}

// serves tells whether the server's targets are those of list, unchanged.
func (s *server) serves(list []wanted) bool {
	if len(list) != len(s.targets) || s.rank != rank(list) {
		return false
	}
	for _, w := range list {
		found := false
		for _, t := range s.targets {
			found = found || t.cache == w.cache && t.load == w.endpoint.Load && t.slot == w.endpoint.Slot
		}
		if !found {
			return false
		}
	}
	return true
}

// rank is the rank that a server has in any pool.
func rank(list []wanted) (n int) {
	for _, w := range list {
		n = max(n, w.rank)
	}
	return n
}

// begin starts a life of the server: whoever joins, or comes back, must be told
// everything from the start.
func (s *server) begin(address string, list []wanted) {
	s.life++
	s.name, s.rank = address, rank(list)
	if s.life > 1 {
		s.name += "#" + strconv.Itoa(s.life)
	}
	for _, w := range list {
		t := &target{cache: w.cache, name: s.name, id: w.endpoint.ID, slot: w.endpoint.Slot, load: w.endpoint.Load}
		w.cache.prefix.AddEndpoint(t.slot, 0)
		w.cache.index.Attach(t.name, t.slot)
		s.targets = append(s.targets, t)
	}
}

// publish tells the Subscriber whom to follow. The caller holds h.mu.
func (h *hub) publish() {
	byName := make(map[string][]*target, len(h.servers))
	list := make([]kvevents.Endpoint, 0, len(h.servers))
	for address, s := range h.servers {
		byName[s.name] = s.targets
		host, port, err := net.SplitHostPort(address)
		if err != nil {
			continue // no pool has such
		}
		n, err := strconv.Atoi(port)
		if err != nil {
			continue
		}
		list = append(list, kvevents.Endpoint{Name: s.name, Address: host, Port: n, Rank: s.rank})
	}
	h.byName.Store(&byName)
	h.events.SetEndpoints(list)
}

func (h *hub) targets(name string) []*target { return (*h.byName.Load())[name] }

// Live implements kvevents.Sink.
func (h *hub) Live(name string) {
	for _, t := range h.targets(name) {
		t.cache.index.Live(name)
		t.set(true)
	}
}

// Lost implements kvevents.Sink.
func (h *hub) Lost(name string) {
	for _, t := range h.targets(name) {
		t.set(false)
		t.cache.index.Lost(name)
	}
}

// Cleared implements kvevents.Sink.
func (h *hub) Cleared(name string) {
	for _, t := range h.targets(name) {
		t.cache.index.Cleared(name)
	}
}

// Unread implements kvevents.Sink.
func (h *hub) Unread(name string, events int) {
	for _, t := range h.targets(name) {
		t.cache.index.Unread(name, events)
	}
}

// Stored implements kvevents.Sink.
func (h *hub) Stored(name string, e *kvevents.Stored) {
	for _, t := range h.targets(name) {
		if e.Model == "" && e.LoRA == "" && len(e.Tokens) > 0 {
			t.noName()
		}
		t.cache.models.saw(e)
		t.cache.index.Stored(name, e)
	}
}

// Removed implements kvevents.Sink.
func (h *hub) Removed(name string, e *kvevents.Removed) {
	for _, t := range h.targets(name) {
		t.cache.index.Removed(name, e)
	}
}

// set notes whether the endpoint's events are followed.
func (t *target) set(live bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.closed {
		t.note(live)
	}
}

// note does so. The caller holds t.mu.
func (t *target) note(live bool) {
	switch {
	case t.live == live:
	case live:
		t.cache.live.Add(1)
	default:
		t.cache.live.Add(-1)
	}
	t.live = live
}

// close forgets the endpoint.
func (t *target) close() {
	t.mu.Lock()
	t.note(false)
	t.closed = true
	t.mu.Unlock()
	t.cache.index.Detach(t.name)
	t.cache.prefix.RemoveEndpoint(t.slot)
}

func (t *target) noName() {
	t.mu.Lock()
	t.nameless = true
	t.mu.Unlock()
}

// report logs what has changed.
func (h *hub) report(log *slog.Logger, now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, s := range h.servers {
		for _, t := range s.targets {
			t.report(log, now)
		}
	}
}
