package envoy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/fairway-ai/fairway/extproc"
	"github.com/fairway-ai/fairway/gateway/xds"
	"github.com/fairway-ai/fairway/internal/testkit"
)

func TestPickedEndpointServes(t *testing.T) {
	a, b := newBackend(t, nil), newBackend(t, nil)
	r := newRig(t, []xds.Pool{pool("ns/p", true, a.addr, b.addr)})
	for range 3 {
		for _, want := range []*backend{a, b} {
			r.picker.to("ns/p", want.addr)
			got := r.post(chat, prompt, "x-request-id", "my-id", "x-fairway-explain", "1")
			if got.status != 200 || got.by() != want.addr {
				t.Fatalf("got %d by %s, want %s: %s", got.status, got.by(), want.addr, got.body)
			}
			if id := got.header.Get("x-request-id"); id != "my-id" {
				t.Errorf("x-request-id of the answer is %q", id)
			}
			if got.header.Get("content-length") != strconv.Itoa(len(got.body)) {
				t.Errorf("content-length is %q of %d bytes", got.header.Get("content-length"), len(got.body))
			}
			h, body, proto := want.last()
			if string(body) != prompt || proto != "HTTP/1.1" {
				t.Errorf("the endpoint got %q over %s", body, proto)
			}
			if id := h.Get("x-request-id"); id != "my-id" {
				t.Errorf("x-request-id at the endpoint is %q", id)
			}
			for name := range h {
				name = strings.ToLower(name)
				if strings.HasPrefix(name, "x-fairway-") || strings.HasPrefix(name, "x-gateway-") || strings.HasPrefix(name, "x-envoy-") {
					t.Errorf("the endpoint got header %s", name)
				}
			}
			eventually(t, "the picker is told who served", func() error {
				served, o, n := r.picker.lastOutcome()
				if n == 0 || served != want.addr || !o.Complete || o.Status != 200 {
					return fmt.Errorf("served by %q, %+v", served, o)
				}
				return nil
			})
		}
	}
	if got := r.post(chat, prompt); got.header.Get("x-request-id") == "" {
		t.Error("an answer without x-request-id")
	}
}

func TestNextAlternative(t *testing.T) {
	status := func(code int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
	}
	good := newBackend(t, nil)
	reset := newBackend(t, func(w http.ResponseWriter, _ *http.Request) {
		c, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			panic(err)
		}
		_ = c.(*net.TCPConn).SetLinger(0)
		_ = c.Close()
	})
	cases := []struct{ name, addr string }{
		{"refused", testkit.Refused(t)},
		{"503", newBackend(t, status(503)).addr},
		{"429", newBackend(t, status(429)).addr},
		{"reset", reset.addr},
	}
	all := []string{good.addr}
	for _, c := range cases {
		all = append(all, c.addr)
	}
	r := newRig(t, []xds.Pool{pool("ns/p", true, all...)})
	body := largePrompt(2 << 20) // longer than a connection's buffer
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			r.picker.to("ns/p", c.addr, good.addr)
			got := r.post(chat, body)
			if got.status != 200 || got.by() != good.addr {
				t.Fatalf("got %d by %s, want the second endpoint: %s", got.status, got.by(), got.body)
			}
			if _, sent, _ := good.last(); string(sent) != body {
				t.Errorf("the second endpoint got %d bytes, want %d", len(sent), len(body))
			}
			eventually(t, "the picker is told who served", func() error {
				if served, _, _ := r.picker.lastOutcome(); served != good.addr {
					return fmt.Errorf("served by %q, want %q", served, good.addr)
				}
				return nil
			})
		})
	}
	t.Run("all three bad ones first", func(t *testing.T) {
		r.picker.to("ns/p", cases[0].addr, cases[1].addr, cases[3].addr, good.addr)
		if got := r.post(chat, prompt); got.status != 200 || got.by() != good.addr {
			t.Errorf("got %d by %s", got.status, got.by())
		}
	})
	t.Run("an error of the request's own is not retried", func(t *testing.T) {
		bad := newBackend(t, status(400))
		r.update(pool("ns/p", true, append(all, bad.addr)...))
		r.picker.to("ns/p", bad.addr, good.addr)
		eventually(t, "400 from the endpoint", func() error {
			if got := r.post(chat, prompt); got.status != 400 || got.by() != bad.addr {
				return fmt.Errorf("got %d by %s", got.status, got.by())
			}
			return nil
		})
	})
}

func TestClientCannotChoose(t *testing.T) {
	a, b := newBackend(t, nil), newBackend(t, nil)
	r := newRig(t, []xds.Pool{pool("ns/open", true, a.addr), pool("ns/closed", false, b.addr)})
	r.picker.to("ns/open", a.addr)
	headers := []string{
		xds.DestinationHeader, b.addr, xds.SubsetHeader, b.addr, xds.PoolHeader, "ns/closed",
	}
	var saw []string
	r.picker.set(func(_ context.Context, q *extproc.Request) (extproc.Pick, error) {
		for i := 0; i < len(headers); i += 2 {
			if q.Header(headers[i]) != "" {
				saw = append(saw, headers[i])
			}
		}
		return pickOf("ns/open", a.addr), nil
	})
	if got := r.post(chat, prompt, headers...); got.status != 200 || got.by() != a.addr {
		t.Errorf("with the picker: got %d by %s", got.status, got.by())
	}
	if len(saw) > 0 {
		t.Errorf("the picker saw the client's %v", saw)
	}
	r.killPicker()
	for range 5 {
		if got := r.post(chat, prompt, headers...); got.status != 503 {
			t.Errorf("without the picker: got %d by %s, want 503, for the request may be the closed pool's: %s", got.status, got.by(), got.body)
		}
	}
	r.update(pool("ns/open", true, a.addr))
	eventually(t, "an answer from the open pool alone", func() error {
		if got := r.post(chat, prompt, headers...); got.status != 200 || got.by() != a.addr {
			return fmt.Errorf("got %d by %s", got.status, got.by())
		}
		return nil
	})
	r.update(pool("ns/closed", false, b.addr))
	eventually(t, "503 from the closed pool alone", func() error {
		if got := r.post(chat, prompt, headers...); got.status != 503 {
			return fmt.Errorf("got %d by %s", got.status, got.by())
		}
		return nil
	})
	if b.requests() > 0 {
		t.Errorf("the closed pool was served %d requests without a picker", b.requests())
	}
}

func TestSeveralPools(t *testing.T) {
	a, b, c := newBackend(t, nil), newBackend(t, nil), newBackend(t, nil)
	r := newRig(t, []xds.Pool{
		pool("ns/one", true, a.addr), {Name: "ns/two", Endpoints: []string{b.addr}, HTTP2: true}, pool("other/one", false, c.addr),
	})
	for _, tt := range []struct {
		pool  string
		want  *backend
		proto string
	}{{"ns/one", a, "HTTP/1.1"}, {"ns/two", b, "HTTP/2.0"}, {"other/one", c, "HTTP/1.1"}} {
		r.picker.to(tt.pool, tt.want.addr)
		got := r.post(chat, prompt)
		if got.status != 200 || got.by() != tt.want.addr {
			t.Errorf("pool %s: got %d by %s: %s", tt.pool, got.status, got.by(), got.body)
			continue
		}
		if _, _, proto := tt.want.last(); proto != tt.proto {
			t.Errorf("pool %s was called over %s, want %s", tt.pool, proto, tt.proto)
		}
	}
}

func TestEndpointsAndPoolsChange(t *testing.T) {
	a, b := newBackend(t, nil), newBackend(t, nil)
	r := newRig(t, []xds.Pool{pool("ns/p", true, a.addr)})
	r.picker.to("ns/p", b.addr, a.addr)
	if got := r.post(chat, prompt); got.status != 200 || got.by() != a.addr {
		t.Fatalf("an endpoint Envoy does not know: got %d by %s, want the fallback", got.status, got.by())
	}
	r.update(pool("ns/p", true, a.addr, b.addr))
	r.servedBy(b)
	r.update(pool("ns/p", true, a.addr))
	r.servedBy(a)

	// A second pool, then its protocol changes, then it goes.
	r.update(pool("ns/p", true, a.addr), pool("ns/q", false, b.addr))
	r.picker.to("ns/q", b.addr)
	r.servedBy(b)
	r.update(pool("ns/p", true, a.addr), xds.Pool{Name: "ns/q", Endpoints: []string{b.addr}, HTTP2: true})
	eventually(t, "HTTP/2 to the endpoint", func() error {
		got := r.post(chat, prompt)
		if got.status != 200 {
			t.Errorf("got %d while the cluster changed: %s", got.status, got.body)
		}
		if _, _, proto := b.last(); proto != "HTTP/2.0" {
			return errors.New(proto)
		}
		return nil
	})
	r.update(pool("ns/p", true, a.addr))
	r.servedBy(a) // its pool is gone, the open one takes it

	r.update(pool("ns/p", true))
	eventually(t, "503 from an empty pool", func() error {
		if got := r.post(chat, prompt); got.status != 503 {
			return fmt.Errorf("got %d by %s", got.status, got.by())
		}
		return nil
	})
	r.update(pool("ns/p", true, a.addr))
	r.servedBy(a)
	if err := r.Update(t.Context(), []xds.Pool{pool("bad name", true)}); err == nil {
		t.Error("a bad pool name was accepted")
	}
	r.servedBy(a)
}

func TestClientsMaySpeakHTTP2(t *testing.T) {
	a := newBackend(t, nil)
	r := newRig(t, []xds.Pool{pool("ns/p", true, a.addr)})
	r.picker.to("ns/p", a.addr)
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	client := &http.Client{Transport: &http.Transport{Protocols: protocols}}
	defer client.CloseIdleConnections()
	body := largePrompt(2 << 20)
	resp, err := client.Post(r.url+chat, "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != 200 || resp.ProtoMajor != 2 {
		t.Errorf("got %d over %s", resp.StatusCode, resp.Proto)
	}
	if _, sent, _ := a.last(); string(sent) != body {
		t.Errorf("the endpoint got %d bytes, want %d", len(sent), len(body))
	}
}
