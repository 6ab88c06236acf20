package envoygateway

import (
	"bytes"
	"context"
	"net"
	"slices"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/test/bufconn"
)

// The hooks that are not ours change nothing, and other services share the server.
func TestService(t *testing.T) {
	l := bufconn.Listen(1 << 20)
	g := grpc.NewServer(ServerOptions()...)
	newServer(t, options(t, objects(t, "testdata/weights/objects.yaml"))).Register(g)
	healthpb.RegisterHealthServer(g, health.NewServer())
	go func() { _ = g.Serve(l) }()
	defer g.Stop()
	conn, err := grpc.NewClient("passthrough:hook", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if r, err := healthpb.NewHealthClient(conn).Check(t.Context(), &healthpb.HealthCheckRequest{}); err != nil || r.Status != healthpb.HealthCheckResponse_SERVING {
		t.Errorf("health: %v, %v", r, err)
	}
	for method, want := range map[string]bool{
		"PostRouteModify": false, "PostVirtualHostModify": false, "PostHTTPListenerModify": false,
		"PostClusterModify": false, "PostEndpointsModify": false, "PostTranslateModify": true,
	} {
		in, out := &message{data: recorded(t, "weights").request()}, new(message)
		err := conn.Invoke(t.Context(), "/"+serviceName+"/"+method, in, out, grpc.ForceCodecV2(codec{encoding.GetCodecV2("proto")}))
		if err != nil || (len(out.data) > 0) != want {
			t.Errorf("%s answers %d bytes, %v", method, len(out.data), err)
		}
	}
}

func FuzzRequest(f *testing.F) {
	f.Add([]byte{})
	f.Add(encodeRequest(resources{clusters: [][]byte{{1}}, secrets: [][]byte{{2}}, listeners: [][]byte{{3}, {}}, routes: [][]byte{{4}}}))
	for _, name := range []string{"weights", "missing", "airoute", "airoute-fallback"} {
		f.Add(recorded(f, name).request())
	}
	f.Add(many(2, 3).request())
	nothing := newServer(f, options(f, others{}))
	pools := newServer(f, options(f, store{pools: 2}))
	o := options(f, objects(f, "testdata/airoute-fallback/objects.yaml"))
	o.AI = aiOf(f, "testdata/airoute-fallback/objects.yaml")
	routes := newServer(f, o)
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := decodeRequest(data)
		if err != nil {
			return
		}
		again, err := decodeRequest(encodeRequest(r))
		if err != nil || !equal(r, again) {
			t.Fatalf("decoded once %v, twice %v (%v)", r, again, err)
		}
		out, result, err := nothing.translate(context.Background(), data)
		if result == "failed" {
			t.Fatal(err)
		}
		if err == nil {
			o := decodeResponse(t, out)
			r.listeners, o.listeners, o.clusters = nil, nil, o.clusters[:len(r.clusters)]
			if !equal(r, o) {
				t.Fatalf("without pools, more than listeners was changed")
			}
		}
		for _, s := range []*Server{pools, routes} {
			if _, result, err := s.translate(context.Background(), data); result == "failed" {
				t.Fatal(err)
			}
		}
	})
}

func equal(a, b resources) bool {
	same := func(x, y [][]byte) bool { return slices.EqualFunc(x, y, bytes.Equal) }
	return same(a.clusters, b.clusters) && same(a.secrets, b.secrets) && same(a.listeners, b.listeners) && same(a.routes, b.routes)
}
