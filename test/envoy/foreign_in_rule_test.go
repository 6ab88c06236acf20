package envoy

import (
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"

	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/grpc"

	"github.com/fairway-ai/fairway/aibackend"
	"github.com/fairway-ai/fairway/extproc/relay"
	"github.com/fairway-ai/fairway/gateway/airoute"
	"github.com/fairway-ai/fairway/gateway/xds"
)

// busyPicker has room for nobody.
type busyPicker struct {
	extprocv3.UnimplementedExternalProcessorServer
}

func (busyPicker) Process(s extprocv3.ExternalProcessor_ProcessServer) error {
	if _, err := s.Recv(); err != nil {
		return err
	}
	return s.Send(&extprocv3.ProcessingResponse{Response: &extprocv3.ProcessingResponse_ImmediateResponse{
		ImmediateResponse: &extprocv3.ImmediateResponse{Status: &typev3.HttpStatus{Code: 429}, Body: []byte("busy")},
	}})
}

// modelServer answers as one of the pool's.
func modelServer(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("content-type", "application/json")
	_, _ = io.WriteString(w, `{"model":"llama","usage":{"prompt_tokens":1,"completion_tokens":1}}`)
}

// TestForeignPickerInRule: a pool whose picker is somebody else's, before a provider.
func TestForeignPickerInRule(t *testing.T) {
	server, cloud := newBackend(t, modelServer), newBackend(t, openAIProvider)
	gone := "127.0.0.1:1"
	own := rule("own", to("pool:ns/own"))
	own.Groups[0][0].Model = "served-as"
	r := newAIRig(t, &airoute.Config{
		Backends: []airoute.Backend{provider("ns/cloud", aibackend.OpenAI, cloud.addr, apiKey("", "sk"))},
		Rules: []airoute.Rule{
			rule("llama", to("pool:ns/p"), to("ns/cloud")), rule("llama-b", to("pool:ns/lost"), to("ns/cloud")), rule("busy", to("pool:ns/busy"), to("ns/cloud")),
			rule("dead", to("pool:ns/dead"), to("ns/cloud")), rule("full", to("pool:ns/busy")), own,
		},
	},
		xds.Pool{Name: "ns/p", Endpoints: []string{server.addr}}, xds.Pool{Name: "ns/lost", Endpoints: []string{gone}}, xds.Pool{Name: "ns/busy", Endpoints: []string{server.addr}},
		xds.Pool{Name: "ns/dead", Endpoints: []string{server.addr}}, xds.Pool{Name: "ns/own", Endpoints: []string{server.addr}})
	registry := relay.New(relay.Options{Log: slog.New(slog.DiscardHandler)})
	t.Cleanup(registry.Close)
	r.router.Foreign = registry
	p := &foreignPicker{pick: server.addr}
	for pool, picker := range map[string]extprocv3.ExternalProcessorServer{"ns/p": p, "ns/lost": &foreignPicker{pick: gone}, "ns/busy": busyPicker{}, "ns/dead": nil} {
		address := gone
		if picker != nil {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			g := grpc.NewServer()
			extprocv3.RegisterExternalProcessorServer(g, picker)
			go func() { _ = g.Serve(l) }()
			t.Cleanup(g.Stop)
			address = l.Addr().String()
		}
		if err := registry.Set(pool, relay.Picker{Address: address, Timeout: patience, TLS: relay.TLS{Security: relay.Plaintext}}); err != nil {
			t.Fatal(err)
		}
	}
	check := func(model string, status int, by *backend, sent, fallback, theirs string) {
		t.Helper()
		a := r.ask(chat, model)
		if a.status != status || a.header.Get("x-fairway-fallback") != fallback || a.header.Get("x-theirs") != theirs {
			t.Errorf("%s: %d, %v: %s", model, a.status, a.header, a.body)
		}
		if by == nil {
			return
		}
		if _, body, _ := by.last(); by.requests() == 0 || !strings.Contains(string(body), `"model":"`+sent+`"`) {
			t.Errorf("%s: sent %s, want model %s", model, body, sent)
		}
	}
	check("llama", 200, server, "mixtral-8x7b", "", "yes")
	if got := p.lastServed(); got != server.addr {
		t.Errorf("the picker learns that %q served", got)
	}
	// The provider gets the model that the client named, not what the picker made of it.
	check("llama-b", 200, cloud, "llama-b", "ns/lost: failed", "")
	check("busy", 200, cloud, "busy", "ns/busy: saturated", "")
	check("dead", 200, cloud, "dead", "ns/dead: picker unavailable", "")
	check("full", 429, nil, "", "", "")
	check("own", 200, server, "served-as", "", "")
}
