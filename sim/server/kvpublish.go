package server

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/fairway-ai/fairway/internal/zmtp"
)

// KVEvents says where and how a server publishes its KV cache events, as vLLM's
// --kv-events-config does.
type KVEvents struct {
	// Endpoint is "tcp://HOST:PORT"; "" publishes nothing. A host "*" or "::" is
	// listened on, any other is dialled.
	Endpoint string
	// ReplayEndpoint is where missed events can be asked for; "" means nowhere.
	ReplayEndpoint string
	// Topic is what messages begin with.
	Topic string
	// Format is "array" or "map", which are vLLM's, or "sglang"; "" means array.
	Format string
	// Groups are the kinds of a hybrid model's groups of layers, such as
	// full_attention and sliding_window: each reports its blocks. None means that
	// events do not tell of groups.
	Groups []string
	// BufferSteps is how many messages can be replayed; 0 means DefaultBufferSteps.
	BufferSteps int
}

// The formats of KVEvents.
const (
	KVArray  = "array"
	KVMap    = "map"
	KVSGLang = "sglang"
)

// KVFormats are the formats of KVEvents.
func KVFormats() []string { return []string{KVArray, KVMap, KVSGLang} }

// DefaultBufferSteps is KVEvents.BufferSteps when it is 0.
const DefaultBufferSteps = 10_000

const (
	maxGroups = 16
	// maxBufferBytes bounds what can be replayed, maxUnsent what one subscriber has
	// not taken: beyond, it loses messages, as a PUB socket's do.
	maxBufferBytes = 256 << 20
	maxUnsent      = 4096
	kvHandshake    = 5 * time.Second
	kvWrite        = 30 * time.Second
	kvRedial       = 200 * time.Millisecond
)

func (k KVEvents) validate() error {
	if k.Endpoint == "" {
		if k.ReplayEndpoint != "" {
			return fmt.Errorf("KV events: a replay endpoint needs an endpoint")
		}
		return nil
	}
	switch {
	case k.Format != "" && !slices.Contains(KVFormats(), k.Format):
		return fmt.Errorf("KV events: format %.60q: must be one of %v", k.Format, KVFormats())
	case k.Format == KVSGLang && len(k.Groups) > 0:
		return fmt.Errorf("KV events: groups: SGLang's events do not tell of them")
	}
	if len(k.Groups) > maxGroups {
		return fmt.Errorf("KV events: %d groups: at most %d are supported", len(k.Groups), maxGroups)
	}
	for _, g := range k.Groups {
		if err := checkName(g); err != nil {
			return fmt.Errorf("KV events: group: %w", err)
		}
	}
	if k.BufferSteps < 0 {
		return fmt.Errorf("KV events: %d buffered steps: must not be negative", k.BufferSteps)
	}
	for _, e := range []string{k.Endpoint, k.ReplayEndpoint} {
		if e == "" {
			continue
		}
		if _, _, err := tcpAddress(e, 0); err != nil {
			return err
		}
	}
	return nil
}

// tcpAddress splits a ZeroMQ endpoint into what package net calls its address, for a
// rank, and whether to listen there. Port 0, which is any, is any for every rank.
func tcpAddress(endpoint string, rank int) (address string, bind bool, err error) {
	rest, ok := strings.CutPrefix(endpoint, "tcp://")
	if !ok {
		return "", false, fmt.Errorf("KV events: %q: must be tcp://HOST:PORT", endpoint)
	}
	host, port, err := net.SplitHostPort(rest)
	if err != nil {
		return "", false, fmt.Errorf("KV events: %q: must be tcp://HOST:PORT", endpoint)
	}
	bind = host == "*" || host == "::"
	if host == "*" {
		host = ""
	}
	if n, err := strconv.Atoi(port); err == nil && n > 0 {
		port = strconv.Itoa(n + rank)
	}
	return net.JoinHostPort(host, port), bind, nil
}

// publisher sends a server's KV cache events to whoever subscribes, and replays
// them. Sequence numbers begin at 0 with the publisher.
type publisher struct {
	topic  []byte
	steps  int
	clock  Clock
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
	addr   net.Addr // of the bound endpoint
	replay net.Addr

	mu     sync.Mutex
	next   uint64
	buffer []kvMessage // the newest steps of them
	bytes  int
	subs   map[*subscription]struct{}
	conns  map[net.Conn]struct{}
	closed bool
}

type kvMessage struct {
	seq     uint64
	payload []byte
}

// subscription is one subscriber's connection.
type subscription struct {
	out    chan kvMessage
	topics map[string]struct{} // guarded by the publisher's mutex
}

// newPublisher listens, and dials in the background. A data parallel rank listens that
// many ports higher; where it dials, too, as vLLM's does.
func newPublisher(k KVEvents, rank int, clock Clock) (*publisher, error) {
	p := &publisher{topic: []byte(k.Topic), steps: k.BufferSteps, clock: clock, subs: make(map[*subscription]struct{}), conns: make(map[net.Conn]struct{})}
	if p.steps == 0 {
		p.steps = DefaultBufferSteps
	}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	address, bind, err := tcpAddress(k.Endpoint, rank)
	if err != nil {
		p.cancel()
		return nil, err
	}
	if bind {
		p.addr, err = p.listen(address, zmtp.Pub, p.serve)
	} else {
		p.wg.Go(func() { p.dial(address) })
	}
	if err == nil && k.ReplayEndpoint != "" {
		// Not address: what dials has it.
		var at string
		if at, _, err = tcpAddress(k.ReplayEndpoint, rank); err == nil {
			p.replay, err = p.listen(at, zmtp.Router, p.serveReplay)
		}
	}
	if err != nil {
		p.close()
		return nil, fmt.Errorf("KV events: %w", err)
	}
	return p, nil
}

func (p *publisher) listen(address string, own zmtp.SocketType, serve func(net.Conn, *zmtp.Conn)) (net.Addr, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(p.ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	context.AfterFunc(p.ctx, func() { _ = l.Close() })
	p.wg.Go(func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			p.wg.Go(func() { p.greet(nc, own, serve) })
		}
	})
	return l.Addr(), nil
}

// greet serves a connection to its end.
func (p *publisher) greet(nc net.Conn, own zmtp.SocketType, serve func(net.Conn, *zmtp.Conn)) {
	defer nc.Close()
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return
	}
	p.conns[nc] = struct{}{}
	p.mu.Unlock()
	defer func() { p.mu.Lock(); delete(p.conns, nc); p.mu.Unlock() }()
	if nc.SetDeadline(time.Now().Add(kvHandshake)) != nil {
		return
	}
	c, err := zmtp.Handshake(nc, own, zmtp.Limits{Message: 4096})
	if err != nil || nc.SetDeadline(time.Time{}) != nil {
		return
	}
	serve(nc, c)
}

// dial keeps a connection to a subscriber that listens.
func (p *publisher) dial(address string) {
	var d net.Dialer
	for p.ctx.Err() == nil {
		if nc, err := d.DialContext(p.ctx, "tcp", address); err == nil {
			p.greet(nc, zmtp.Pub, p.serve)
		}
		again := make(chan struct{})
		stop := p.clock.AfterFunc(kvRedial, func() { close(again) })
		select {
		case <-again:
		case <-p.ctx.Done():
			stop()
		}
	}
}

// serve sends a subscriber what it asked for.
func (p *publisher) serve(nc net.Conn, c *zmtp.Conn) {
	sub := &subscription{out: make(chan kvMessage, maxUnsent), topics: make(map[string]struct{})}
	p.mu.Lock()
	p.subs[sub] = struct{}{}
	p.mu.Unlock()
	ctx, done := context.WithCancel(p.ctx)
	defer func() {
		done()
		p.mu.Lock()
		delete(p.subs, sub)
		p.mu.Unlock()
	}()
	p.wg.Go(func() {
		defer nc.Close()
		for {
			select {
			case m := <-sub.out:
				if nc.SetWriteDeadline(time.Now().Add(kvWrite)) != nil || c.Write(p.topic, binary.BigEndian.AppendUint64(nil, m.seq), m.payload) != nil {
					return
				}
			case <-ctx.Done():
				return
			}
		}
	})
	var m zmtp.Message
	for c.Read(&m) == nil {
		if prefix, wanted, ok := zmtp.Subscription(m.Frames[0]); ok {
			p.subscribe(sub, string(prefix), wanted)
		}
	}
}

// maxTopics bounds the subscriptions of one connection.
const maxTopics = 64

func (p *publisher) subscribe(sub *subscription, prefix string, wanted bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !wanted {
		delete(sub.topics, prefix)
	} else if len(sub.topics) < maxTopics {
		sub.topics[prefix] = struct{}{}
	}
}

// publish sends a message to all subscribers. It never waits for one.
func (p *publisher) publish(payload []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	m := kvMessage{p.next, payload}
	p.next++
	p.buffer = append(p.buffer, m)
	p.bytes += len(payload)
	drop := 0
	for len(p.buffer)-drop > p.steps || p.bytes > maxBufferBytes {
		p.bytes -= len(p.buffer[drop].payload)
		p.buffer[drop] = kvMessage{}
		drop++
	}
	p.buffer = p.buffer[drop:]
	for sub := range p.subs {
		for prefix := range sub.topics {
			if strings.HasPrefix(string(p.topic), prefix) {
				select {
				case sub.out <- m:
				default: // it is too slow, and finds a gap
				}
				break
			}
		}
	}
}

func (p *publisher) close() {
	p.cancel()
	p.mu.Lock()
	p.closed = true
	for nc := range p.conns {
		_ = nc.Close() // there is nobody to tell
	}
	p.mu.Unlock()
	p.wg.Wait()
}
