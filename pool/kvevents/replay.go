package kvevents

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/fairway-ai/fairway/internal/zmtp"
)

const (
	// maxReplays is the replays in progress at once, of all endpoints.
	maxReplays = 8
	// replayTimeout bounds one replay, and replayTurn the wait for its turn: endpoints
	// whose replays never end must not keep others from going on.
	replayTimeout = 30 * time.Second
	replayTurn    = 30 * time.Second
	// An endpoint gets replayBurst replays within replayCooldown.
	replayBurst    = 2
	replayCooldown = 30 * time.Second
	// settle is the time between a subscription and the replay of what was before
	// it, for the publisher to take the subscription in.
	settle = 200 * time.Millisecond
	// replayAsks is how often a publisher is asked within one replay: one that sends
	// faster than it is read leaves out what finds its queue full. replayIdle is how
	// long it may be silent in the midst of an answer until its end counts as left out.
	replayAsks = 16
	replayIdle = 5 * time.Second
)

// replay has the messages from a sequence number on sent again, unless the
// endpoint has none of that or had too much of it. When it returns true, the
// caller has to leave the source alone; pending is handled afterwards.
func (src *source) replay(from uint64, pending *item) bool {
	if src.s.o.ReplayPort == 0 {
		return false
	}
	now := src.s.o.Now()
	if oldest := src.replays[0]; !oldest.IsZero() && now.Sub(oldest) < replayCooldown {
		return false
	}
	copy(src.replays[:], src.replays[1:])
	src.replays[replayBurst-1] = now

	src.s.mu.Lock()
	parent := src.s.running
	src.s.mu.Unlock()
	ctx, stop := context.WithCancel(parent)
	src.mu.Lock()
	if src.owner != src.conn || ctx.Err() != nil { // the connection is gone, and the next item says so
		src.mu.Unlock()
		stop()
		return true
	}
	src.held, src.stop = true, stop
	if pending != nil {
		pending.again = true
		src.unpop(*pending)
	}
	target := src.target
	src.mu.Unlock()
	src.s.stats.replays.Add(1)
	src.s.wg.Go(func() {
		defer stop()
		src.catchUp(ctx, target, from)
		src.mu.Lock()
		src.held, src.stop = false, nil
		if src.head < len(src.queue) {
			src.schedule()
		}
		src.mu.Unlock()
	})
	return true
}

// unpop puts an item back in front. The caller holds src.mu.
func (src *source) unpop(it item) {
	src.weigh(len(it.payload))
	if src.head > 0 {
		src.head--
		src.queue[src.head] = it
		return
	}
	src.queue = append(src.queue, item{})
	copy(src.queue[1:], src.queue)
	src.queue[0] = it
}

// catchUp runs one replay and leaves the state as far as it came.
func (src *source) catchUp(ctx context.Context, target Endpoint, from uint64) {
	select {
	case src.s.replays <- struct{}{}:
	default:
		select {
		case src.s.replays <- struct{}{}:
		case <-src.s.o.After(replayTurn):
			src.unreplayed(from, errReplayTurn)
			return
		case <-ctx.Done():
			return
		}
	}
	defer func() { <-src.s.replays }()
	if !src.started {
		select {
		case <-src.s.o.After(settle):
		case <-ctx.Done():
			return
		}
	}
	err := src.fetch(ctx, target, from)
	if ctx.Err() != nil {
		return // the connection has ended, or another one has come
	}
	if err != nil {
		src.unreplayed(from, err)
	}
}

// Why a replay came to nothing.
var (
	errReplayOrder = errors.New("the replayed events are not in order")
	errReplayTurn  = errors.New("other endpoints' replays take too long")
)

// unreplayed starts from nothing where a replay would have filled a gap.
func (src *source) unreplayed(from uint64, err error) {
	src.s.stats.replaysFailed.Add(1)
	src.s.log.Warn("KV cache events could not be replayed", "endpoint", src.name, "error", err)
	if from > 0 {
		src.reset()
	}
}

// sequence reads a message's number: 8 bytes, behind which some publishers append
// an identity of their own.
func sequence(frame []byte) (uint64, bool) {
	if len(frame) < 8 || len(frame) > maxSequenceFrame {
		return 0, false
	}
	return binary.BigEndian.Uint64(frame), true
}

const maxSequenceFrame = 64

// connect dials and greets.
func (s *Subscriber) connect(ctx context.Context, host string, port int, own zmtp.SocketType) (*zmtp.Conn, error) {
	if port > 65535 {
		return nil, fmt.Errorf("port %d: must be at most 65535", port)
	}
	d := net.Dialer{Timeout: dialTimeout, KeepAliveConfig: keepAlive}
	nc, err := d.DialContext(ctx, "tcp", net.JoinHostPort(host, strconv.Itoa(port)))
	if err != nil {
		return nil, err
	}
	c, err := s.greet(ctx, nc, own)
	if err != nil {
		_ = nc.Close() // the first error counts
		return nil, err
	}
	return c, nil
}

func (s *Subscriber) greet(ctx context.Context, nc net.Conn, own zmtp.SocketType) (*zmtp.Conn, error) {
	defer context.AfterFunc(ctx, func() { _ = nc.Close() })()
	if err := nc.SetDeadline(time.Now().Add(dialTimeout)); err != nil {
		return nil, err
	}
	c, err := zmtp.Handshake(nc, own, zmtp.Limits{Message: s.o.MaxMessage})
	if err != nil {
		return nil, err
	}
	return c, nc.SetDeadline(time.Time{})
}

// dialTimeout bounds connecting, and greeting.
const dialTimeout = 5 * time.Second

// keepAlive finds out that a silent peer has gone: an idle engine sends nothing,
// so its connection is all there is to go by.
var keepAlive = net.KeepAliveConfig{Enable: true, Idle: 10 * time.Second, Interval: 5 * time.Second, Count: 3}
