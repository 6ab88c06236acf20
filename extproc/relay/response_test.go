package relay

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	modev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// event is one of a streamed response.
func event(i int) string {
	return fmt.Sprintf("data: {\"model\":\"mixtral\",\"choices\":[{\"delta\":{\"content\":\"t%d\"}}]}\n\n", i)
}

// respond streams a response of n parts and returns what the client gets, by part.
func (c *call) respond(n int, part func(int) string, kv ...string) (head *resp, got []string) {
	c.t.Helper()
	head = c.ask(respHeaders(kv...))
	for i := range n {
		b := part(i)
		m := c.ask(respBody(b, i == n-1))
		switch mutation := common(m).GetBodyMutation(); {
		case mutation == nil:
			got = append(got, b)
		case mutation.GetStreamedResponse() != nil:
			c.t.Fatalf("a streamed_response where bodies are STREAMED: %v", m)
		default:
			got = append(got, string(mutation.GetBody()))
		}
	}
	return head, got
}

func whole(n int, part func(int) string) (s string) {
	for i := range n {
		s += part(i)
	}
	return s
}

// TestResponse passes responses by each kind of picker.
func TestResponse(t *testing.T) {
	large := func(i int) string { return strings.Repeat(string(rune('a'+i)), 70_000) }
	upper := func(b []byte) []byte { return bytes.ReplaceAll(b, []byte("mixtral"), []byte("llama")) }
	for _, tt := range []struct {
		name    string
		dialect dialect
		part    func(int) string
		length  bool // content-length is known
		perPart bool // each part goes on at once
	}{
		{"conformant", dialect{streams: true}, event, false, true},
		{"conformant, cuts parts up", dialect{streams: true, chunk: 1000}, large, false, true},
		{"acknowledges", dialect{acks: true}, event, false, true},
		{"streams changes", dialect{streams: true, changeResponse: upper}, event, false, true},
		{"replaces parts", dialect{acks: true, changeResponse: upper}, event, false, true},
		{"empties parts", dialect{acks: true, changeResponse: func([]byte) []byte { return nil }}, event, false, true},
		{"keeps the response to its end", dialect{streams: true, wholeResponse: true}, large, true, false},
		{"keeps it and changes it", dialect{streams: true, wholeResponse: true, changeResponse: upper}, event, true, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t)
			addr, _ := serve(t, tt.dialect.serve)
			r.set(addr, false)
			c := r.open()
			wantPick(t, c.request(buffered, prompt(100)), picked)
			sent := whole(20, tt.part)
			kv := []string{"x-secret", "s"}
			if tt.length {
				kv = append(kv, "content-length", itoa(len(sent)))
			}
			head, got := c.respond(20, tt.part, kv...)
			if header(head, "x-theirs") != "yes" || !removes(head, "x-secret") || !removes(head, "content-length") {
				t.Errorf("the head was answered with %v", head)
			}
			want := sent
			if tt.dialect.changeResponse != nil {
				want = string(tt.dialect.changeResponse([]byte(sent)))
			}
			if strings.Join(got, "") != want {
				t.Errorf("the client gets %d bytes, want %d", len(strings.Join(got, "")), len(want))
			}
			for i := range got {
				p := tt.part(i)
				if tt.dialect.changeResponse != nil {
					p = string(tt.dialect.changeResponse([]byte(p)))
				}
				if tt.perPart && got[i] != p {
					t.Fatalf("part %d is %q, want %q", i, got[i], p)
				}
			}
			c.finish()
			r.wantOutcome("picked")
		})
	}
}

// TestResponseLeftBehind: when the picker fails, the response goes on as it was, from
// the next byte.
func TestResponseLeftBehind(t *testing.T) {
	upper := func(b []byte) []byte { return bytes.ToUpper(b) }
	for _, tt := range []struct {
		name    string
		dialect dialect
		length  bool
		fail    func(n int, f foreign) error // at part n
		changed int                          // parts that the picker still changed
		reason  string
	}{
		{"dies", dialect{streams: true}, false,
			func(int, foreign) error { return status.Error(codes.Unavailable, "down") }, 0, "left unavailable"},
		{"ends", dialect{streams: true}, false,
			func(int, foreign) error { return io.EOF }, 0, "left closed"},
		{"dies while it changes parts", dialect{acks: true, changeResponse: upper}, false,
			func(int, foreign) error { return status.Error(codes.Unavailable, "down") }, 5, "left unavailable"},
		{"dies while it streams changes", dialect{streams: true, changeResponse: upper}, false,
			func(int, foreign) error { return status.Error(codes.Unavailable, "down") }, 5, "left unavailable"},
		{"dies while it keeps the response", dialect{streams: true, wholeResponse: true, changeResponse: upper}, true,
			func(int, foreign) error { return status.Error(codes.Unavailable, "down") }, 0, "left unavailable"},
		{"refuses late", dialect{streams: true}, false,
			func(_ int, f foreign) error { return f.Send(immediate(500, "oops")) }, 0, "left immediate"},
		{"answers nonsense", dialect{streams: true}, false,
			func(_ int, f foreign) error {
				return f.SendMsg(&corev3.HeaderValueOption{Header: &corev3.HeaderValue{Key: "\x0f"}})
			}, 0, "left invalid"},
		{"hangs", dialect{streams: true}, false,
			func(_ int, f foreign) error { <-f.Context().Done(); return nil }, 0, "left timeout"},
		{"keeps a stream without end", dialect{streams: true, wholeResponse: true}, false, nil, 0, "left timeout"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, func(o *Options) { o.ResponseTimeout = 200 * time.Millisecond })
			addr, _ := serve(t, func(f foreign) error { return tt.dialect.serve(&failing{foreign: f, at: 5, fail: tt.fail}) })
			r.set(addr, false)
			c := r.open()
			wantPick(t, c.request(buffered, prompt(100)), picked)
			var kv []string
			if tt.length {
				kv = []string{"content-length", itoa(len(whole(20, event)))}
			}
			_, got := c.respond(20, event, kv...)
			want := ""
			for i := range 20 {
				if i < tt.changed {
					want += string(upper([]byte(event(i))))
				} else {
					want += event(i)
				}
			}
			if strings.Join(got, "") != want {
				t.Errorf("the client gets %q", got)
			}
			c.finish()
			r.wantOutcome(tt.reason)
		})
	}
}

// failing is a stream that fails when it would receive the response's part at.
type failing struct {
	foreign
	at, seen int
	fail     func(n int, f foreign) error
}

func (f *failing) Recv() (*req, error) {
	m, err := f.foreign.Recv()
	if err == nil && m.GetResponseBody() != nil && f.fail != nil {
		if f.seen++; f.seen > f.at {
			if err := f.fail(f.seen, f.foreign); err != nil {
				return nil, err
			}
			return nil, errEnd
		}
	}
	return m, err
}

var errEnd = status.Error(codes.Aborted, "the test's picker ends")

// TestModeOverride: the picker is shown no more of the response than it wants.
func TestModeOverride(t *testing.T) {
	for _, tt := range []struct {
		mode    *modev3.ProcessingMode
		headers bool
	}{
		{&modev3.ProcessingMode{ResponseHeaderMode: modev3.ProcessingMode_SKIP}, false},
		{&modev3.ProcessingMode{ResponseHeaderMode: modev3.ProcessingMode_SEND}, true},
	} {
		t.Run(tt.mode.String(), func(t *testing.T) {
			seen := make(chan *req, 16)
			addr, _ := serve(t, func(f foreign) error {
				d := dialect{streams: true, seen: func(m *req) {
					if m.GetResponseHeaders() != nil || m.GetResponseBody() != nil {
						seen <- m
					}
				}}
				return d.serve(&overriding{f, tt.mode})
			})
			r := newRig(t)
			r.set(addr, false)
			c := r.open()
			wantPick(t, c.request(buffered, prompt(100)), picked)
			m := c.ask(respHeaders("content-length", "100"))
			if m.GetModeOverride() == nil || m.GetModeOverride().GetResponseBodyMode() != modev3.ProcessingMode_NONE {
				t.Errorf("Envoy is not told to keep the body: %v", m)
			}
			if removes(m, "content-length") {
				t.Error("content-length is removed from a body that cannot change")
			}
			if got := header(m, "x-theirs") != ""; got != tt.headers {
				t.Errorf("the picker changed headers: %v", got)
			}
			c.finish()
			if n := len(seen); n > 1 || n == 1 != tt.headers {
				t.Errorf("the picker saw %d messages of the response", n)
			}
		})
	}
}

type overriding struct {
	foreign
	mode *modev3.ProcessingMode
}

func (o *overriding) Send(m *resp) error {
	if m.GetRequestHeaders() != nil {
		m.ModeOverride = o.mode
	}
	return o.foreign.Send(m)
}

// TestResponseReplaced: an answer to the head may replace the whole response.
func TestResponseReplaced(t *testing.T) {
	d := dialect{streams: true}
	addr, _ := serve(t, func(f foreign) error { return d.serve(&replacing{f}) })
	r := newRig(t)
	r.set(addr, false)
	c := r.open()
	wantPick(t, c.request(buffered, prompt(100)), picked)
	m := c.ask(respHeaders())
	if common(m).GetStatus() != extprocv3.CommonResponse_CONTINUE_AND_REPLACE || string(common(m).GetBodyMutation().GetBody()) != "instead" {
		t.Errorf("got %v", m)
	}
	c.finish()
}

type replacing struct{ foreign }

func (o *replacing) Send(m *resp) error {
	if m.GetResponseHeaders() != nil {
		c := replacement([]byte("instead"))
		c.Status = extprocv3.CommonResponse_CONTINUE_AND_REPLACE
		m = answerResponseHeaders(c)
	}
	return o.foreign.Send(m)
}

// TestResponseKeptIsNotWaitedForTwice: a picker that keeps the response costs one
// wait, not one for each part.
func TestResponseKeptIsNotWaitedForTwice(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(o *Options) { o.HoldAfter = patience / 15 })
	d := dialect{streams: true, wholeResponse: true}
	addr, _ := serve(t, d.serve)
	r.set(addr, false)
	c := r.open() // ends after patience
	wantPick(t, c.request(buffered, prompt(100)), picked)
	_, got := c.respond(20, event, "content-length", itoa(len(whole(20, event))))
	if strings.Join(got, "") != whole(20, event) {
		t.Errorf("the client gets %q", got)
	}
	c.finish()
}
