package fire

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fairway-ai/fairway/internal/zmtp"
)

// kvHonest is an endpoint that says what is so, one message after another, and waits
// for each to be known.
type kvHonest struct {
	r     *kvRig
	lis   []net.Listener
	mu    sync.Mutex
	cond  *sync.Cond
	conns int
	conn  *zmtp.Conn
	raw   []net.Conn
	seq   uint64
	kept  [][]byte // by sequence number, for replays
	steps int
	wg    sync.WaitGroup
}

func newKVHonest(r *kvRig, events, replays net.Listener) *kvHonest {
	h := &kvHonest{r: r}
	h.cond = sync.NewCond(&h.mu)
	if r.bind {
		nc, err := kvDialFrom(context.Background(), kvHonestAddress, r.bound)
		if err != nil {
			r.t.Fatal(err)
		}
		h.raw = append(h.raw, nc)
		h.wg.Go(func() { h.publishes(nc) })
		return h
	}
	h.lis = []net.Listener{events, replays}
	h.wg.Go(func() { h.accept(events, h.publishes) })
	h.wg.Go(func() { h.accept(replays, h.replays) })
	return h
}

func kvDialFrom(ctx context.Context, address string, to net.Addr) (net.Conn, error) {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}, Timeout: patience}
	return d.DialContext(ctx, "tcp", to.String())
}

func (h *kvHonest) accept(l net.Listener, f func(net.Conn)) {
	for {
		nc, err := l.Accept()
		if err != nil {
			return
		}
		h.mu.Lock()
		h.raw = append(h.raw, nc)
		h.mu.Unlock()
		h.wg.Go(func() { f(nc) })
	}
}

func (h *kvHonest) publishes(nc net.Conn) {
	defer nc.Close()
	c, err := zmtp.Handshake(nc, zmtp.Pub, zmtp.Limits{})
	if err != nil {
		return
	}
	var m zmtp.Message
	for c.Read(&m) == nil {
		h.mu.Lock()
		h.conn = c
		h.conns++
		h.cond.Broadcast()
		h.mu.Unlock()
	}
}

func (h *kvHonest) replays(nc net.Conn) {
	defer nc.Close()
	c, err := zmtp.Handshake(nc, zmtp.Router, zmtp.Limits{})
	if err != nil {
		return
	}
	var m zmtp.Message
	for c.Read(&m) == nil {
		from := binary.BigEndian.Uint64(m.Frames[1])
		h.mu.Lock()
		kept := h.kept
		h.mu.Unlock()
		for seq := from; seq < uint64(len(kept)); seq++ {
			_ = c.Write(nil, kvNumber(seq), kept[seq]) // the reader's end shows
		}
		_ = c.Write(nil, kvNumber(^uint64(0)), nil)
	}
}

func (h *kvHonest) connections() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.conns
}

// publish sends a message, or only keeps it for replays when it is to be lost.
func (h *kvHonest) publish(payload []byte, lost bool) {
	h.r.t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	seq := h.seq
	h.seq++
	h.kept = append(h.kept, payload)
	if lost {
		return
	}
	if err := h.conn.Write([]byte(kvTopic(kvHonestAddress, kvModel)), kvNumber(seq), payload); err != nil {
		h.r.t.Fatalf("the honest endpoint: %v", err)
	}
}

// begin waits until it is followed, and stores its lasting prompt.
func (h *kvHonest) begin() {
	h.r.t.Helper()
	eventually(h.r.t, "the honest endpoint is subscribed to", func() error {
		if h.connections() == 0 {
			return fmt.Errorf("nobody subscribed")
		}
		return nil
	})
	h.publish(kvBatch(kvStore(1, nil, kvLasting)), false)
	h.r.awaits("the honest endpoint's lasting prompt", kvHonestSlot, kvLasting, len(kvLasting))
}

// step stores a prompt, in two events, and removes it piece by piece. What each message
// says has to be known before the next one is sent.
func (h *kvHonest) step() {
	h.r.t.Helper()
	h.steps++
	prompt := kvPrompt(uint32(1_000_000 + 1000*h.steps))
	first := uint64(1000 * h.steps)
	half := len(prompt) / 2
	parent := first + uint64(half/kvBlock) - 1
	for _, s := range []struct {
		payload []byte
		want    int
	}{
		{kvBatch(kvStore(first, nil, prompt[:half])), half},
		{kvBatch(kvStore(parent+1, &parent, prompt[half:])), len(prompt)},
		{kvBatch(kvRemove(parent + 1)), half},
		{kvBatch(kvRemove(first)), 0},
		{kvBatch(kvRemove(parent), kvRemove(parent+2)), 0},
	} {
		h.publish(s.payload, false)
		h.r.awaits("the honest endpoint's message", kvHonestSlot, prompt, s.want)
	}
}

func (h *kvHonest) end() {
	for _, l := range h.lis {
		_ = l.Close()
	}
	h.mu.Lock()
	for _, nc := range h.raw {
		_ = nc.Close()
	}
	h.mu.Unlock()
	h.wg.Wait()
}

// kvLiar is a hostile endpoint: whatever connects to it, or it connects to, meets its
// attack.
type kvLiar struct {
	r       *kvRig
	a       *kvAttack
	address string
	lis     []net.Listener
	// did is the attack's own count of what it did.
	did  atomic.Int64
	ctx  context.Context
	stop context.CancelFunc
	wg   sync.WaitGroup
}

func newKVLiar(r *kvRig, a *kvAttack, i int, events, replays net.Listener) *kvLiar {
	l := &kvLiar{r: r, a: a, address: kvLiarAddress(i)}
	l.ctx, l.stop = context.WithCancel(context.Background())
	for _, lis := range []net.Listener{events, replays} {
		if lis != nil {
			l.lis = append(l.lis, lis)
		}
	}
	return l
}

// begin begins the attack.
func (l *kvLiar) begin() {
	if !l.r.bind {
		for i, f := range []func(*kvLiar, net.Conn){l.a.conn, l.a.replay} {
			if f == nil {
				_ = l.lis[i].Close()
				continue
			}
			l.wg.Go(func() {
				for {
					nc, err := l.lis[i].Accept()
					if err != nil {
						return
					}
					l.wg.Go(func() { l.meet(nc, f) })
				}
			})
		}
		return
	}
	for range max(1, l.a.parallel) {
		l.wg.Go(func() {
			for l.ctx.Err() == nil {
				if nc, err := kvDialFrom(l.ctx, l.address, l.r.bound); err == nil {
					l.meet(nc, l.a.conn)
				}
				select { // some 1000 connections a second
				case <-time.After(time.Duration(max(1, l.a.parallel)) * time.Millisecond):
				case <-l.ctx.Done():
				}
			}
		})
	}
}

// meet runs one connection of the attack.
func (l *kvLiar) meet(nc net.Conn, f func(*kvLiar, net.Conn)) {
	defer nc.Close()
	defer context.AfterFunc(l.ctx, func() { _ = nc.Close() })()
	f(l, nc)
}

// end ends the attack and all its connections.
func (l *kvLiar) end() {
	l.stop()
	for _, lis := range l.lis {
		_ = lis.Close()
	}
	l.wg.Wait()
}

// greeted greets as a publisher and waits for the subscription; false when that failed.
func (l *kvLiar) greeted(nc net.Conn) (*zmtp.Conn, bool) {
	c, err := zmtp.Handshake(nc, zmtp.Pub, zmtp.Limits{})
	if err != nil {
		return nil, false
	}
	var m zmtp.Message
	return c, c.Read(&m) == nil
}

// asked greets as a replayer and waits for the question; false when that failed.
func (l *kvLiar) asked(nc net.Conn) (c *zmtp.Conn, from uint64, ok bool) {
	c, err := zmtp.Handshake(nc, zmtp.Router, zmtp.Limits{})
	if err != nil {
		return nil, 0, false
	}
	var m zmtp.Message
	if c.Read(&m) != nil || len(m.Frames) != 2 || len(m.Frames[1]) != 8 {
		return nil, 0, false
	}
	return c, binary.BigEndian.Uint64(m.Frames[1]), true
}

// topic is the one that the liar should use.
func (l *kvLiar) topic() []byte { return []byte(kvTopic(l.address, kvModel)) }

// says is what the liar says first: that it holds its prompt.
func (l *kvLiar) says(c *zmtp.Conn, seq uint64) error {
	return c.Write(l.topic(), kvNumber(seq), kvBatch(kvStore(1, nil, kvLie)))
}

// holds keeps the connection, reading what comes, until it ends.
func (l *kvLiar) holds(nc net.Conn) {
	var b [4096]byte
	for {
		if _, err := nc.Read(b[:]); err != nil {
			return
		}
	}
}

// slowly writes b, a byte at a time.
func (l *kvLiar) slowly(nc net.Conn, b []byte, each time.Duration) {
	for i := range b {
		if _, err := nc.Write(b[i : i+1]); err != nil {
			return
		}
		l.did.Add(1)
		select {
		case <-time.After(each):
		case <-l.ctx.Done():
			return
		}
	}
}
