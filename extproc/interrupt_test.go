package extproc

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"

	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
)

var tooBusy = &Rejection{Status: 429, Code: "evicted", Message: "for another", Headers: []Header{{"x-reason", "evicted"}}}

// interruptible makes the picker hand out an observer and an interrupt.
func (h *harness) interruptible() (*fakeObserver, *Interrupt) {
	o, i := newObserver(h.t), new(Interrupt)
	h.picker.pick = func(context.Context, *Request) (Pick, error) {
		if i.Reject(tooBusy) {
			h.t.Error("interrupted before it was picked for")
		}
		return Pick{Destinations: "10.0.0.1:8000,10.0.0.2:8000", Observer: o, Interrupt: i}, nil
	}
	return o, i
}

// picked sends a request up to its pick, and waits until it may be interrupted.
func (c *call) picked(i *Interrupt, path string, mode int) {
	c.t.Helper()
	switch modes[mode] {
	case none:
		c.ask(post(path, none, streamed, "x-request-id", "abc"))
	case duplex:
		c.send(post(path, duplex, duplex, "x-request-id", "abc"), reqBody(chatBody, true))
		c.recv()
		c.recv()
	default:
		c.ask(post(path, modes[mode], streamed, "x-request-id", "abc"))
		c.ask(reqBody(chatBody, true))
	}
	for bound := false; !bound; { // the answer comes a moment before
		i.mu.Lock()
		bound = i.answer != nil
		i.mu.Unlock()
	}
}

func TestInterrupt(t *testing.T) {
	for mode := range modes {
		for path, schema := range map[string]string{chat: `{"error":{"message":"for another","type":"rate_limit_error",`, "/v1/messages": `{"type":"error","error":{"type":"rate_limit_error",`} {
			t.Run(fmt.Sprint(modes[mode], path), func(t *testing.T) {
				h := newHarness(t, Options{})
				o, i := h.interruptible()
				c := h.open()
				c.picked(i, path, mode)
				if !i.Reject(tooBusy) || i.Reject(tooBusy) {
					t.Error("not interrupted once and only once")
				}
				m := c.recv().GetImmediateResponse()
				set := setHeaders(t, m.GetHeaders())
				if m.GetStatus().GetCode() != 429 || set["x-reason"] != "evicted" || set["x-request-id"] != "abc" || !strings.HasPrefix(string(m.GetBody()), schema) {
					t.Errorf("answer %v", m)
				}
				if mode%2 == 0 { // a response crossed it
					c.send(respHeaders(":status", "200"))
				}
				c.finish()
				if out := o.wait(); !out.Interrupted || out.Status != 429 || out.Complete || o.status != 0 {
					t.Errorf("outcome %+v, and the observer saw status %d", out, o.status)
				}
			})
		}
	}
}

// TestInterruptTooLate: a response that has begun is left alone, and so is a stream that
// is over.
func TestInterruptTooLate(t *testing.T) {
	h := newHarness(t, Options{})
	o, i := h.interruptible()
	c := h.open()
	c.picked(i, chat, 2)
	c.ask(respHeaders(":status", "200", "content-type", "text/event-stream"))
	if i.Reject(tooBusy) {
		t.Error("interrupted after its response had begun")
	}
	wantEmpty(t, c.ask(respBody("data: [DONE]\n\n", true)), "response_body:{}")
	c.finish()
	if out := o.wait(); out.Interrupted || !out.Complete || out.Status != 200 {
		t.Errorf("outcome %+v", out)
	}

	o, i = h.interruptible()
	c = h.open()
	c.picked(i, chat, 2)
	c.cancel()
	o.wait()
	if i.Reject(tooBusy) {
		t.Error("interrupted after its stream was over")
	}
}

// TestInterruptRaces has responses and interrupts come at once: a client gets one of
// both, and the observer hears of that one.
func TestInterruptRaces(t *testing.T) {
	h := newHarness(t, Options{})
	interrupted := 0
	for n := range 200 {
		o, i := h.interruptible()
		c := h.open()
		c.picked(i, chat, 2)
		answered := make(chan bool)
		go func() {
			for range n / 10 {
				runtime.Gosched()
			}
			answered <- i.Reject(tooBusy)
		}()
		_ = c.s.Send(ended(respHeaders(":status", "200"))) // the stream may be over
		var got []string
		_ = c.s.CloseSend()
		for {
			m, err := c.s.Recv()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if _, immediate := m.Response.(*extprocv3.ProcessingResponse_ImmediateResponse); immediate {
				got = append(got, "immediate")
			} else {
				got = append(got, "headers")
			}
		}
		out, want := o.wait(), "headers"
		if <-answered {
			interrupted++
			want = "immediate"
		}
		if len(got) != 1 || got[0] != want || out.Interrupted != (want == "immediate") || out.Interrupted == (o.status == 200) {
			t.Fatalf("the proxy got %q, want %s; outcome %+v, observed status %d", got, want, out, o.status)
		}
	}
	t.Logf("%d of 200 were interrupted", interrupted)
}
