package replicas

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"

	"github.com/fairway-ai/fairway/scheduler"
	"github.com/fairway-ai/fairway/scheduler/prefix"
)

// Picker is what the endpoints are learned from and what is told of changes.
// *epp.Picker implements it.
type Picker interface {
	// EachPool calls yield with each pool's name, snapshot and prefix index, which may
	// be nil, until it returns false.
	EachPool(yield func(name string, snap *scheduler.Snapshot, index *prefix.Index) bool)
	// Lowered says that less work is outstanding on the endpoint whose Load is l.
	Lowered(l *scheduler.Load)
	// Assume says that a prompt with these keys was sent to the endpoint whose Load is l,
	// whose engine may report what it holds but has not reported that yet.
	Assume(l *scheduler.Load, keys []prefix.Block)
}

// Peers finds the other replicas.
type Peers interface {
	// Watch calls set with the addresses, "ip:port", of all replicas whenever they
	// change, and at least once when they are known. This replica may be among them.
	// It returns when ctx ends, or with an error when it cannot watch.
	Watch(ctx context.Context, set func(addresses []string)) error
}

// Options configure [New]. ID, Peers and Listen are required.
type Options struct {
	// ID is this replica's name, unique among them: the pod's.
	ID string
	// Incarnation tells lives of an ID apart, the later one being greater; 0 means
	// the time of New.
	Incarnation uint64
	// Peers finds the other replicas.
	Peers Peers
	// Listen is the address that the others call.
	Listen string
	// TLS certifies the replicas to each other; nil means plaintext.
	TLS *TLS
	// Interval is how often changes are told. 0 means 20 ms; it is kept between 10 ms
	// and 50 ms.
	Interval time.Duration
	// Silence is how long a replica that says nothing still counts. 0 means 3 s.
	Silence time.Duration
	// Registry gets the metrics; nil means that nobody looks.
	Registry prometheus.Registerer
	// Now is the clock; nil means time.Now.
	Now func() time.Time
	// Log gets what an operator must know; nil discards it.
	Log *slog.Logger
}

const (
	defaultInterval = 20 * time.Millisecond
	minInterval     = 10 * time.Millisecond
	maxInterval     = 50 * time.Millisecond
	defaultSilence  = 3 * time.Second
	// fullEvery separates full frames.
	fullEvery = time.Second
	// estimateEvery separates estimates of what is not known yet.
	estimateEvery = 50 * time.Millisecond
	// maxRemotes bounds the replicas that are listened to.
	maxRemotes = 64
)

// Replicas exchanges with the other replicas. It is safe for concurrent use.
type Replicas struct {
	o       Options
	log     *slog.Logger
	metrics *replicaMetrics
	on      net.Listener
	server  *grpc.Server
	ring    *ring
	running atomic.Bool
	asleep  atomic.Bool   // nothing is in flight, and nothing changes
	wake    chan struct{} // capacity 1

	mu        sync.Mutex
	picker    Picker // nil until Run
	directory directory
	remotes   map[string]*remote
	sequence  uint64
	links     map[string]*link // by address
	estimated time.Time        // when estimateLocked was called last
}

// New opens the listener. Run serves it; Close gives it up without.
func New(o Options) (*Replicas, error) {
	if o.ID == "" || len(o.ID) > maxID {
		return nil, fmt.Errorf("replicas: the id %q must have 1 to %d bytes", o.ID, maxID)
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Incarnation == 0 {
		o.Incarnation = uint64(o.Now().UnixNano())
	}
	o.Interval = min(max(cmp.Or(o.Interval, defaultInterval), minInterval), maxInterval)
	o.Silence = cmp.Or(o.Silence, defaultSilence)
	r := &Replicas{
		o: o, log: o.Log, ring: newRing(), wake: make(chan struct{}, 1),
		remotes: map[string]*remote{}, links: map[string]*link{},
	}
	var err error
	if r.metrics, err = newMetrics(o.Registry); err != nil {
		return nil, fmt.Errorf("replicas: metrics: %w", err)
	}
	if r.on, err = net.Listen("tcp", o.Listen); err != nil {
		return nil, fmt.Errorf("replicas' listener: %w", err)
	}
	r.server = r.newServer()
	return r, nil
}

// Addr is the address listened on.
func (r *Replicas) Addr() net.Addr { return r.on.Addr() }

// Close closes the listener of replicas that were not run.
func (r *Replicas) Close() error { return r.on.Close() }

// Sent implements epp.Sharer: a prompt of these blocks was sent to the endpoint whose
// Load is l. It neither waits nor allocates.
func (r *Replicas) Sent(l *scheduler.Load, blocks []prefix.Block) { r.put(l, blocks, false) }

// SentKeys implements epp.Sharer: it is Sent of a prompt's exact keys.
func (r *Replicas) SentKeys(l *scheduler.Load, keys []prefix.Block) { r.put(l, keys, true) }

func (r *Replicas) put(l *scheduler.Load, blocks []prefix.Block, exact bool) {
	if !r.running.Load() {
		return
	}
	r.ring.put(l, blocks, exact)
	if r.asleep.Load() && r.asleep.CompareAndSwap(true, false) {
		select {
		case r.wake <- struct{}{}:
		default:
		}
	}
}

// Run exchanges with the other replicas until ctx ends, and then returns nil. What is
// known of them is forgotten then. It returns an error when they cannot be looked for.
func (r *Replicas) Run(ctx context.Context, p Picker) error {
	r.mu.Lock()
	if r.picker != nil {
		r.mu.Unlock()
		return errors.New("the replicas exchange already; call Run once")
	}
	r.picker = p
	r.directory.refresh(p)
	r.mu.Unlock()
	r.running.Store(true)
	defer r.running.Store(false)

	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		if err := r.server.Serve(r.on); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			return fmt.Errorf("serve replicas: %w", err)
		}
		return nil
	})
	group.Go(func() error {
		<-ctx.Done()
		r.server.Stop()
		return nil
	})
	group.Go(func() error {
		err := r.o.Peers.Watch(ctx, func(addresses []string) { r.connect(ctx, addresses) })
		if err != nil && ctx.Err() == nil {
			return fmt.Errorf("look for replicas: %w", err)
		}
		return nil
	})
	group.Go(func() error { r.tell(ctx); return nil })
	err := group.Wait()
	r.disconnect()
	return err
}

// tell makes frames until ctx ends.
func (r *Replicas) tell(ctx context.Context) {
	tick := time.NewTicker(r.o.Interval)
	defer tick.Stop()
	quiet := 0
	var full time.Time
	// pace makes the ticks slow while there is nothing to tell; signs of life go on.
	pace := func(slow bool) {
		if r.asleep.Swap(slow) == slow {
			return
		}
		if slow {
			tick.Reset(fullEvery)
		} else {
			tick.Reset(r.o.Interval)
		}
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.wake:
			quiet = 0
			tick.Reset(r.o.Interval)
			continue
		case <-tick.C:
		}
		now := r.o.Now()
		due := now.Sub(full) >= fullEvery
		if due {
			full = now
		}
		if r.flush(due) {
			quiet = 0
			pace(false)
		} else if quiet++; quiet >= quietTicks {
			pace(true)
		}
	}
}

// quietTicks is how often in a row nothing must have been there to tell before the
// ticks become slow.
const quietTicks = 50

// flush tells the other replicas what has changed, or with full all there is, and
// looks after what they told. It reports whether anything is going on.
func (r *Replicas) flush(full bool) (busy bool) {
	now := r.o.Now()
	r.mu.Lock()
	for _, e := range r.directory.refresh(r.picker) {
		for _, m := range r.remotes {
			m.forgetEndpoint(now, e.key)
		}
	}
	frames, busy := r.framesLocked(full)
	lowered := r.expireLocked(now)
	lag := r.lagLocked(now)
	if now.Sub(r.estimated) >= estimateEvery {
		r.estimated = now
		r.estimateLocked(now, lag)
	}
	for _, l := range r.links {
		for _, f := range frames {
			l.queue(now, f)
		}
	}
	p := r.picker
	r.mu.Unlock()
	r.metrics.lag.Set(lag.Seconds())
	r.metrics.ringLost.Add(float64(r.ring.lost.Swap(0)))
	for _, l := range lowered {
		p.Lowered(l)
	}
	return busy
}

// outgoing is a frame on its way.
type outgoing struct {
	sequence uint64
	bytes    []byte
	events   int
}

// framesLocked makes frames of what has changed since the last ones, or with full of
// all there is.
func (r *Replicas) framesLocked(full bool) (frames []outgoing, busy bool) {
	var f outgoing
	begin := func(full bool) {
		r.sequence++
		f = outgoing{sequence: r.sequence, bytes: appendHeader(nil, r.sequence, full)}
	}
	begin(full)
	now := r.o.Now()
	for _, p := range r.directory.pools {
		for _, e := range p.endpoints {
			w := e.load.Own()
			busy = busy || w.Requests > 0
			if changed := w != e.told; changed || full && w != (scheduler.Work{}) {
				e.told = w
				f.bytes = appendWork(f.bytes, workAt(now, e.key, w))
				f.events++
				busy = busy || changed
			}
		}
	}
	r.ring.take(func(l *scheduler.Load, blocks []prefix.Block, exact bool) {
		busy = true
		e := r.directory.byLoad[l]
		if e == nil || len(r.links) == 0 {
			return // the endpoint is gone, or nobody listens
		}
		if len(f.bytes) > targetFrame {
			frames = append(frames, f)
			begin(false)
		}
		f.bytes = appendPrompt(f.bytes, &prompt{e.key, blocks, exact})
		f.events++
	})
	if full || f.events > 0 {
		frames = append(frames, f)
	}
	return frames, busy
}

// fullFrame is all there is, for a replica that has just been connected to.
func (r *Replicas) fullFrame() outgoing {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sequence++
	f := outgoing{sequence: r.sequence, bytes: appendHeader(nil, r.sequence, true)}
	now := r.o.Now()
	for _, p := range r.directory.pools {
		for _, e := range p.endpoints {
			if w := e.load.Own(); w != (scheduler.Work{}) {
				f.bytes = appendWork(f.bytes, workAt(now, e.key, w))
				f.events++
			}
		}
	}
	return f
}
