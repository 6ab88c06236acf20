package replicas

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
)

const (
	// maxQueue bounds the frames that wait for one replica: some seconds' worth.
	maxQueue = 128
	// maxQueueBytes bounds their memory.
	maxQueueBytes = 8 << 20
	// openTimeout bounds how long a connection may take to say hello.
	openTimeout = 3 * time.Second
	minBackoff  = 50 * time.Millisecond
	maxBackoff  = 3 * time.Second
)

// link sends to one other replica, by its address.
type link struct {
	address string
	stop    context.CancelFunc
	done    chan struct{}
	ready   chan struct{} // capacity 1: there is something in frames
	dropped interface{ Inc() }

	mu      sync.Mutex
	up      bool
	cut     context.CancelCauseFunc // ends the stream; nil while there is none
	frames  []outgoing
	bytes   int
	waiting []unacknowledged // in order of sequence numbers as sent
	lag     time.Duration
}

// unacknowledged is a frame that is on its way.
type unacknowledged struct {
	sequence uint64
	made     time.Time
}

// connect makes the links those to addresses.
func (r *Replicas) connect(ctx context.Context, addresses []string) {
	r.mu.Lock()
	var gone []*link
	for a, l := range r.links {
		if !slices.Contains(addresses, a) {
			delete(r.links, a)
			gone = append(gone, l)
		}
	}
	for _, a := range addresses {
		if r.links[a] == nil && len(r.links) < maxRemotes && ctx.Err() == nil {
			running, stop := context.WithCancel(ctx)
			l := &link{address: a, stop: stop, done: make(chan struct{}), ready: make(chan struct{}, 1), dropped: r.metrics.queueLost}
			r.links[a] = l
			go r.keep(running, l)
		}
	}
	r.mu.Unlock()
	for _, l := range gone {
		l.stop()
	}
}

// disconnect ends all links and forgets all replicas.
func (r *Replicas) disconnect() {
	r.mu.Lock()
	links := slices.Collect(maps.Values(r.links))
	clear(r.links)
	now := r.o.Now()
	for _, m := range r.remotes {
		r.dropLocked(now, m)
	}
	r.estimateLocked(now, 0)
	r.mu.Unlock()
	for _, l := range links {
		l.stop()
		<-l.done
	}
}

// keep sends until ctx ends, connecting again when that fails.
func (r *Replicas) keep(ctx context.Context, l *link) {
	defer close(l.done)
	wait := minBackoff
	failing := false
	for ctx.Err() == nil {
		began := time.Now()
		err := r.send(ctx, l)
		l.clear()
		if ctx.Err() != nil || errors.Is(err, errSelf) {
			return
		}
		if time.Since(began) > maxBackoff {
			wait, failing = minBackoff, false
		}
		if !failing {
			failing = true
			r.log.Info("replica cannot be told", "address", l.address, "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		wait = min(2*wait, maxBackoff)
	}
}

// send connects and sends until that fails.
func (r *Replicas) send(ctx context.Context, l *link) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	c, err := r.dial(l.address)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	slow := time.AfterFunc(openTimeout, func() { cancel(context.DeadlineExceeded) })
	ss, err := r.open(ctx, c)
	if !slow.Stop() && err == nil {
		err = context.DeadlineExceeded
	}
	if err != nil {
		return err
	}
	l.start(cancel)
	l.queue(r.o.Now(), r.fullFrame())
	ended := make(chan error, 1)
	go func() { ended <- r.hear(ss, l) }()
	for {
		select {
		case err := <-ended:
			return because(ctx, err)
		case <-l.ready:
		}
		for f, ok := l.next(); ok; f, ok = l.next() {
			if err := ss.SendMsg(&f.bytes); err != nil {
				cancel(nil)
				return because(ctx, <-ended) // says why
			}
			r.metrics.sent.Add(float64(f.events))
		}
	}
}

// errDeaf says that a replica acknowledges nothing.
var errDeaf = errors.New("nothing that it is told is acknowledged")

// because is why a stream ended, which says err when nobody here ended it.
func because(ctx context.Context, err error) error {
	if errors.Is(context.Cause(ctx), errDeaf) {
		return errDeaf
	}
	return err
}

// hear takes in acknowledgements until the stream ends.
func (r *Replicas) hear(ss grpc.ClientStream, l *link) error {
	for {
		m, err := receive(ss)
		if err != nil {
			return err
		}
		a, err := decodeAnswer(m)
		if err != nil {
			return err
		}
		l.acknowledge(r.o.Now(), a.acknowledged)
	}
}

// start begins to take frames of a stream that cut ends.
func (l *link) start(cut context.CancelCauseFunc) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.up, l.cut = true, cut
}

// clear gives up what has not been sent.
func (l *link) clear() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.up, l.cut, l.frames, l.waiting, l.bytes, l.lag = false, nil, nil, nil, 0, 0
}

// queue adds a frame, and drops the oldest ones where there are too many. A link that
// is not connected takes none: it begins with a full frame.
func (l *link) queue(now time.Time, f outgoing) {
	l.mu.Lock()
	if !l.up {
		l.mu.Unlock()
		return
	}
	l.frames = append(l.frames, f)
	l.bytes += len(f.bytes)
	l.waiting = append(l.waiting, unacknowledged{f.sequence, now})
	for len(l.frames) > 1 && (len(l.frames) > maxQueue || l.bytes > maxQueueBytes) {
		l.bytes -= len(l.frames[0].bytes)
		l.frames[0] = outgoing{}
		l.frames = l.frames[1:]
		l.dropped.Inc()
	}
	if n := len(l.waiting) - 2*maxQueue; n > 0 {
		l.waiting = slices.Delete(l.waiting, 0, n)
	}
	l.mu.Unlock()
	select {
	case l.ready <- struct{}{}:
	default:
	}
}

func (l *link) next() (outgoing, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.frames) == 0 {
		l.frames = nil
		return outgoing{}, false
	}
	f := l.frames[0]
	l.frames[0] = outgoing{}
	l.frames = l.frames[1:]
	l.bytes -= len(f.bytes)
	return f, true
}

// acknowledge measures how long the frame took, and forgets those before it.
func (l *link) acknowledge(now time.Time, sequence uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	i := slices.IndexFunc(l.waiting, func(u unacknowledged) bool { return u.sequence == sequence })
	if i < 0 {
		return
	}
	l.lag = max(0, now.Sub(l.waiting[i].made))
	l.waiting = slices.Delete(l.waiting, 0, i+1)
}

// lagAt is how old what the other replica knows is: the last frame's time on its way,
// or the time that the oldest one has been on its way.
func (l *link) lagAt(now time.Time) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.waiting) > 0 {
		return max(l.lag, now.Sub(l.waiting[0].made))
	}
	return l.lag
}

// lagLocked is the longest lag of all links. A replica that has acknowledged nothing for as
// long as silence is forgiven is connected to anew: it is gone, and how long that is says
// nothing of when the others hear.
func (r *Replicas) lagLocked(now time.Time) (lag time.Duration) {
	for _, l := range r.links {
		late := l.lagAt(now)
		if late > r.o.Silence {
			l.end(errDeaf)
			continue
		}
		lag = max(lag, late)
	}
	return lag
}

// end ends the stream, if there is one.
func (l *link) end(why error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cut != nil {
		l.cut(why)
	}
}
