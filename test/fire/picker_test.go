package fire

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/fairway-ai/fairway/gateway/xds"
)

// No request is lost and no stream is cut when the picker dies, again and again.
func TestPickerKilledFailOpen(t *testing.T) {
	r := newRig(t, xds.Pool{FailOpen: true}, addresses(simulatedFleet(t, 3)...)...)
	l := r.load(30, 30)
	l.more(t, 60)
	for range 3 {
		r.kill()
		l.more(t, 120)
		r.start()
		r.picks(60)
	}
	l.allWell(t)
	r.idle()
}

// heldOrShort holds the answer to a question that begins with "hold".
func heldOrShort(release <-chan struct{}) http.HandlerFunc {
	hold := held(release, nil)
	return func(w http.ResponseWriter, r *http.Request) {
		head := make([]byte, 200)
		n, _ := r.Body.Read(head)
		if strings.Contains(string(head[:n]), `"content":"hold`) {
			hold(w, r)
			return
		}
		short(w, r)
	}
}

// openHeld opens streams that end when released.
func (r *rig) openHeld(n int) (all []*stream) {
	r.t.Helper()
	for i := range n {
		all = append(all, open(r.t, r.url, question(fmt.Sprintf("hold %d", i), true, 2)))
	}
	return all
}

// wholeStreams reads streams of two tokens to their ends.
func wholeStreams(t *testing.T, all []*stream) {
	t.Helper()
	for i, s := range all {
		a, err := s.rest()
		if err == nil {
			err = a.complete(2)
		}
		if err != nil {
			t.Errorf("stream %d: %v", i, err)
		}
	}
}

// Without a picker, a pool that fails closed refuses at once, in the client's schema;
// what runs goes on.
func TestPickerKilledFailClose(t *testing.T) {
	release := make(chan struct{})
	a, b := answering(t, heldOrShort(release)), answering(t, heldOrShort(release))
	r := newRig(t, xds.Pool{}, a.addr, b.addr)
	streams := r.openHeld(12)
	l := r.load(10, 5)
	l.more(t, 100)
	if fs := l.failures(); len(fs) > 0 {
		t.Fatalf("before anything was killed: %v", fs[0])
	}
	r.kill()
	for range 5 {
		wantError(t, r.post(chat, question("x", false, 5)), chat, http.StatusServiceUnavailable, "service_unavailable_error")
		wantError(t, r.post(messages, question("x", false, 5)), messages, http.StatusServiceUnavailable, "overloaded_error")
	}
	for _, f := range l.stop() {
		if f.status != http.StatusServiceUnavailable {
			t.Errorf("a request was neither served nor refused: %v", f)
		}
	}
	served := a.posts.Load() + b.posts.Load()
	r.post(chat, question("x", false, 5))
	if n := a.posts.Load() + b.posts.Load(); n != served {
		t.Error("a request went to a model server without a picker")
	}
	close(release)
	wholeStreams(t, streams)
	r.start()
	eventually(t, "the picker picks again", func() error {
		_, err := ask(http.DefaultClient, r.url, "again", 5)
		return err
	})
	l = r.load(10, 5)
	l.more(t, 50)
	l.allWell(t)
	r.idle()
}

// Requests that a picker holds when it dies are served without it, or refused at once,
// as the pool says; those that servers have already are answered.
func TestPickerKilledWhileItHolds(t *testing.T) {
	for _, failOpen := range []bool{true, false} {
		t.Run(fmt.Sprintf("fail open %t", failOpen), func(t *testing.T) {
			release := make(chan struct{})
			handle := func(w http.ResponseWriter, r *http.Request) {
				select {
				case <-release:
					short(w, r)
				case <-r.Context().Done():
				}
			}
			a, b := answering(t, handle), answering(t, handle)
			r := newRig(t, xds.Pool{FailOpen: failOpen}, a.addr, b.addr)
			const requests = 24
			answers := make(chan *answer, requests)
			for i := range requests {
				go func() {
					ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
					defer cancel()
					got, err := post(ctx, http.DefaultClient, r.url+chat, longQuestion(i))
					if err != nil {
						t.Error(err)
					}
					answers <- got
				}()
			}
			r.holds(requests, a, b)
			sent := int(a.posts.Load() + b.posts.Load())
			r.kill()
			if failOpen {
				eventually(t, "the held ones are sent", func() error {
					if n := a.posts.Load() + b.posts.Load(); n != requests {
						return fmt.Errorf("%d of %d are", n, requests)
					}
					return nil
				})
				sent = requests
			} else {
				for range requests - sent {
					if got := soon(t, "the held ones are refused", answers); got != nil {
						wantError(t, got, chat, http.StatusServiceUnavailable, "service_unavailable_error")
					}
				}
			}
			close(release)
			for range sent {
				if got := soon(t, "an answer", answers); got != nil {
					if err := got.complete(5); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
}

// A picker that is asked to end sees its streams through, and its successor takes
// over; nobody notices.
func TestPickerTerminated(t *testing.T) {
	release := make(chan struct{})
	a, b := answering(t, heldOrShort(release)), answering(t, heldOrShort(release))
	r := newRig(t, xds.Pool{FailOpen: true}, a.addr, b.addr)
	streams := r.openHeld(12)
	l := r.load(10, 5)
	l.more(t, 50)
	ended := r.terminate()
	eventually(t, "the picker is not ready", func() error {
		if _, err := get("http://" + r.admin + "/readyz"); err == nil {
			return fmt.Errorf("it is")
		}
		return nil
	})
	if n := r.metric("llm_d_epp_extproc_streams_inflight"); n < float64(len(streams)) {
		t.Errorf("the picker let go of running streams: it has %v of %d", n, len(streams))
	}
	l.more(t, 50)
	close(release)
	wholeStreams(t, streams)
	if err := ended(); err != nil {
		t.Errorf("the picker ended with: %v", err)
	}
	l.more(t, 50)
	r.start()
	r.picks(20)
	l.allWell(t)
	r.idle()
}
