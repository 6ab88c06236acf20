package kvevents

import (
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"math"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fairway-ai/fairway/internal/zmtp"
)

// journal is a sink that keeps what every endpoint holds, and what it was told.
type journal struct {
	mu     sync.Mutex
	cond   *sync.Cond
	blocks map[string]map[uint64]bool // of live endpoints
	log    map[string][]string
	delay  chan struct{} // when set, Stored waits for it
	inside map[string]bool
	broken string
}

func newJournal() *journal {
	j := &journal{blocks: map[string]map[uint64]bool{}, log: map[string][]string{}, inside: map[string]bool{}}
	j.cond = sync.NewCond(&j.mu)
	return j
}

// call runs f under the lock; it notes two calls for one endpoint at a time, and
// events of an endpoint that is not live.
func (j *journal) call(ep, what string, live bool, f func(map[uint64]bool)) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if live && j.blocks[ep] == nil {
		j.broken = what + " of " + ep + ", which is not live"
	}
	f(j.blocks[ep])
	j.log[ep] = append(j.log[ep], what)
	j.cond.Broadcast()
}

func (j *journal) enter(ep string) func() {
	j.mu.Lock()
	if j.inside[ep] {
		j.broken = "two calls at a time for " + ep
	}
	j.inside[ep] = true
	j.mu.Unlock()
	return func() { j.mu.Lock(); j.inside[ep] = false; j.mu.Unlock() }
}

func (j *journal) Stored(ep string, e *Stored) {
	defer j.enter(ep)()
	j.mu.Lock()
	d := j.delay
	j.mu.Unlock()
	if d != nil {
		<-d
	}
	j.call(ep, fmt.Sprintf("stored%v %s", e.Hashes, e.Model), true, func(b map[uint64]bool) {
		for _, h := range e.Hashes {
			b[h] = true
		}
	})
}

func (j *journal) Removed(ep string, e *Removed) {
	defer j.enter(ep)()
	j.call(ep, "removed", true, func(b map[uint64]bool) {
		for _, h := range e.Hashes {
			delete(b, h)
		}
	})
}

func (j *journal) Unread(string, int) {}

func (j *journal) Cleared(ep string) {
	defer j.enter(ep)()
	j.call(ep, "cleared", true, func(b map[uint64]bool) { clear(b) })
}

func (j *journal) Lost(ep string) {
	defer j.enter(ep)()
	j.call(ep, "lost", true, func(map[uint64]bool) { delete(j.blocks, ep) })
}

func (j *journal) Live(ep string) {
	defer j.enter(ep)()
	j.call(ep, "live", false, func(map[uint64]bool) { j.blocks[ep] = map[uint64]bool{} })
}

// await waits until ok holds.
func (j *journal) await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	stop := time.AfterFunc(10*time.Second, func() { j.mu.Lock(); j.cond.Broadcast(); j.mu.Unlock() })
	defer stop.Stop()
	deadline := time.Now().Add(10 * time.Second)
	j.mu.Lock()
	defer j.mu.Unlock()
	for !ok() {
		if !time.Now().Before(deadline) {
			t.Fatalf("no %s within 10 s; told: %v", what, j.log)
		}
		j.cond.Wait()
	}
	if j.broken != "" {
		t.Fatal(j.broken)
	}
}

// holds waits until the live endpoint holds exactly these blocks.
func (j *journal) holds(t *testing.T, ep string, want ...uint64) {
	t.Helper()
	j.await(t, fmt.Sprintf("%s with blocks %v", ep, want), func() bool {
		b := j.blocks[ep]
		if b == nil || len(b) != len(want) {
			return false
		}
		for _, h := range want {
			if !b[h] {
				return false
			}
		}
		return true
	})
}

func (j *journal) gone(t *testing.T, ep string) {
	t.Helper()
	j.await(t, ep+" lost", func() bool { return j.blocks[ep] == nil && len(j.log[ep]) > 0 })
}

func (j *journal) told(ep, what string) (n int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, l := range j.log[ep] {
		if strings.HasPrefix(l, what) {
			n++
		}
	}
	return n
}

// publisher is an engine's event socket under a test's control: it sends any
// sequence number, and keeps for replay what keep says.
type publisher struct {
	t     *testing.T
	l, r  net.Listener
	topic string
	mu    sync.Mutex
	cond  *sync.Cond
	conns []*zmtp.Conn
	kept  []kept
	asked []uint64
	mute  bool // replays are not answered
	// lose drops a message of replay n, as a full queue does; the end's number is the
	// highest.
	lose func(n int, seq uint64) bool
}

type kept struct {
	seq     uint64
	payload []byte
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func newPublisher(t *testing.T) *publisher {
	p := &publisher{t: t, l: listen(t), r: listen(t), topic: "kv@1.2.3.4:1@m"}
	p.cond = sync.NewCond(&p.mu)
	go p.serve(p.l, zmtp.Pub, p.subscriber)
	go p.serve(p.r, zmtp.Router, p.replay)
	t.Cleanup(p.cut)
	return p
}

func (p *publisher) port() int       { return p.l.Addr().(*net.TCPAddr).Port }
func (p *publisher) replayPort() int { return p.r.Addr().(*net.TCPAddr).Port }

func (p *publisher) serve(l net.Listener, typ zmtp.SocketType, f func(*zmtp.Conn)) {
	for {
		nc, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer nc.Close()
			if c, err := zmtp.Handshake(nc, typ, zmtp.Limits{}); err == nil {
				f(c)
			}
		}()
	}
}

// subscriber adds a connection once it has subscribed, and waits for its end.
func (p *publisher) subscriber(c *zmtp.Conn) {
	var m zmtp.Message
	for c.Read(&m) == nil {
		p.mu.Lock()
		p.conns = append(p.conns, c)
		p.cond.Broadcast()
		p.mu.Unlock()
	}
	p.mu.Lock()
	p.conns = slices.DeleteFunc(p.conns, func(x *zmtp.Conn) bool { return x == c })
	p.mu.Unlock()
}

func (p *publisher) replay(c *zmtp.Conn) {
	var m zmtp.Message
	for c.Read(&m) == nil {
		from := binary.BigEndian.Uint64(m.Frames[1])
		p.mu.Lock()
		p.asked = append(p.asked, from)
		list, mute, n, lose := slices.Clone(p.kept), p.mute, len(p.asked), p.lose
		p.mu.Unlock()
		if mute {
			return
		}
		for _, k := range append(list, kept{seq: math.MaxUint64}) {
			if k.seq >= from && (lose == nil || !lose(n, k.seq)) {
				_ = c.Write(nil, be(k.seq), k.payload)
			}
		}
	}
}

func be(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

// subscribed waits until n connections have subscribed.
func (p *publisher) subscribed(n int) {
	p.t.Helper()
	done := time.AfterFunc(10*time.Second, p.cond.Broadcast)
	defer done.Stop()
	until := time.Now().Add(10 * time.Second)
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.conns) < n {
		if time.Now().After(until) {
			p.t.Fatal("nobody subscribed within 10 s")
		}
		p.cond.Wait()
	}
}

// send publishes; keep adds it to what a replay brings.
func (p *publisher) send(seq uint64, payload []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		_ = c.Write([]byte(p.topic), be(seq), payload)
	}
}

func (p *publisher) keep(seq uint64, payload []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.kept = append(p.kept, kept{seq, payload})
}

// cut closes all connections.
func (p *publisher) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		_ = c.Close()
	}
	p.conns = nil
}

// stored is a batch that stores one block, removed one that removes it.
func stored(hash byte) []byte {
	return append([]byte{0x92, 1, 0x91, 0x95, 0xab}, append([]byte(typeStored), 0x91, hash, 0xc0, 0x91, 1, 1)...)
}

func removed(hash byte) []byte {
	return append([]byte{0x92, 1, 0x91, 0x92, 0xac}, append([]byte(typeRemoved), 0x91, hash)...)
}

// run starts a subscriber that ends with the test.
func run(t *testing.T, o Options, endpoints ...Endpoint) *Subscriber {
	t.Helper()
	o.Logger = slog.New(slog.DiscardHandler)
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	s.SetEndpoints(endpoints)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(10 * time.Second):
			t.Error("Run did not return within 10 s")
		}
	})
	return s
}

func local(name string) Endpoint { return Endpoint{Name: name, Address: "127.0.0.1", Port: 8000} }

// until polls a counter that nothing signals.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("no %s within 10 s", what)
		}
	}
}
