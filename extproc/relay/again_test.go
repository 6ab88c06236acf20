package relay

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"

	"github.com/fairway-ai/fairway/internal/testkit"
)

// network is what a registry connects through.
type network struct {
	mu    sync.Mutex
	leads map[string]string // from an address to another, or to "" for nowhere
	hangs int               // attempts that get no answer
	dials atomic.Int64
}

func (n *network) dial(ctx context.Context, addr string) (net.Conn, error) {
	n.dials.Add(1)
	n.mu.Lock()
	to, hang := n.leads[addr], n.hangs > 0
	n.hangs--
	n.mu.Unlock()
	switch {
	case hang:
		<-ctx.Done()
		return nil, ctx.Err()
	case to == "":
		return nil, errors.New("connection refused")
	}
	return systemDial(ctx, to)
}

func (n *network) lead(from, to string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.leads[from] = to
}

func leading(from, to string) *network { return &network{leads: map[string]string{from: to}} }

func (n *network) use(o *Options) { o.dial = n.dial }

func (r *rig) client() *client { return (*r.registry.pools.Load())["ns/p"].client }

// refused waits until the picker was found to be unreachable.
func (r *rig) refused() {
	r.t.Helper()
	eventually(r.t, "a failed connection", func() error {
		if s := r.client().conn.Load().GetState(); s != connectivity.TransientFailure {
			return fmt.Errorf("it is %v", s)
		}
		return nil
	})
}

// wantWhole checks that a picker was sent one request, whole and once.
func wantWhole(t *testing.T, seen []*req, body string) {
	t.Helper()
	var got strings.Builder
	heads, ends := 0, 0
	for i, m := range seen {
		if m.GetRequestHeaders() != nil {
			if heads++; i > 0 || m.GetProtocolConfig() == nil || len(m.GetRequestHeaders().GetHeaders().GetHeaders()) < 3 {
				t.Errorf("message %d is %v", i, m)
			}
		}
		got.Write(m.GetRequestBody().GetBody())
		if m.GetRequestBody().GetEndOfStream() {
			ends++
		}
	}
	if heads != 1 || got.String() != body || body != "" && ends != 1 {
		t.Errorf("the picker saw %d heads, %d bytes and %d ends, want one request with %d bytes", heads, got.Len(), ends, len(body))
	}
}

// watched is a dialect with what it was sent.
func watched(d dialect) (dialect, func() []*req) {
	var mu sync.Mutex
	var seen []*req
	d.seen = func(m *req) { mu.Lock(); seen = append(seen, m); mu.Unlock() }
	return d, func() []*req { mu.Lock(); defer mu.Unlock(); return append([]*req(nil), seen...) }
}

// TestPickerThatIsLate: nobody listens yet when the request comes, and gRPC waits
// before it tries again.
func TestPickerThatIsLate(t *testing.T) {
	for _, size := range []int{0, 100, 3 << 20} {
		for _, mode := range []string{"buffered", "duplex"} {
			t.Run(fmt.Sprintf("%d/%s", size, mode), func(t *testing.T) {
				t.Parallel()
				d, seen := watched(dialect{streams: true})
				r := newRig(t)
				addr := testkit.Refused(t)
				r.set(addr, false)
				r.refused()
				g := grpc.NewServer(grpc.MaxRecvMsgSize(4 << 20))
				registerDialect(g, d)
				t.Cleanup(g.Stop)
				late := time.AfterFunc(300*time.Millisecond, func() {
					l, err := net.Listen("tcp", addr)
					if err != nil {
						t.Error(err)
						return
					}
					go func() { _ = g.Serve(l) }()
				})
				defer late.Stop()
				body := ""
				if size > 0 {
					body = prompt(size)
				}
				if mode == "duplex" {
					wantDuplex(t, r.open(), body, body)
				} else {
					wantPick(t, r.open().request(buffered, body), picked)
				}
				r.wantOutcome("picked")
				wantWhole(t, seen(), body)
			})
		}
	}
}

// TestDeadPickerIsDialedByAll: a picker that stays away is not connected to by every
// request, and after three of them have failed, none waits.
func TestDeadPickerIsDialedByAll(t *testing.T) {
	n := leading("127.0.0.1:1", "")
	r := newRig(t, n.use)
	r.set("127.0.0.1:1", false)
	r.refused()
	before := n.dials.Load()
	var all sync.WaitGroup
	for range 500 {
		c := r.open()
		all.Go(func() {
			// The last ones may come when the breaker is open, before the body.
			for _, m := range []*req{post(buffered, streamed), reqBody(prompt(100), true)} {
				_ = c.s.Send(m)
				a, err := c.s.Recv()
				for err == nil && a.GetOverrideMessageTimeout() != nil {
					a, err = c.s.Recv()
				}
				if err != nil {
					t.Error(err)
					return
				}
				if a.GetImmediateResponse() != nil {
					wantClosed(t, a)
					return
				}
			}
			t.Error("a request is not refused")
		})
	}
	all.Wait()
	if more := n.dials.Load() - before; more > 100 {
		t.Errorf("500 requests made %d connections", more)
	}
	r.wantOutcome("fail_closed unavailable")
	wantClosed(t, r.open().ask(post(buffered, streamed))) // before the body
	r.wantOutcome("fail_closed circuit_open")
}

// TestRedialsAreShared: dials that are asked for one after the other are few, too.
func TestRedialsAreShared(t *testing.T) {
	n := leading("127.0.0.1:1", "")
	r := newRig(t, n.use)
	r.set("127.0.0.1:1", false)
	r.refused()
	c := r.client()
	before, began := n.dials.Load(), time.Now()
	for range 50 {
		c.redial(c.conn.Load())
		time.Sleep(2 * time.Millisecond) // for it to be done
	}
	// Each that is asked for comes with one more that gRPC makes by itself.
	most := 3*int64(time.Since(began)/redialEvery) + 5
	if more := n.dials.Load() - before; more > most {
		t.Errorf("%d connections, want no more than %d", more, most)
	}
}

// TestWaitingEndsWithTheBreaker: once others have found the picker dead, a request that
// waits for a connection is answered.
func TestWaitingEndsWithTheBreaker(t *testing.T) {
	addr, _ := serve(t, (&dialect{streams: true}).serve)
	n := leading("127.0.0.1:1", "")
	r := newRig(t, n.use)
	r.set("127.0.0.1:1", false)
	r.refused()
	c := r.open()
	c.ask(post(buffered, streamed))
	eventually(t, "the second try", func() error {
		if !r.client().redialing.Load() {
			return errors.New("is still to come")
		}
		return nil
	})
	for range tripAfter {
		r.client().breaker.failure()
	}
	n.lead("127.0.0.1:1", addr)
	wantClosed(t, c.ask(reqBody(prompt(100), true)))
}

// TestProbeConnects: the request that tries whether a dead picker is back does not
// depend on when gRPC would have looked.
func TestProbeConnects(t *testing.T) {
	addr, _ := serve(t, (&dialect{streams: true}).serve)
	n := leading("127.0.0.1:1", "")
	var now atomic.Int64
	r := newRig(t, n.use, func(o *Options) { o.Now = func() time.Time { return time.Unix(1000+now.Load(), 0) } })
	r.set("127.0.0.1:1", false)
	r.refused()
	for range tripAfter {
		r.client().breaker.failure()
	}
	now.Add(int64(coolDown / time.Second))
	wantClosed(t, ask2(r)) // the probe, in vain
	r.wantOutcome("fail_closed unavailable")
	wantClosed(t, r.open().ask(post(buffered, streamed)))
	r.wantOutcome("fail_closed circuit_open")
	// By then gRPC waits longer than a probe does.
	from := n.dials.Load()
	eventually(t, "attempts to connect", func() error {
		if more := n.dials.Load() - from; more < 7 {
			return fmt.Errorf("%d", more)
		}
		return nil
	})
	r.refused()
	n.lead("127.0.0.1:1", addr)
	now.Add(int64(coolDown / time.Second))
	wantPick(t, ask2(r), picked)
	wantPick(t, ask2(r), picked)
}

// TestShortTimeout: the second try waits no longer than the picker may take, and the
// reason is told.
func TestShortTimeout(t *testing.T) {
	r := newRig(t)
	r.set(testkit.Refused(t), true, func(p *Picker) { p.Timeout = 100 * time.Millisecond })
	r.refused()
	wantOpen(t, ask2(r))
	r.wantOutcome("fail_open unavailable")
}

// TestFirstAttemptIsLost: packets to an address that is not routed yet are lost, and
// those of that connection stay lost.
func TestFirstAttemptIsLost(t *testing.T) {
	addr, _ := serve(t, (&dialect{streams: true}).serve)
	n := leading("10.0.0.1:9002", addr)
	n.hangs = 1
	r := newRig(t, n.use)
	// Less than gRPC gives an attempt.
	r.set("10.0.0.1:9002", false, func(p *Picker) { p.Timeout = 2 * time.Second })
	wantPick(t, ask2(r), picked)
}

// TestNameIsLookedUpAgain: a picker behind a name is another one after its restart.
func TestNameIsLookedUpAgain(t *testing.T) {
	d := dialect{streams: true}
	before, kill := serve(t, d.serve)
	n := leading("picker.example.svc:9002", "")
	r := newRig(t, n.use)
	r.set("picker.example.svc:9002", false)
	r.refused()
	n.lead("picker.example.svc:9002", before)
	wantPick(t, ask2(r), picked)
	after, _ := serve(t, d.serve)
	n.lead("picker.example.svc:9002", after)
	kill()
	wantPick(t, ask2(r), picked)
}

func TestTarget(t *testing.T) {
	for in, want := range map[string]string{
		"10.0.0.1:9002": "passthrough:///10.0.0.1:9002", "[fd00::1]:9002": "passthrough:///[fd00::1]:9002",
		"picker.ns.svc.cluster.local:9002": "passthrough:///picker.ns.svc.cluster.local:9002",
		"unix:9002":                        "unix:9002", "unix:///run/picker": "unix:///run/picker", "dns:///picker:9002": "dns:///picker:9002", "picker": "picker",
	} {
		if got := target(in); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}
