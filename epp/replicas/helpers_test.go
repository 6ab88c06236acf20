package replicas

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/fairway-ai/fairway/scheduler"
	"github.com/fairway-ai/fairway/scheduler/prefix"
)

// fakePicker has one pool of which endpoints come and go.
type fakePicker struct {
	mu      sync.Mutex
	snap    *scheduler.Snapshot
	index   *prefix.Index
	lowered map[*scheduler.Load]int
	assumed map[*scheduler.Load][]prefix.Block
}

func newFakePicker(n int) *fakePicker {
	p := &fakePicker{index: prefix.New(prefix.Options{}), lowered: map[*scheduler.Load]int{}, assumed: map[*scheduler.Load][]prefix.Block{}}
	ids := make([]string, n)
	for i := range ids {
		ids[i] = fmt.Sprintf("ns/pod-%d", i)
	}
	p.set(ids...)
	return p
}

// set makes the endpoints those of the ids; those that were there keep their Load.
func (p *fakePicker) set(ids ...string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	next := &scheduler.Snapshot{Slots: 64}
	for i, id := range ids {
		e := scheduler.Endpoint{ID: id, Address: "addr-of-" + id, Slot: int32(i), Load: new(scheduler.Load)}
		if p.snap != nil {
			for _, o := range p.snap.Endpoints {
				if o.ID == id {
					e = o
				}
			}
		}
		p.index.AddEndpoint(e.Slot, 0)
		next.Endpoints = append(next.Endpoints, e)
	}
	p.snap = next
}

func (p *fakePicker) EachPool(yield func(string, *scheduler.Snapshot, *prefix.Index) bool) {
	p.mu.Lock()
	snap := p.snap
	p.mu.Unlock()
	yield("ns/pool", snap, p.index)
}

func (p *fakePicker) Lowered(l *scheduler.Load) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lowered[l]++
}

func (p *fakePicker) Assume(l *scheduler.Load, keys []prefix.Block) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.assumed[l] = append(p.assumed[l], keys...)
}

func (p *fakePicker) assumedAt(l *scheduler.Load) []prefix.Block {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.assumed[l])
}

func (p *fakePicker) load(i int) *scheduler.Load {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.snap.Endpoints[i].Load
}

func (p *fakePicker) loweredAt(l *scheduler.Load) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.lowered[l]
}

// members is a list of replicas that a test changes.
type members struct {
	mu      sync.Mutex
	now     []string
	changed chan struct{}
}

func newMembers() *members { return &members{changed: make(chan struct{})} }

func (m *members) set(addresses ...string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.now = addresses
	close(m.changed)
	m.changed = make(chan struct{})
}

// Watch implements Peers.
func (m *members) Watch(ctx context.Context, set func([]string)) error {
	for {
		m.mu.Lock()
		now, changed := m.now, m.changed
		m.mu.Unlock()
		set(now)
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		}
	}
}

// clock is a time that a test may shift.
type clock struct {
	mu    sync.Mutex
	ahead time.Duration
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.ahead)
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ahead += d
}

// node is a running replica.
type node struct {
	*Replicas
	picker *fakePicker
	clock  *clock
	reg    *prometheus.Registry
	stop   func()
}

func (n *node) address() string { return n.Addr().String() }

// start runs a replica until the test ends or stop is called.
func start(t *testing.T, id string, incarnation uint64, peers Peers, endpoints int, change ...func(*Options)) *node {
	t.Helper()
	n := &node{picker: newFakePicker(endpoints), clock: &clock{}, reg: prometheus.NewRegistry()}
	o := Options{
		ID: id, Incarnation: incarnation, Peers: peers, Listen: "127.0.0.1:0",
		Registry: n.reg, Now: n.clock.now, Log: slog.New(slog.DiscardHandler),
	}
	for _, f := range change {
		f(&o)
	}
	r, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	n.Replicas = r
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx, n.picker) }()
	n.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(n.stop)
	return n
}

// cluster starts n replicas that all know each other, and themselves.
func cluster(t *testing.T, n, endpoints int, change ...func(*Options)) []*node {
	t.Helper()
	m := newMembers()
	var nodes []*node
	var addresses []string
	for i := range n {
		nodes = append(nodes, start(t, fmt.Sprintf("replica-%d", i), 1, m, endpoints, change...))
		addresses = append(addresses, nodes[i].address())
	}
	m.set(addresses...)
	for _, x := range nodes {
		eventually(t, x.o.ID+" knows the others", func() bool { return x.known() == n-1 })
	}
	return nodes
}

// known is the number of other replicas that x counts.
func (n *node) known() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.remotes)
}

// linked is the number of replicas that are told what r does.
func linked(r *Replicas) (up int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, l := range r.links {
		l.mu.Lock()
		if l.up {
			up++
		}
		l.mu.Unlock()
	}
	return up
}

// inFlight is what a load has, without the estimate of what is not known.
func inFlight(l *scheduler.Load) scheduler.LoadView {
	l.SetUnseen(0, 0)
	v := l.View()
	v.PrefillRate = 0
	return v
}

// eventually waits until ok.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain until %s", what)
		}
	}
}

// gauge is the value of a metric with a label value, or of one without labels.
func gauge(t *testing.T, reg *prometheus.Registry, name, label string) float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == name && (len(m.GetLabel()) == 0 || m.GetLabel()[0].GetValue() == label) {
				return m.GetGauge().GetValue() + m.GetCounter().GetValue()
			}
		}
	}
	t.Fatalf("there is no metric %s of %q", name, label)
	return 0
}

func chain(n int, seed uint64) []prefix.Block {
	blocks := make([]prefix.Block, n)
	for i := range blocks {
		blocks[i] = prefix.Block{Hash: seed*1_000_003 + uint64(i) + 1, Tokens: 64}
	}
	return blocks
}

// wire is a TCP relay that a test can cut and hold up.
type wire struct {
	on net.Listener

	mu    sync.Mutex
	to    string
	held  chan struct{} // closed while bytes pass
	conns []net.Conn
}

// target sets the address to relay to.
func (w *wire) target(address string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.to = address
}

func newWire(t *testing.T) *wire {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{on: l, held: make(chan struct{})}
	close(w.held)
	t.Cleanup(func() { _ = l.Close(); w.cut() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			w.mu.Lock()
			to := w.to
			w.mu.Unlock()
			d, err := net.Dial("tcp", to)
			if err != nil {
				_ = c.Close()
				continue
			}
			w.mu.Lock()
			w.conns = append(w.conns, c, d)
			w.mu.Unlock()
			go w.copy(c, d)
			go w.copy(d, c)
		}
	}()
	return w
}

func (w *wire) copy(from, to net.Conn) {
	defer func() { _, _ = from.Close(), to.Close() }()
	buf := make([]byte, 16<<10)
	for {
		n, err := from.Read(buf)
		w.mu.Lock()
		held := w.held
		w.mu.Unlock()
		<-held
		if n > 0 {
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// hold lets no byte pass until release is called.
func (w *wire) hold() (release func()) {
	held := make(chan struct{})
	w.mu.Lock()
	w.held = held
	w.mu.Unlock()
	return sync.OnceFunc(func() { close(held) })
}

// cut ends all connections.
func (w *wire) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.conns {
		_ = c.Close()
	}
	w.conns = nil
}

// certificates are fixed ones.
type certificates struct {
	cert *tls.Certificate
	ca   []byte
}

func (c certificates) TLSConfig() *tls.Config {
	return &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.cert, nil }}
}

func (c certificates) CA() []byte { return c.ca }
