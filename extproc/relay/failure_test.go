package relay

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/fairway-ai/fairway/internal/testkit"
)

// until reads messages until one of a body, or the end of one.
func until(f foreign, end bool) error {
	for {
		m, err := f.Recv()
		if err != nil {
			return err
		}
		if b := m.GetRequestBody(); b != nil && (!end || b.GetEndOfStream()) {
			return nil
		}
	}
}

var failures = []struct {
	name    string
	process func(foreign) error // nil: nobody listens
	reason  Reason
}{
	{"connection refused", nil, ReasonUnavailable},
	{"unavailable", func(foreign) error { return status.Error(codes.Unavailable, "starting") }, ReasonUnavailable},
	{"unimplemented", func(foreign) error { return status.Error(codes.Unimplemented, "no") }, ReasonUnavailable},
	{"fails after the headers", func(f foreign) error {
		_, _ = f.Recv()
		return status.Error(codes.Internal, "internal error: no pods available")
	}, ReasonUnavailable},
	{"dies mid-body", func(f foreign) error {
		if err := until(f, false); err != nil {
			return err
		}
		d := dialect{}
		_ = f.Send(d.pickAnswer(0))
		_ = f.Send(answerBody(streamedBack([]byte(`{"mo`), false)))
		return status.Error(codes.Unavailable, "going down")
	}, ReasonUnavailable},
	{"never answers", func(f foreign) error {
		<-f.Context().Done()
		return nil
	}, ReasonTimeout},
	{"never ends the body", func(f foreign) error {
		_ = until(f, true)
		d := dialect{}
		_ = f.Send(d.pickAnswer(0))
		_ = f.Send(answerBody(streamedBack([]byte(`{"mo`), false)))
		<-f.Context().Done()
		return nil
	}, ReasonTimeout},
	{"ends early", func(f foreign) error {
		_, _ = f.Recv()
		return nil
	}, ReasonClosed},
	{"ends mid-body", func(f foreign) error {
		_ = until(f, true)
		d := dialect{}
		_ = f.Send(d.pickAnswer(0))
		return f.Send(answerBody(streamedBack([]byte(`{"mo`), false)))
	}, ReasonClosed},
	{"names no endpoint", func(f foreign) error {
		_ = f.Send(answerHeaders(&extprocv3.CommonResponse{}))
		for {
			m, err := f.Recv()
			if err != nil {
				return nil
			}
			if m.GetRequestBody() != nil {
				_ = f.Send(answerBody(&extprocv3.CommonResponse{}))
			}
		}
	}, ReasonNoPick},
	{"names nonsense", func(f foreign) error {
		_ = until(f, true)
		_ = f.Send(answerHeaders(&extprocv3.CommonResponse{HeaderMutation: &extprocv3.HeaderMutation{
			SetHeaders: []*corev3.HeaderValueOption{hv("x-gateway-destination-endpoint", "\xff\xfe")}}}))
		_ = f.Send(answerBody(&extprocv3.CommonResponse{}))
		<-f.Context().Done()
		return nil
	}, ReasonInvalid},
	{"sets too many headers", func(f foreign) error {
		_ = f.Send(answerHeaders(&extprocv3.CommonResponse{HeaderMutation: &extprocv3.HeaderMutation{
			SetHeaders: []*corev3.HeaderValueOption{hv("x-large", strings.Repeat("a", maxHeaderBytes))}}}))
		<-f.Context().Done()
		return nil
	}, ReasonInvalid},
	{"makes the body too long", func(f foreign) error {
		_ = until(f, true)
		for range 200 {
			if err := f.Send(answerBody(streamedBack(make([]byte, 62000), false))); err != nil {
				return err
			}
		}
		<-f.Context().Done()
		return nil
	}, ReasonInvalid},
	{"bad status", func(f foreign) error {
		_ = f.Send(immediate(102, ""))
		<-f.Context().Done()
		return nil
	}, ReasonInvalid},
	{"is no picker", func(f foreign) error {
		_ = f.SendMsg(&corev3.HeaderValueOption{Header: &corev3.HeaderValue{Key: "\x0f"}})
		<-f.Context().Done()
		return nil
	}, ReasonInvalid},
}

// TestFailures: with FailOpen a request goes on as it was, else it gets 503.
func TestFailures(t *testing.T) {
	for _, f := range failures {
		for _, open := range []bool{true, false} {
			for _, mode := range []string{"buffered", "duplex"} {
				t.Run(fmt.Sprintf("%s/open=%v/%s", f.name, open, mode), func(t *testing.T) {
					t.Parallel()
					r := newRig(t)
					addr := ""
					if f.process == nil {
						addr = testkit.Refused(t)
					} else {
						addr, _ = serve(t, f.process)
					}
					r.set(addr, open, func(p *Picker) {
						if f.reason == ReasonTimeout {
							p.Timeout = 300 * time.Millisecond
						}
					})
					c := r.open()
					body := prompt(100_000)
					var m *resp
					if mode == "buffered" {
						m = c.request(buffered, body)
					} else {
						m = c.request(duplex, body)
					}
					if !open {
						wantClosed(t, m)
						r.wantOutcome("fail_closed " + string(f.reason))
						return
					}
					wantOpen(t, m)
					if mode == "duplex" {
						var got strings.Builder
						for got.Len() < len(body) {
							got.Write(common(c.recv()).GetBodyMutation().GetStreamedResponse().GetBody())
						}
						if got.String() != body {
							t.Error("the body came back changed")
						}
					}
					r.wantOutcome("fail_open " + string(f.reason))
					// The response passes, and Envoy need not send it.
					m = c.ask(respHeaders())
					if mode == "buffered" && m.GetModeOverride() == nil {
						t.Errorf("got %v, want no response body", m)
					}
					c.finish()
				})
			}
		}
	}
}

// TestDeadPickerIsCheap: after some failures in a row, requests do not reach the
// picker, and when it is back, they do.
func TestDeadPickerIsCheap(t *testing.T) {
	var mu sync.Mutex
	now, dead, reached := time.Unix(1000, 0), true, 0
	d := dialect{streams: true}
	addr, _ := serve(t, func(f foreign) error {
		mu.Lock()
		reached++
		isDead := dead
		mu.Unlock()
		if isDead {
			return status.Error(codes.Unavailable, "down")
		}
		return d.serve(f)
	})
	r := newRig(t, func(o *Options) { o.Now = func() time.Time { mu.Lock(); defer mu.Unlock(); return now } })
	r.set(addr, true)
	ask := func() *resp {
		c := r.open()
		defer c.finish()
		return c.request(buffered, prompt(100))
	}
	for range 10 {
		wantOpen(t, ask())
	}
	if reached != tripAfter {
		t.Errorf("10 requests reached the picker %d times, want %d", reached, tripAfter)
	}
	r.wantOutcome("fail_open circuit_open")
	mu.Lock()
	now = now.Add(coolDown)
	mu.Unlock()
	wantOpen(t, ask()) // the probe
	wantOpen(t, ask())
	if reached != tripAfter+1 {
		t.Errorf("the picker was tried %d times, want once more than %d", reached, tripAfter)
	}
	mu.Lock()
	now, dead = now.Add(coolDown), false
	mu.Unlock()
	wantPick(t, ask(), picked)
	wantPick(t, ask(), picked)
	// Closed: at once, before the body.
	r.set(testkit.Refused(t), false, briefly)
	for range tripAfter {
		wantClosed(t, ask2(r))
	}
	c := r.open()
	wantClosed(t, c.ask(post(buffered, streamed)))
}

func ask2(r *rig) *resp { return r.open().request(buffered, prompt(100)) }
