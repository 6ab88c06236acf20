package relay

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/grpc"
	"sigs.k8s.io/gateway-api-inference-extension/pkg/lwepp/datastore"
	"sigs.k8s.io/gateway-api-inference-extension/pkg/lwepp/handlers"

	"github.com/fairway-ai/fairway/extproc"
)

// pods is what lwepp picks from.
type pods []*datastore.Endpoint

func (p pods) PoolGet() (*datastore.EndpointPool, error)                    { return &datastore.EndpointPool{}, nil }
func (p pods) PodList(func(*datastore.Endpoint) bool) []*datastore.Endpoint { return p }

// TestLWEPP consults the endpoint picker of the Gateway API Inference Extension's
// conformance suite.
func TestLWEPP(t *testing.T) {
	g := grpc.NewServer()
	extprocv3.RegisterExternalProcessorServer(g, handlers.NewStreamingServer(pods{
		{Address: "10.0.0.1", Port: "8000"}, {Address: "10.0.0.2", Port: "8000"},
	}))
	addr, kill := listen(t, g)
	r := newRig(t)
	r.set(addr, false)
	for _, size := range []int{0, 100, 3 << 20} {
		body := ""
		if size > 0 {
			body = prompt(size)
		}
		c := r.open()
		m := c.request(buffered, body, "test-epp-endpoint-selection", "10.0.0.2")
		wantPick(t, m, "10.0.0.2:8000")
		if common(m).GetBodyMutation() != nil || header(m, "x-echo-set-header") == "" {
			t.Errorf("got %v", m)
		}
		head := c.ask(withMetadata(respHeaders("content-type", "text/event-stream"), "envoy.lb", "x-gateway-destination-endpoint-served", "10.0.0.2:8000"))
		if got := header(head, "x-conformance-test-served-endpoint"); got != "10.0.0.2:8000" {
			t.Errorf("served %q", got)
		}
		if got := header(head, "content-type"); got != "text/event-stream" {
			t.Errorf("content-type %q", got)
		}
		for i := range 5 {
			if m := c.ask(respBody(event(i), i == 4)); common(m).GetBodyMutation() != nil {
				t.Errorf("part %d: %v", i, m)
			}
		}
		c.finish()
	}
	// A subset that it has nothing in it answers with an error.
	c := r.open()
	wantClosed(t, c.request(buffered, prompt(10), "test-epp-endpoint-selection", "10.9.9.9"))
	r.wantOutcome("fail_closed unavailable")
	kill()
	r.set(addr, true)
	wantOpen(t, r.open().request(buffered, prompt(10)))
}

// alike is a picker behind our own server.
type alike struct{}

func (alike) Pick(_ context.Context, q *extproc.Request) (extproc.Pick, error) {
	if q.Header("x-reject") != "" {
		return extproc.Pick{}, &extproc.Rejection{Status: 429, Code: "saturated", Message: "later"}
	}
	return extproc.Pick{
		Destinations: picked, RemoveHeaders: []string{"x-gone"},
		SetHeaders:      []extproc.Header{{Name: "x-body", Value: fmt.Sprint(q.BodyBytes)}},
		ResponseHeaders: []extproc.Header{{Name: "x-theirs", Value: "yes"}},
	}, nil
}

// TestOwnServer consults our own server, as it stands behind other gateways.
func TestOwnServer(t *testing.T) {
	theirs := extproc.New(alike{}, extproc.Options{Log: slog.New(slog.DiscardHandler)})
	g := grpc.NewServer(theirs.ServerOptions()...)
	theirs.Register(g)
	addr, _ := listen(t, g)
	r := newRig(t)
	r.set(addr, false)
	for _, size := range []int{0, 100, 62_000, 3 << 20} {
		body := ""
		if size > 0 {
			body = prompt(size)
		}
		c := r.open()
		m := c.request(buffered, body)
		wantPick(t, m, picked)
		if header(m, "x-body") != itoa(len(body)) || !removes(m, "x-gone") || common(m).GetBodyMutation() != nil {
			t.Errorf("got %v", m)
		}
		head, got := c.respond(20, event, "content-type", "text/event-stream")
		if header(head, "x-theirs") != "yes" || strings.Join(got, "") != whole(20, event) {
			t.Errorf("the response is %v, %q", head, got)
		}
		c.finish()
	}
	m := r.open().request(buffered, prompt(10), "x-reject", "1")
	if i := m.GetImmediateResponse(); i.GetStatus().GetCode() != 429 || !strings.Contains(string(i.GetBody()), "saturated") {
		t.Errorf("got %v", m)
	}
	m = r.open().request(buffered, `{"model":`)
	if i := m.GetImmediateResponse(); i.GetStatus().GetCode() != 400 {
		t.Errorf("got %v", m)
	}
}
