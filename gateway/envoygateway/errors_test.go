package envoygateway

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"strings"
	"testing"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	inferencev1 "sigs.k8s.io/gateway-api-inference-extension/api/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// reader is a client.Reader that a test interferes with.
type reader struct {
	client.Reader
	gets   int
	before func(client.ObjectKey, client.Object) error
}

func (r *reader) Get(ctx context.Context, key client.ObjectKey, o client.Object, opts ...client.GetOption) error {
	r.gets++
	if r.before != nil {
		if err := r.before(key, o); err != nil {
			return err
		}
	}
	return r.Reader.Get(ctx, key, o, opts...)
}

func recorded(t testing.TB, name string) envoy {
	t.Helper()
	text, err := os.ReadFile("testdata/" + name + "/input.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return fromYAML(t, text)
}

func (s *Server) must(t *testing.T, in envoy) envoy {
	t.Helper()
	out, _, err := s.translate(context.Background(), in.request())
	if err != nil {
		t.Fatal(err)
	}
	e := decoded(t, decodeResponse(t, out))
	validate(t, e)
	return e
}

// What the cache does not have yet is read from the API server, once.
func TestCacheBehind(t *testing.T) {
	live := &reader{Reader: objects(t, "testdata/weights/objects.yaml")}
	o := options(t, fake.NewClientBuilder().WithScheme(scheme(t)).Build())
	o.Live = live
	out := newServer(t, o).must(t, recorded(t, "weights"))
	wantSplit(t, out, "/two", "fairway/weights/llama=70", "fairway/weights/qwen=30")
	if live.gets != 5 { // three routes, two pools
		t.Errorf("%d requests to the API server", live.gets)
	}
}

// A cached HTTPRoute that Envoy Gateway cannot have used is read again.
func TestCacheOld(t *testing.T) {
	for name, change := range map[string]func(*gatewayv1.HTTPRoute){
		"fewer rules":   func(r *gatewayv1.HTTPRoute) { r.Spec.Rules = r.Spec.Rules[:1] },
		"fewer refs":    func(r *gatewayv1.HTTPRoute) { r.Spec.Rules[4].BackendRefs = r.Spec.Rules[4].BackendRefs[:1] },
		"other weights": func(r *gatewayv1.HTTPRoute) { *r.Spec.Rules[4].BackendRefs[1].Weight = 1 },
	} {
		t.Run(name, func(t *testing.T) {
			ctx := context.Background()
			old, live := objects(t, "testdata/services/objects.yaml"), objects(t, "testdata/services/objects.yaml")
			var r gatewayv1.HTTPRoute
			if err := old.Get(ctx, client.ObjectKey{Namespace: "services", Name: "services"}, &r); err != nil {
				t.Fatal(err)
			}
			change(&r)
			if err := old.Update(ctx, &r); err != nil {
				t.Fatal(err)
			}
			o := options(t, old)
			o.Live = live
			out := newServer(t, o).must(t, recorded(t, "services"))
			wantSplit(t, out, "/filtered", "fairway/services/llama=50",
				"httproute/services/services/rule/4/backend/1=30", "httproute/services/services/rule/4/backend/2=20")
		})
	}
}

// While objects cannot be read, Envoy Gateway keeps what it has.
func TestUnreadable(t *testing.T) {
	for name, isIt := range map[string]func(client.Object) bool{
		"HTTPRoute":     func(o client.Object) bool { _, ok := o.(*gatewayv1.HTTPRoute); return ok },
		"InferencePool": func(o client.Object) bool { _, ok := o.(*inferencev1.InferencePool); return ok },
	} {
		broken := &reader{Reader: objects(t, "testdata/weights/objects.yaml"), before: func(_ client.ObjectKey, o client.Object) error {
			if isIt(o) {
				return errors.New("connection refused")
			}
			return nil
		}}
		_, result, err := newServer(t, options(t, broken)).translate(context.Background(), recorded(t, "weights").request())
		if status.Code(err) != codes.Unavailable || result != "unavailable" || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %s, %v", name, result, err)
		}
	}
	o := options(t, objects(t, "testdata/weights/objects.yaml"))
	o.CA = func() []byte { return nil }
	if _, _, err := newServer(t, o).translate(context.Background(), recorded(t, "weights").request()); status.Code(err) != codes.Unavailable {
		t.Errorf("without an authority: %v", err)
	}
}

// Input that is no protobuf is nobody's last good configuration.
func TestUndecodable(t *testing.T) {
	s := newServer(t, options(t, objects(t, "testdata/weights/objects.yaml")))
	good := recorded(t, "weights").encoded()
	for name, r := range map[string]resources{
		"routes":    {routes: [][]byte{[]byte("\xff")}},
		"route":     {routes: append(good.routes[:1:1], appendMessage(nil, configHosts, appendMessage(nil, virtualHostRoute, []byte("\xff"))))},
		"listeners": {routes: good.routes, listeners: [][]byte{[]byte("\xff")}},
		"clusters":  {routes: good.routes, clusters: [][]byte{[]byte("\xff")}},
	} {
		if _, _, err := s.translate(context.Background(), encodeRequest(r)); status.Code(err) != codes.InvalidArgument {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, _, err := s.translate(context.Background(), []byte("\xff")); status.Code(err) != codes.InvalidArgument {
		t.Errorf("request: %v", err)
	}
}

// A rule that cannot be translated answers 500, is told once, and costs the others
// nothing.
func TestContained(t *testing.T) {
	panics := &reader{Reader: objects(t, "testdata/weights/objects.yaml"), before: func(key client.ObjectKey, _ client.Object) error {
		if key.Name == "two" {
			panic("a mistake")
		}
		return nil
	}}
	for name, tt := range map[string]struct {
		reader client.Reader
		change func(*routev3.Route)
	}{
		"panic":         {reader: panics},
		"invalid route": {change: func(r *routev3.Route) { r.RequestHeadersToRemove = []string{"no\nname"} }},
	} {
		t.Run(name, func(t *testing.T) {
			in := recorded(t, "weights")
			if tt.change != nil {
				tt.change(in.route(t, "/two"))
			}
			o := options(t, objects(t, "testdata/weights/objects.yaml"))
			if tt.reader != nil {
				o.Reader = tt.reader
			}
			var log strings.Builder
			registry := prometheus.NewRegistry()
			o.Log, o.Metrics = slog.New(slog.NewTextHandler(&log, nil)), registry
			s := newServer(t, o)
			for range 2 {
				out := s.must(t, in)
				wantSplit(t, out, "/one", "fairway/weights/llama")
				wantSplit(t, out, "/two", "direct 500")
				wantSplit(t, out, "/zero", "fairway/weights/qwen")
			}
			if n := strings.Count(log.String(), "weights/two"); n != 1 {
				t.Errorf("logged %d times:\n%s", n, &log)
			}
			if n := testutil.ToFloat64(s.metrics.refused.WithLabelValues(reasonFailed)); n != 2 {
				t.Errorf("counted %v times", n)
			}
		})
	}
}

// Requests to the API server are bounded, however many routes lead nowhere.
func TestLiveReadsAreBounded(t *testing.T) {
	live := &reader{Reader: fake.NewClientBuilder().WithScheme(scheme(t)).Build()}
	o := options(t, live.Reader)
	o.Live = live
	newServer(t, o).must(t, many(10, 200))
	if live.gets != maxLive {
		t.Errorf("%d requests to the API server, want %d", live.gets, maxLive)
	}
}

func TestOptions(t *testing.T) {
	for want, change := range map[string]func(*Options){
		"reader":          func(o *Options) { o.Live = nil },
		"logger":          func(o *Options) { o.Log = nil },
		"host:port":       func(o *Options) { o.EDS = "fairway" },
		"the port":        func(o *Options) { o.EDS = "fairway:0" },
		"certificate":     func(o *Options) { o.ServerName = "" },
		"body size":       func(o *Options) { o.Limits.MaxBodyBytes = -1 },
		"connect timeout": func(o *Options) { o.Limits.ConnectTimeout = -1 },
		"register metrics": func(o *Options) {
			o.Metrics = prometheus.NewRegistry()
			if _, err := newMetrics(o.Metrics); err != nil {
				t.Fatal(err)
			}
		},
	} {
		o := options(t, objects(t, "testdata/weights/objects.yaml"))
		change(&o)
		if _, err := New(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}
