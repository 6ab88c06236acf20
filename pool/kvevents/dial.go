package kvevents

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"time"

	"github.com/fairway-ai/fairway/internal/zmtp"
)

const (
	minBackoff = 100 * time.Millisecond
	maxBackoff = 30 * time.Second
	// steady is how long a connection must last for the next attempt to be soon.
	steady = 5 * time.Second
)

// dial keeps a connection to an endpoint until ctx ends.
func (s *Subscriber) dial(ctx context.Context, src *source, target Endpoint) {
	wait := minBackoff
	told := false
	for ctx.Err() == nil {
		from := s.o.Now()
		err := s.hold(ctx, src, target)
		if ctx.Err() != nil {
			return
		}
		s.stats.disconnects.Add(1)
		lasted := s.o.Now().Sub(from)
		if lasted >= steady {
			wait, told = minBackoff, false
		}
		if !told { // one line for an outage, however often it is tried
			told = true
			s.log.Info("KV cache events have stopped", "endpoint", src.name, "error", err)
		}
		// Half of the wait at least, so that those who lost an engine's node together
		// do not come back together.
		select {
		case <-s.o.After(wait/2 + time.Duration(s.o.Rand()*float64(wait/2))):
		case <-ctx.Done():
		}
		wait = min(2*wait, maxBackoff)
	}
}

// hold follows one connection to its end.
func (s *Subscriber) hold(ctx context.Context, src *source, target Endpoint) error {
	c, err := s.connect(ctx, target.Address, s.o.SocketPort+target.Rank, zmtp.Sub)
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { _ = c.Close() })()
	defer c.Close()
	if err := c.Subscribe(s.o.TopicFilter); err != nil {
		return fmt.Errorf("subscribing: %w", err)
	}
	s.stats.connects.Add(1)
	s.stats.connected.Add(1)
	defer s.stats.connected.Add(-1)
	number := s.conns.Add(1)
	if !src.connected(ctx, number) {
		return context.Canceled
	}
	defer src.disconnected(number)
	// Whatever endpoint the topic names, the messages are the connection's.
	return s.read(c, func([]byte) *source { return src }, number)
}

// read passes a connection's messages on until it ends.
func (s *Subscriber) read(c *zmtp.Conn, route func(endpoint []byte) *source, number uint64) error {
	var m zmtp.Message
	var model string // the last one, not to allocate it for each message
	for {
		if err := c.Read(&m); err != nil {
			if errors.Is(err, zmtp.ErrTooLarge) {
				s.stats.malformed.Add(1)
			}
			return err
		}
		if len(m.Frames) != 3 {
			s.stats.malformed.Add(1)
			continue
		}
		if len(m.Frames[2]) == 0 {
			continue // a sign of life
		}
		endpoint, name := splitTopic(m.Frames[0])
		src := route(endpoint)
		if src == nil {
			s.stats.unknown.Add(1)
			continue
		}
		seq, ok := sequence(m.Frames[1])
		if !ok {
			s.stats.malformed.Add(1)
			continue
		}
		if string(name) != model {
			model = string(name)
		}
		src.push(number, seq, model, m.Frames[2])
	}
}

// accept takes engines' connections until the listener is closed.
func (s *Subscriber) accept(ctx context.Context, l net.Listener) {
	for {
		nc, err := l.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return
			}
			select { // out of file descriptors, most likely
			case <-s.o.After(minBackoff):
				continue
			case <-ctx.Done():
				return
			}
		}
		if !s.admit(nc) {
			s.stats.refused.Add(1)
			_ = nc.Close() // nothing was said
			continue
		}
		s.wg.Go(func() {
			defer s.dismiss(nc)
			if err := s.serve(ctx, nc); err != nil && ctx.Err() == nil && !errors.Is(err, io.EOF) {
				s.log.Debug("A connection for KV cache events has ended", "peer", nc.RemoteAddr().String(), "error", err)
			}
		})
	}
}

// connsPerEndpoint is how many connections an endpoint may have: one, and those of its
// earlier lives whose end has not shown yet.
const connsPerEndpoint = 4

// admit notes a connection, unless there are too many or it is no endpoint's. An address
// cannot take the connections of others.
func (s *Subscriber) admit(nc net.Conn) bool {
	from := remote(nc)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running.Err() != nil || len(s.open) >= s.o.MaxConnections {
		return false
	}
	if !s.o.AnySource && s.peers[from] >= connsPerEndpoint*s.hosts[from] {
		return false
	}
	s.open[nc] = struct{}{}
	s.peers[from]++
	return true
}

func (s *Subscriber) dismiss(nc net.Conn) {
	_ = nc.Close() // it has ended, or is to
	from := remote(nc)
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, nc)
	if s.peers[from]--; s.peers[from] == 0 {
		delete(s.peers, from)
	}
}

func remote(nc net.Conn) netip.Addr {
	a, ok := nc.RemoteAddr().(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	return a.AddrPort().Addr().Unmap()
}

// serve follows one engine that has dialled.
func (s *Subscriber) serve(ctx context.Context, nc net.Conn) error {
	if tcp, ok := nc.(*net.TCPConn); ok {
		if err := tcp.SetKeepAliveConfig(keepAlive); err != nil {
			return err
		}
	}
	c, err := s.greet(ctx, nc, zmtp.Sub)
	if err != nil {
		return err
	}
	if err := c.Subscribe(s.o.TopicFilter); err != nil {
		return fmt.Errorf("subscribing: %w", err)
	}
	s.stats.connects.Add(1)
	s.stats.connected.Add(1)
	defer s.stats.connected.Add(-1)
	defer s.stats.disconnects.Add(1)
	number := s.conns.Add(1)
	spoken := make(map[*source]struct{})
	defer func() {
		for src := range spoken {
			src.disconnected(number)
		}
	}()
	from := remote(nc)
	return s.read(c, func(endpoint []byte) *source {
		src := s.find(endpoint)
		if src == nil || !s.o.AnySource && !src.at(from) {
			return nil
		}
		if !src.connected(ctx, number) {
			return nil
		}
		spoken[src] = struct{}{}
		return src
	}, number)
}

// at reports whether the endpoint has this address.
func (src *source) at(a netip.Addr) bool {
	src.mu.Lock()
	defer src.mu.Unlock()
	own, err := netip.ParseAddr(src.target.Address)
	return err == nil && own.Unmap() == a
}
