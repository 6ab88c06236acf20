package envoygateway

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"log/slog"
	"os"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	inferencev1 "sigs.k8s.io/gateway-api-inference-extension/api/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	gatewayv1beta1 "sigs.k8s.io/gateway-api/apis/v1beta1"

	"github.com/fairway-ai/fairway/api/v1alpha1"
)

var rewrite = flag.Bool("rewrite", false, "write what the translations produce into testdata")

// envoy is what Envoy Gateway makes, or what we make of it, decoded.
type envoy struct {
	Clusters  []*clusterv3.Cluster
	Listeners []*listenerv3.Listener
	Routes    []*routev3.RouteConfiguration
}

// request is the hook's request.
func (e envoy) request() []byte {
	return encodeRequest(e.encoded())
}

func (e envoy) encoded() resources {
	return resources{clusters: encodeAll(e.Clusters), listeners: encodeAll(e.Listeners), routes: encodeAll(e.Routes)}
}

func encodeAll[M proto.Message](ms []M) (out [][]byte) {
	for _, m := range ms {
		out = append(out, encode(m))
	}
	return out
}

// encodeRequest is the inverse of decodeRequest.
func encodeRequest(r resources) []byte {
	out := appendMessage(nil, 1, []byte{})
	for number, list := range map[protowire.Number][][]byte{
		requestClusters: r.clusters, requestSecrets: r.secrets, requestListeners: r.listeners, requestRoutes: r.routes,
	} {
		for _, m := range list {
			out = appendMessage(out, number, m)
		}
	}
	return out
}

// decodeResponse is the inverse of encodeResponse.
func decodeResponse(t testing.TB, data []byte) resources {
	t.Helper()
	var r resources
	err := eachField(data, func(f field) error {
		list := map[protowire.Number]*[][]byte{
			responseClusters: &r.clusters, responseSecrets: &r.secrets, responseListeners: &r.listeners, responseRoutes: &r.routes,
		}[f.number]
		*list = append(*list, f.value)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func decoded(t testing.TB, r resources) envoy {
	t.Helper()
	return envoy{
		Clusters:  decodeAll(t, r.clusters, func() *clusterv3.Cluster { return new(clusterv3.Cluster) }),
		Listeners: decodeAll(t, r.listeners, func() *listenerv3.Listener { return new(listenerv3.Listener) }),
		Routes:    decodeAll(t, r.routes, func() *routev3.RouteConfiguration { return new(routev3.RouteConfiguration) }),
	}
}

func decodeAll[M proto.Message](t testing.TB, list [][]byte, empty func() M) (out []M) {
	t.Helper()
	for _, b := range list {
		m := empty()
		if err := proto.Unmarshal(b, m); err != nil {
			t.Fatal(err)
		}
		out = append(out, m)
	}
	return out
}

// toYAML is stable, which protojson's own output is not.
func toYAML(t testing.TB, e envoy) []byte {
	t.Helper()
	generic := map[string][]any{}
	add := func(kind string, m proto.Message) {
		text, err := protojson.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		var v any
		if err := json.Unmarshal(text, &v); err != nil {
			t.Fatal(err)
		}
		generic[kind] = append(generic[kind], v)
	}
	for _, m := range e.Clusters {
		add("clusters", m)
	}
	for _, m := range e.Listeners {
		add("listeners", m)
	}
	for _, m := range e.Routes {
		add("routes", m)
	}
	var out bytes.Buffer
	enc := yaml.NewEncoder(&out)
	enc.SetIndent(2)
	if err := enc.Encode(generic); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// fromYAML is the inverse of toYAML.
func fromYAML(t testing.TB, text []byte) (e envoy) {
	t.Helper()
	var generic map[string][]any
	if err := yaml.Unmarshal(text, &generic); err != nil {
		t.Fatal(err)
	}
	into := func(v any, m proto.Message) {
		text, err := json.Marshal(v)
		if err == nil {
			err = protojson.Unmarshal(text, m)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, v := range generic["clusters"] {
		e.Clusters = append(e.Clusters, new(clusterv3.Cluster))
		into(v, e.Clusters[len(e.Clusters)-1])
	}
	for _, v := range generic["listeners"] {
		e.Listeners = append(e.Listeners, new(listenerv3.Listener))
		into(v, e.Listeners[len(e.Listeners)-1])
	}
	for _, v := range generic["routes"] {
		e.Routes = append(e.Routes, new(routev3.RouteConfiguration))
		into(v, e.Routes[len(e.Routes)-1])
	}
	return e
}

// scheme knows what the translation reads.
func scheme(t testing.TB) *runtime.Scheme {
	t.Helper()
	s := runtime.NewScheme()
	for _, install := range []func(*runtime.Scheme) error{gatewayv1.Install, gatewayv1beta1.Install, inferencev1.Install, v1alpha1.AddToScheme} {
		if err := install(s); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// objects are a client with the HTTPRoutes, pools and grants of a file.
func objects(t testing.TB, file string) client.Client {
	t.Helper()
	b := fake.NewClientBuilder().WithScheme(scheme(t))
	for _, o := range objectsOf(t, file) {
		b = b.WithRuntimeObjects(o)
	}
	return b.Build()
}

// objectsOf are the objects of a file that are of kinds we read.
func objectsOf(t testing.TB, file string) (all []client.Object) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	s := scheme(t)
	d := yaml.NewDecoder(bytes.NewReader(text))
	for {
		var v map[string]any
		if err := d.Decode(&v); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		asJSON, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		u := new(unstructured.Unstructured)
		if err := u.UnmarshalJSON(asJSON); err != nil {
			t.Fatal(err)
		}
		if !s.Recognizes(u.GroupVersionKind()) {
			continue
		}
		typed, err := s.New(u.GroupVersionKind())
		if err != nil {
			t.Fatal(err)
		}
		if err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(u.Object, typed, true); err != nil {
			t.Fatal(err)
		}
		all = append(all, typed.(client.Object))
	}
}

func options(t testing.TB, r client.Reader) Options {
	t.Helper()
	ca, err := os.ReadFile("testdata/ca.pem")
	if err != nil {
		t.Fatal(err)
	}
	return Options{
		Reader: r, Live: r, EDS: "fairway.fairway-system.svc:9004", ServerName: "fairway.fairway-system.svc",
		CA:  func() []byte { return ca },
		Log: slog.New(slog.DiscardHandler),
	}
}

func newServer(t testing.TB, o Options) *Server {
	t.Helper()
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}
