package kvevents

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"
)

// TestChurn: endpoints that come and go, most of them unreachable, leave nothing behind.
func TestChurn(t *testing.T) {
	const workers = 2
	p, j := newPublisher(t), newJournal()
	s := run(t, Options{Sink: j, SocketPort: p.port(), Workers: workers, QueueMessages: 4})
	until(t, "start", func() bool { s.mu.Lock(); defer s.mu.Unlock(); return s.running != nil })
	before := runtime.NumGoroutine() + workers // which may have begun, or not
	r := rand.New(rand.NewPCG(1, 1))
	const n = 1000
	all := make([]Endpoint, n)
	for i := range all {
		all[i] = Endpoint{Name: fmt.Sprint(i), Address: "127.0.0.1", Port: 8000 + i, Rank: 1} // nobody listens there
		if i%20 == 0 {
			all[i].Rank = 0
		}
	}
	seq := uint64(0)
	for range 30 {
		r.Shuffle(n, func(i, k int) { all[i], all[k] = all[k], all[i] })
		s.SetEndpoints(all[:r.IntN(n)])
		p.send(seq, stored(byte(seq%100)))
		seq++
	}
	s.SetEndpoints(nil)
	until(t, "end of all endpoints", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.sources)+len(s.byTopic)+len(s.hosts) == 0
	})
	until(t, "end of what was begun for them", func() bool {
		p.mu.Lock()
		open := len(p.conns)
		p.mu.Unlock()
		return open == 0 && runtime.NumGoroutine() <= before
	})
	j.mu.Lock()
	defer j.mu.Unlock()
	if st := s.Stats(); st.Live != 0 || st.Connected != 0 || s.queued.Load() != 0 || len(j.blocks) != 0 || j.broken != "" {
		t.Errorf("%+v; %d bytes wait; %d are live; %s", st, s.queued.Load(), len(j.blocks), j.broken)
	}
}

// A source that was left, wanted and left again tells its loss twice. Its successor, which
// may be there when it does so the second time, stays.
func TestSuccessorStays(t *testing.T) {
	s, err := New(Options{Sink: newJournal()})
	if err != nil {
		t.Fatal(err)
	}
	e := Endpoint{Name: "a", Address: "127.0.0.1"}
	s.SetEndpoints([]Endpoint{e})
	first := s.sources["a"]
	s.SetEndpoints(nil)
	s.forget(first)
	s.SetEndpoints([]Endpoint{e})
	s.forget(first)
	if src := s.sources["a"]; src == nil || src == first {
		t.Errorf("the source is %p after %p, want another one", src, first)
	}
}
