package run_test

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/fairway-ai/fairway/epp"
	"github.com/fairway-ai/fairway/epp/plugin"
	"github.com/fairway-ai/fairway/epp/run"
	"github.com/fairway-ai/fairway/pool"
	"github.com/fairway-ai/fairway/scheduler"
)

// picked asks a picker where a request without a body goes.
func picked(t *testing.T, addr string) string {
	t.Helper()
	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	stream, err := extprocv3.NewExternalProcessorClient(conn).Process(ctx)
	if err != nil {
		t.Fatal(err)
	}
	headers := &corev3.HeaderMap{}
	for k, v := range map[string]string{":method": "GET", ":path": "/v1/models"} {
		headers.Headers = append(headers.Headers, &corev3.HeaderValue{Key: k, RawValue: []byte(v)})
	}
	if err := stream.Send(&extprocv3.ProcessingRequest{Request: &extprocv3.ProcessingRequest_RequestHeaders{
		RequestHeaders: &extprocv3.HttpHeaders{Headers: headers, EndOfStream: true},
	}}); err != nil {
		t.Fatal(err)
	}
	answer, err := stream.Recv()
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err != io.EOF && err != nil {
		t.Logf("end: %v", err)
	}
	for _, h := range answer.GetRequestHeaders().GetResponse().GetHeaderMutation().GetSetHeaders() {
		if h.GetHeader().GetKey() == "x-gateway-destination-endpoint" {
			return string(h.GetHeader().GetRawValue())
		}
	}
	return answer.String()
}

// TestOwnPlugin: a picker with somebody's own scorer picks by it, wherever the
// endpoints come from.
func TestOwnPlugin(t *testing.T) {
	file := filepath.Join(t.TempDir(), "endpoints.yaml")
	if err := os.WriteFile(file, []byte(endpoints), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*run.Options){
		"from a file": func(o *run.Options) { o.Endpoints = file },
		"from a source": func(o *run.Options) {
			o.Source = func(ctx context.Context, set *epp.PoolSet, ready func()) error {
				set.SetPool(epp.PoolConfig{Name: "ns/pool", Specs: []pool.Spec{
					{ID: "ns/one", Address: "10.0.0.1:8000"},
					{ID: "ns/two", Address: "10.0.0.2:8000", Labels: map[string]string{"tier": "gold"}},
				}})
				ready()
				<-ctx.Done()
				return nil
			}
		},
		"from discovery": func(o *run.Options) {
			o.Config = []byte(strings.Replace(pickerConfig, "dataLayer: {injectDefaults: false}",
				"dataLayer: {injectDefaults: false, discovery: {endpoints: {pluginRef: file-discovery}}}", 1))
			o.Config = []byte(strings.Replace(string(o.Config), "plugins:\n",
				"plugins:\n- {type: file-discovery, parameters: {path: "+file+"}}\n", 1))
		},
	} {
		t.Run(name, func(t *testing.T) {
			addrs := make(chan string, 1)
			o := run.Options{
				Config: []byte(pickerConfig), Plugins: []plugin.Type{tier()},
				Server: epp.ServerOptions{GRPCAddr: "127.0.0.1:0", DrainTimeout: time.Second},
				Started: func(s *epp.Server) {
					g, _, _ := s.Addrs()
					addrs <- g.String()
				},
			}
			change(&o)
			ctx, stop := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() { done <- run.Run(ctx, o) }()
			select {
			case addr := <-addrs:
				want := "10.0.0.2:8000"
				got := picked(t, addr)
				for deadline := time.Now().Add(30 * time.Second); got != want && o.Source != nil && time.Now().Before(deadline); {
					got = picked(t, addr) // the source may come a moment later
				}
				if got != want {
					t.Errorf("picked %s, want the golden one", got)
				}
			case err := <-done:
				t.Fatal(err)
			}
			stop()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
}

func TestWrongOptions(t *testing.T) {
	own := func(name string) []plugin.Type {
		return []plugin.Type{plugin.Filter(name, nil, func(string, struct{}) (scheduler.Filter, error) { return nil, nil })}
	}
	for name, tc := range map[string]struct {
		o    run.Options
		want string
	}{
		"no endpoints":     {run.Options{}, "where are the endpoints?"},
		"missing file":     {run.Options{Endpoints: "/nowhere.yaml"}, "/nowhere.yaml"},
		"unknown type":     {run.Options{Config: []byte(pickerConfig), Endpoints: "x"}, `unknown plugin type "example.com/tier-scorer"`},
		"type that exists": {run.Options{Plugins: own("queue-scorer"), Endpoints: "x"}, "exists already"},
		"odd name":         {run.Options{Plugins: own("Queue Scorer"), Endpoints: "x"}, "lower-case"},
		"empty type":       {run.Options{Plugins: []plugin.Type{{}}, Endpoints: "x"}, "a plugin type is empty"},
		"unknown parameter": {run.Options{
			Config: []byte("plugins: [{type: example.com/tier-scorer, parameters: {worst: lead}}]"), Plugins: []plugin.Type{tier()}, Endpoints: "x",
		}, `unknown field "worst"`},
		"invalid parameter": {run.Options{
			Config: []byte("plugins: [{type: example.com/tier-scorer}]"), Plugins: []plugin.Type{tier()}, Endpoints: "x",
		}, "best is missing"},
		"experimental": {run.Options{
			Config: []byte("plugins: [{type: example.com/tier-scorer, parameters: {best: a}}]"), Plugins: []plugin.Type{tier().Experimental()}, Endpoints: "x",
		}, "allow-experimental-plugins"},
		"nothing built": {run.Options{
			Config: []byte("plugins: [{type: a-filter}]"), Plugins: own("a-filter"), Endpoints: "x",
		}, "built nothing"},
	} {
		if err := run.Run(t.Context(), tc.o); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %q", name, err, tc.want)
		}
	}
}
