package kvevents

import (
	"math"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/fairway-ai/fairway/internal/testkit"
	"github.com/fairway-ai/fairway/internal/zmtp"
)

func TestDial(t *testing.T) {
	p, j := newPublisher(t), newJournal()
	s := run(t, Options{Sink: j, SocketPort: p.port()}, local("a"))
	p.subscribed(1)
	j.holds(t, "a") // live while idle: the connection decides
	p.send(0, stored(1))
	p.send(1, stored(2))
	p.send(2, removed(1))
	j.holds(t, "a", 2)
	if n := j.told("a", "stored[1] m"); n != 1 {
		t.Errorf("the topic's model was not told: %v", j.log)
	}
	s.SetEndpoints([]Endpoint{local("a")})
	p.send(3, stored(3))
	j.holds(t, "a", 2, 3) // setting the same again changes nothing
	s.SetEndpoints(nil)
	j.gone(t, "a")
	until(t, "end of the connection", func() bool { p.mu.Lock(); defer p.mu.Unlock(); return len(p.conns) == 0 })
	if st := s.Stats(); st.Endpoints != 0 || st.Live != 0 || st.Stored != 3 || st.Removed != 1 {
		t.Errorf("%+v", st)
	}
	s.SetEndpoints([]Endpoint{local("a")})
	p.subscribed(1)
	p.send(4, stored(4))
	j.holds(t, "a", 4)
}

func TestReconnectsAfterARestart(t *testing.T) {
	p, j := newPublisher(t), newJournal()
	run(t, Options{Sink: j, SocketPort: p.port(), Rand: func() float64 { return 0 }}, local("a"))
	p.subscribed(1)
	p.send(0, stored(1))
	j.holds(t, "a", 1)
	p.cut()
	p.subscribed(1)
	p.send(0, stored(7))
	j.holds(t, "a", 7)
	if n := j.told("a", "lost"); n != 1 {
		t.Errorf("lost %d times", n)
	}
}

func TestBackoffGrowsAndSpreads(t *testing.T) {
	port := testkit.FreePort(t) // connections are refused
	waits := make(chan time.Duration, 100)
	fire := make(chan time.Time)
	run(t, Options{
		Sink: newJournal(), SocketPort: port, Rand: func() float64 { return 0.5 },
		After: func(d time.Duration) <-chan time.Time { waits <- d; return fire },
	}, local("a"))
	want := minBackoff
	for range 12 {
		if got := <-waits; got != want*3/4 {
			t.Fatalf("waits %v, want %v", got, want*3/4)
		}
		want = min(2*want, maxBackoff)
		fire <- time.Time{}
	}
	<-waits
}

func TestGapWithoutReplayStartsAnew(t *testing.T) {
	p, j := newPublisher(t), newJournal()
	q := newPublisher(t)
	s := run(t, Options{Sink: j, SocketPort: p.port()}, local("a"))
	other := run(t, Options{Sink: j, SocketPort: q.port()}, local("b"))
	p.subscribed(1)
	q.subscribed(1)
	q.send(0, stored(1))
	p.send(0, stored(1))
	p.send(2, stored(3))
	j.holds(t, "a", 3)
	j.holds(t, "b", 1) // another's gap is nothing to it
	if st := s.Stats(); st.Gaps != 1 || st.Resets != 1 || other.Stats().Resets != 0 {
		t.Errorf("%+v", st)
	}
}

func TestLiesAboutTheSequence(t *testing.T) {
	p, j := newPublisher(t), newJournal()
	s := run(t, Options{Sink: j, SocketPort: p.port()}, local("a"))
	p.subscribed(1)
	p.send(5, stored(1)) // joined midway: what was before is not known
	p.send(6, stored(2))
	j.holds(t, "a", 1, 2)
	p.send(0, stored(3)) // back: a restart behind a proxy
	j.holds(t, "a", 3)
	p.send(^uint64(0), stored(4)) // the end mark is no number
	j.holds(t, "a")
	p.send(1<<63, stored(5))
	p.send(1<<63-1, stored(6))
	p.send(1<<63, stored(7))
	j.holds(t, "a", 6, 7)
	if st := s.Stats(); st.Restarts != 2 || st.Malformed != 1 {
		t.Errorf("%+v", st)
	}
}

func TestMalformedMessagesLoseTheState(t *testing.T) {
	p, j := newPublisher(t), newJournal()
	s := run(t, Options{Sink: j, SocketPort: p.port()}, local("a"))
	p.subscribed(1)
	p.send(0, stored(1))
	p.send(1, []byte("no batch"))
	p.send(2, stored(2))
	j.holds(t, "a", 2)
	p.mu.Lock()
	_ = p.conns[0].Write([]byte("one frame"))
	_ = p.conns[0].Write([]byte("t"), []byte("short"), stored(9))
	_ = p.conns[0].Write([]byte("t"), append(be(3), "publisher identity"...), stored(3))
	_ = p.conns[0].Write([]byte("t"), be(99), nil) // a heartbeat
	p.mu.Unlock()
	p.send(4, stored(4))
	j.holds(t, "a", 2, 3, 4)
	if st := s.Stats(); st.Malformed != 3 {
		t.Errorf("%+v", st)
	}
}

func TestFloodHarmsItsEndpointOnly(t *testing.T) {
	p, q, j := newPublisher(t), newPublisher(t), newJournal()
	// Two workers: the flood may occupy one.
	flood := run(t, Options{Sink: j, SocketPort: p.port(), QueueMessages: 8, Workers: 2}, local("flood"))
	run(t, Options{Sink: j, SocketPort: q.port()}, local("b"))
	p.subscribed(1)
	q.subscribed(1)
	q.send(0, stored(1))
	j.holds(t, "b", 1)
	gate := make(chan struct{})
	j.mu.Lock()
	j.delay = gate
	j.mu.Unlock()
	for i := range uint64(200) {
		p.send(i, stored(byte(i%100)))
	}
	until(t, "drop", func() bool { return flood.Stats().Dropped > 0 })
	close(gate)
	until(t, "all messages", func() bool { return flood.Stats().Messages == 200 })
	seq := uint64(200)
	until(t, "recovery", func() bool { // once its queue has room again
		p.send(seq, stored(120))
		seq++
		j.mu.Lock()
		defer j.mu.Unlock()
		return j.blocks["flood"][120]
	})
	if st := flood.Stats(); st.Gaps == 0 || st.Resets == 0 {
		t.Errorf("%+v", st)
	}
	if j.told("b", "lost") != 0 {
		t.Error("the other endpoint lost its state")
	}
}

func TestReplayOnJoinAndAfterAGap(t *testing.T) {
	p, j := newPublisher(t), newJournal()
	p.keep(0, stored(1))
	p.keep(1, stored(2))
	named := local("a")
	named.Model = "m"
	s := run(t, Options{Sink: j, SocketPort: p.port(), ReplayPort: p.replayPort()}, named)
	p.subscribed(1)
	j.holds(t, "a", 1, 2) // before anything was sent
	p.keep(2, stored(3))
	p.keep(3, removed(1))
	p.keep(4, stored(4))
	p.send(4, stored(4)) // 2 and 3 were lost on the way
	j.holds(t, "a", 2, 3, 4)
	p.send(5, stored(5))
	j.holds(t, "a", 2, 3, 4, 5)
	st := s.Stats()
	if st.Resets != 0 || st.Gaps != 1 || st.Replays != 2 || st.Replayed != 5 {
		t.Errorf("%+v", st)
	}
	// A third gap within the cooldown is not replayed any more.
	p.send(9, stored(9))
	j.holds(t, "a", 9)
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.asked) != 2 || p.asked[0] != 0 || p.asked[1] != 2 {
		t.Errorf("asked for %v", p.asked)
	}
}

func TestReplayThatCannotHelp(t *testing.T) {
	for name, prepare := range map[string]func(*publisher){
		"the buffer begins later": func(p *publisher) { p.keep(3, stored(4)) },
		"no answer":               func(p *publisher) { p.mu.Lock(); p.mute = true; p.mu.Unlock() },
		"out of order":            func(p *publisher) { p.keep(1, stored(9)); p.keep(1, stored(9)) },
	} {
		t.Run(name, func(t *testing.T) {
			p, j := newPublisher(t), newJournal()
			named := local("a")
			named.Model = "m"
			s := run(t, Options{Sink: j, SocketPort: p.port(), ReplayPort: p.replayPort()}, named)
			p.subscribed(1)
			until(t, "first replay", func() bool { p.mu.Lock(); defer p.mu.Unlock(); return len(p.asked) == 1 })
			p.send(0, stored(1))
			j.holds(t, "a", 1)
			prepare(p)
			p.send(3, stored(4))
			j.await(t, "state of after the gap", func() bool { return j.blocks["a"][4] && !j.blocks["a"][1] })
			if st := s.Stats(); st.Resets == 0 {
				t.Errorf("%+v", st)
			}
		})
	}
}

// TestReplayWithHoles: a publisher that sends a replay faster than it is taken leaves out
// what finds its queue full, the end included. It has that still.
func TestReplayWithHoles(t *testing.T) {
	const end = math.MaxUint64
	all := []uint64{2, 3, 4, 5, 6}
	for name, c := range map[string]struct {
		lose   func(n int, seq uint64) bool
		asked  []uint64
		resets uint64
		holds  []uint64
	}{
		"one":                       {func(n int, seq uint64) bool { return n == 1 && (seq == 2 || seq == 3) }, []uint64{0, 2}, 0, all},
		"several":                   {func(n int, seq uint64) bool { return seq == uint64(2*n+1) }, []uint64{0, 3, 5}, 0, all},
		"the end":                   {func(n int, seq uint64) bool { return n == 1 && seq > 3 }, []uint64{0, 4}, 0, all},
		"nothing but the end":       {func(n int, seq uint64) bool { return n == 1 && seq == end }, []uint64{0, 7}, 0, all},
		"one that is gone for good": {func(_ int, seq uint64) bool { return seq == 3 }, []uint64{0, 3}, 1, []uint64{4, 5, 6}},
	} {
		t.Run(name, func(t *testing.T) {
			p, j := newPublisher(t), newJournal()
			p.lose = c.lose
			p.keep(0, stored(1))
			p.keep(1, removed(1))
			for i := range uint64(5) {
				p.keep(i+2, stored(byte(i+2)))
			}
			named := local("a")
			named.Model = "m"
			s := run(t, Options{Sink: j, SocketPort: p.port(), ReplayPort: p.replayPort(), replayIdle: time.Second}, named)
			j.holds(t, "a", c.holds...)
			until(t, "end of the replay", func() bool {
				src := s.find([]byte("a"))
				src.mu.Lock()
				defer src.mu.Unlock()
				return !src.held
			})
			if st := s.Stats(); st.Resets != c.resets || st.Replays != 1 || st.ReplaysFailed != 0 {
				t.Errorf("%+v", st)
			}
			p.mu.Lock()
			defer p.mu.Unlock()
			if !slices.Equal(p.asked, c.asked) {
				t.Errorf("asked for %v, want %v", p.asked, c.asked)
			}
		})
	}
}

// A replayed message has no topic, so a model that only topics name has to be
// waited for.
func TestReplayWaitsForTheModel(t *testing.T) {
	p, j := newPublisher(t), newJournal()
	p.keep(0, stored(1))
	p.keep(1, stored(2))
	run(t, Options{Sink: j, SocketPort: p.port(), ReplayPort: p.replayPort()}, local("a"))
	p.subscribed(1)
	j.holds(t, "a")
	p.keep(2, stored(3))
	p.send(2, stored(3))
	j.holds(t, "a", 1, 2, 3)
	if n := j.told("a", "stored[1] m"); n != 1 {
		t.Errorf("the model is not known: %v", j.log["a"])
	}
}

func TestEnginesDial(t *testing.T) {
	j := newJournal()
	s := run(t, Options{Sink: j, Bind: "127.0.0.1:0"}, local("a"), Endpoint{Name: "b", Address: "127.0.0.1", Port: 8001}, Endpoint{Name: "far", Address: "192.0.2.1", Port: 8000})
	until(t, "listener", func() bool { return s.BoundAddr() != nil })
	dial := func() *zmtp.Conn {
		nc, err := net.Dial("tcp", s.BoundAddr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = nc.Close() })
		c, err := zmtp.Handshake(nc, zmtp.Pub, zmtp.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		var m zmtp.Message
		if err := c.Read(&m); err != nil || string(m.Frames[0]) != "\x01kv@" {
			t.Fatalf("subscription %q %v", m.Frames, err)
		}
		return c
	}
	send := func(c *zmtp.Conn, topic string, seq uint64, payload []byte) {
		t.Helper()
		if err := c.Write([]byte(topic), be(seq), payload); err != nil {
			t.Fatal(err)
		}
	}
	c := dial()
	send(c, "kv@127.0.0.1:8000@m", 0, stored(1))
	send(c, "kv@b@m", 0, stored(2)) // the older form, by name
	send(c, "kv@192.0.2.1:8000@m", 0, stored(3))
	send(c, "kv@127.0.0.1:9@m", 0, stored(3))
	send(c, "something else", 0, stored(3))
	j.holds(t, "a", 1)
	j.holds(t, "b", 2)
	until(t, "unknown topics", func() bool { return s.Stats().Unknown == 3 })
	if len(j.log["far"]) != 0 {
		t.Error("an address spoke for another")
	}
	// The engine restarts, before its old connection has ended.
	d := dial()
	send(d, "kv@127.0.0.1:8000@m", 0, stored(5))
	j.holds(t, "a", 5)
	send(c, "kv@127.0.0.1:8000@m", 1, stored(6)) // the dead do not speak
	until(t, "the older one's message", func() bool { return s.Stats().Unknown == 4 })
	send(d, "kv@127.0.0.1:8000@m", 1, stored(7))
	j.holds(t, "a", 5, 7)
	// An endpoint that goes and comes back is heard again on the same connection.
	s.SetEndpoints(nil)
	j.gone(t, "a")
	s.SetEndpoints([]Endpoint{local("a")})
	send(d, "kv@127.0.0.1:8000@m", 2, stored(8))
	j.holds(t, "a", 8)
	_ = d.Close()
	j.gone(t, "a")
}

func TestStrangersAreNotLetIn(t *testing.T) {
	s := run(t, Options{Sink: newJournal(), Bind: "tcp://127.0.0.1:0"}, Endpoint{Name: "far", Address: "192.0.2.1", Port: 8000})
	until(t, "listener", func() bool { return s.BoundAddr() != nil })
	nc, err := net.Dial("tcp", s.BoundAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if _, err := zmtp.Handshake(nc, zmtp.Pub, zmtp.Limits{}); err == nil {
		t.Error("greeted")
	}
	until(t, "refusal", func() bool { return s.Stats().Refused == 1 })
}

func TestOptions(t *testing.T) {
	for name, o := range map[string]Options{
		"no sink":  {},
		"scheme":   {Sink: newJournal(), Bind: "ipc:///tmp/x"},
		"no port":  {Sink: newJournal(), Bind: "tcp://*"},
		"bad port": {Sink: newJournal(), Bind: "tcp://*:70000"},
		"replay":   {Sink: newJournal(), ReplayPort: -1},
	} {
		if _, err := New(o); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if a, err := ParseAddress("tcp://*:5557"); err != nil || a.Listen() != ":5557" {
		t.Errorf("%v %v", a, err)
	}
}
