package fire

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/fairway-ai/fairway/epp/explain"
	"github.com/fairway-ai/fairway/gateway/xds"
)

// A server that dies costs the streams it was writing, and nothing else.
func TestServerKilled(t *testing.T) {
	servers := simulatedFleet(t, 3)
	dead := servers[0]
	r := newRig(t, xds.Pool{FailOpen: true}, addresses(servers...)...)
	const clients = 24
	l := r.load(clients, 30)
	l.more(t, 60)
	dead.kill()
	r.avoids(l, dead.addr)
	r.onlyCut(l.stop(), dead)
	if n := len(l.failures()); n > clients {
		t.Errorf("%d streams were cut, more than were running", n)
	}
	l = r.load(8, 10)
	l.more(t, 100)
	l.allWell(t)
	dead.start()
	l = r.load(8, 10)
	eventually(t, "it is picked again", func() error {
		if r.pickedOf(20, dead.addr) == 0 {
			return fmt.Errorf("it is not")
		}
		return nil
	})
	l.allWell(t)
	r.idle()
}

// onlyCut checks that what failed had begun to be answered by s: that cannot be asked
// again of another server.
func (r *rig) onlyCut(all []failure, s *modelServer) {
	r.t.Helper()
	for _, f := range all {
		var d explain.Decision
		eventually(r.t, fmt.Sprintf("the picker knows how it ended: %v", f), func() error {
			page, err := get("http://" + r.admin + explain.Path + "/" + f.id)
			if err == nil {
				err = json.Unmarshal(page, &d)
			}
			if err == nil && d.Outcome == nil {
				err = errors.New("it has not")
			}
			return err
		})
		switch {
		case d.Outcome.Status != http.StatusOK || d.Outcome.Served != s.id(&d):
			r.t.Errorf("lost: %v; the picker saw %+v", f, d.Outcome)
		case f.status == http.StatusBadGateway && strings.Contains(f.err.Error(), "upstream_failed"):
			// The server's headers had come, and were not sent on yet.
		case f.status != http.StatusOK:
			r.t.Errorf("lost: %v", f)
		}
	}
}

// id is the server's in a decision.
func (s *modelServer) id(d *explain.Decision) string {
	for _, row := range d.Rows {
		if row.Address == s.addr {
			return row.ID
		}
	}
	return ""
}

// avoids waits until the latest decisions, made under load, are for others.
func (r *rig) avoids(l *load, addr string) {
	r.t.Helper()
	eventually(r.t, addr+" is picked no more", func() error {
		l.more(r.t, 30)
		if n := r.pickedOf(20, addr); n > 0 {
			return fmt.Errorf("%d of the latest 20 picks", n)
		}
		return nil
	})
}

// pickedOf is how many of the latest n decisions picked an address.
func (r *rig) pickedOf(n int, addr string) (picks int) {
	r.t.Helper()
	for _, d := range r.decisions(n) {
		if picked(&d) == addr {
			picks++
		}
	}
	return picks
}

// Requests that wait for a server's first byte when it dies are answered by another.
func TestServerKilledBeforeItAnswers(t *testing.T) {
	dead, alive := answering(t, silent), answering(t, short)
	r := newRig(t, xds.Pool{FailOpen: true}, dead.addr, alive.addr)
	var wg sync.WaitGroup
	const requests = 40
	for i := range requests {
		wg.Go(func() {
			a, err := ask(http.DefaultClient, r.url, fmt.Sprint(i), 5)
			if err != nil || a.header.Get("x-server") != alive.addr {
				t.Errorf("request %d: %v", i, err)
			}
		})
	}
	eventually(t, "each request is at a server", func() error {
		if n := dead.posts.Load() + alive.posts.Load(); n < requests {
			return fmt.Errorf("%d of %d are", n, requests)
		}
		return nil
	})
	if dead.posts.Load() == 0 {
		t.Error("the server that is to be killed got no request")
	}
	dead.kill()
	wg.Wait()
	r.idle()
}

// Refusals that another server can make good do not reach the client, also when the
// picker names one endpoint only, as it does for its first requests.
func TestRefusalsGoToTheNext(t *testing.T) {
	for _, args := range [][]string{nil, {"--max-destinations=1"}} {
		t.Run(fmt.Sprint(args), func(t *testing.T) {
			full, busy, good := answering(t, refusing(http.StatusTooManyRequests)), answering(t, refusing(http.StatusServiceUnavailable)), answering(t, short)
			r := newRigWith(t, xds.Pool{FailOpen: true}, args, full.addr, busy.addr, good.addr)
			l := r.load(8, 5)
			l.more(t, 200)
			l.allWell(t)
			if full.posts.Load() == 0 || busy.posts.Load() == 0 {
				t.Errorf("those that refuse were asked %d and %d times, so nothing was tested", full.posts.Load(), busy.posts.Load())
			}
			r.idle()
		})
	}
}

// When all refuse, the client hears it from the last of them.
func TestAllRefuse(t *testing.T) {
	for _, status := range []int{http.StatusTooManyRequests, http.StatusServiceUnavailable} {
		a, b, c := answering(t, refusing(status)), answering(t, refusing(status)), answering(t, refusing(status))
		r := newRig(t, xds.Pool{FailOpen: true}, a.addr, b.addr, c.addr)
		for range 10 {
			got := r.post(chat, question("x", true, 5))
			if got.status != status || !strings.Contains(got.body, `"message":"full"`) {
				t.Errorf("status %d, want the servers' %d: %s", got.status, status, got.body)
			}
		}
		for _, s := range []*modelServer{a, b, c} {
			if s.posts.Load() == 0 {
				t.Errorf("status %d: not every server was asked", status)
			}
		}
		r.idle()
	}
}

// Servers with hostile pages of metrics, and one that comes and goes, do no harm to
// the requests of others, nor to the picker's memory.
func TestBadServersHurtNobody(t *testing.T) {
	sim := simulatedFleet(t, 5)
	var pages atomic.Int64
	metrics := func(of *modelServer, page http.HandlerFunc) *modelServer {
		return serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/metrics" {
				pages.Add(1)
				page(w, r)
				return
			}
			of.handler.ServeHTTP(w, r)
		}))
	}
	huge := metrics(sim[0], func(w http.ResponseWriter, _ *http.Request) { metricsPage(w, 100) })
	garbage := metrics(sim[1], func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write(bytes.Repeat([]byte{0xff, 0, '{', '"', '\n'}, 50_000))
	})
	mute := metrics(sim[2], func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	flapping := sim[3]
	r := newRig(t, xds.Pool{FailOpen: true}, addresses(huge, garbage, mute, flapping, sim[4])...)
	stop := flapping.flap()
	t.Cleanup(stop)
	l := r.load(12, 20)
	l.more(t, 400)
	eventually(t, "the pages are asked for", func() error {
		if n := pages.Load(); n < 15 {
			return fmt.Errorf("%d times", n)
		}
		return nil
	})
	stop()
	r.onlyCut(l.stop(), flapping)
	r.idle()
	t.Logf("picker %d MiB", r.memoryPeak())
	if peak := r.memoryPeak(); peak > 200 {
		t.Errorf("the picker took %d MiB", peak)
	}
}

// A server that accepts requests and never answers keeps those it got, and no other.
func TestServerHangs(t *testing.T) {
	sim := simulatedFleet(t, 2)
	hangs := serve(t, http.HandlerFunc(silent)) // its metrics, too
	r := newRig(t, xds.Pool{FailOpen: true}, append(addresses(sim...), hangs.addr)...)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var wg sync.WaitGroup
	var answered, failed atomic.Int64
	const requests = 60
	text := strings.Repeat("and then? ", 400)
	for i := range requests {
		wg.Go(func() {
			a, err := post(ctx, http.DefaultClient, r.url+chat, question(fmt.Sprint(i, text), true, 10))
			if err == nil {
				err = a.complete(10)
			}
			switch {
			case err == nil:
				answered.Add(1)
			case ctx.Err() == nil:
				failed.Add(1)
				t.Error(err)
			}
		})
	}
	eventually(t, "all others are answered", func() error {
		if n, hang := answered.Load(), r.bound(hangs.addr); n+failed.Load()+hang < requests {
			return fmt.Errorf("%d are, and %d hang", n, hang)
		}
		return nil
	})
	if n := answered.Load(); n < requests/2 {
		t.Errorf("%d of %d requests were answered by two servers of three", n, requests)
	}
	// Those that hang count as work, so the server gets no more.
	l := r.load(4, 10)
	l.more(t, 100)
	l.allWell(t)
	cancel()
	wg.Wait()
	r.idle()
}

// bound is how many of the requests under way are with a server, or held for it.
func (r *rig) bound(addr string) (n int64) {
	r.t.Helper()
	for _, d := range r.decisions(200) {
		if d.Outcome == nil && picked(&d) == addr {
			n++
		}
	}
	return n
}
