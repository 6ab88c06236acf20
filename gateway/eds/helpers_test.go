package eds

import (
	"context"
	"fmt"
	"net"
	"slices"
	"testing"
	"time"

	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	servicev3 "github.com/envoyproxy/go-control-plane/envoy/service/endpoint/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/fairway-ai/fairway/gateway/xds"
)

// patience is far longer than anything takes. That an answer does not come is shown
// by the next one, never by waiting.
const patience = 20 * time.Second

// connect serves s and connects to it.
func connect(t testing.TB, s *Server) servicev3.EndpointDiscoveryServiceClient {
	t.Helper()
	l := bufconn.Listen(1 << 20)
	g := grpc.NewServer()
	s.Register(g)
	go func() { _ = g.Serve(l) }()
	c, err := grpc.NewClient("passthrough:///eds", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Close()
		g.Stop()
	})
	return servicev3.NewEndpointDiscoveryServiceClient(c)
}

// assignment is a cluster with one endpoint per port.
func assignment(name string, ports ...int) *endpointv3.ClusterLoadAssignment {
	p := xds.Pool{Name: name}
	for _, port := range ports {
		p.Endpoints = append(p.Endpoints, fmt.Sprintf("10.0.0.1:%d", port))
	}
	return Endpoints(p)
}

// ports are an assignment's, in its order.
func ports(a *endpointv3.ClusterLoadAssignment) (ports []int) {
	for _, l := range a.GetEndpoints() {
		for _, e := range l.GetLbEndpoints() {
			ports = append(ports, int(e.GetEndpoint().GetAddress().GetSocketAddress().GetPortValue()))
		}
	}
	return ports
}

func unpack(t testing.TB, a *anypb.Any) *endpointv3.ClusterLoadAssignment {
	t.Helper()
	var c endpointv3.ClusterLoadAssignment
	if err := a.UnmarshalTo(&c); err != nil {
		t.Fatal(err)
	}
	return &c
}

// deltaClient keeps what Envoy would keep.
type deltaClient struct {
	t        testing.TB
	stream   servicev3.EndpointDiscoveryService_DeltaEndpointsClient
	answers  chan *discoveryv3.DeltaDiscoveryResponse
	err      error // after answers is closed
	versions map[string]string
}

func newDelta(t testing.TB, c servicev3.EndpointDiscoveryServiceClient) *deltaClient {
	t.Helper()
	stream, err := c.DeltaEndpoints(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	d := &deltaClient{t: t, stream: stream, answers: make(chan *discoveryv3.DeltaDiscoveryResponse, 100), versions: make(map[string]string)}
	go func() {
		defer close(d.answers)
		for {
			r, err := stream.Recv()
			if err != nil {
				d.err = err
				return
			}
			d.answers <- r
		}
	}()
	return d
}

func (d *deltaClient) send(r *discoveryv3.DeltaDiscoveryRequest) {
	d.t.Helper()
	if err := d.stream.Send(r); err != nil {
		d.t.Fatal(err)
	}
}

// subscribe asks for clusters; versions is what the client has already.
func (d *deltaClient) subscribe(versions map[string]string, names ...string) {
	d.t.Helper()
	d.send(&discoveryv3.DeltaDiscoveryRequest{ResourceNamesSubscribe: names, InitialResourceVersions: versions})
}

// next is the next answer's clusters by name; it is acknowledged.
func (d *deltaClient) next() map[string]*endpointv3.ClusterLoadAssignment {
	d.t.Helper()
	select {
	case r, ok := <-d.answers:
		if !ok {
			d.t.Fatal(d.err)
		}
		if len(r.GetRemovedResources()) > 0 {
			d.t.Fatalf("removed: %v", r.GetRemovedResources())
		}
		got := make(map[string]*endpointv3.ClusterLoadAssignment)
		for _, res := range r.GetResources() {
			got[res.GetName()] = unpack(d.t, res.GetResource())
			d.versions[res.GetName()] = res.GetVersion()
		}
		d.send(&discoveryv3.DeltaDiscoveryRequest{ResponseNonce: r.GetNonce()})
		return got
	case <-time.After(patience):
		d.t.Fatal("no answer")
	}
	return nil
}

// only wants the next answer to have one cluster, with these ports.
func (d *deltaClient) only(name string, want ...int) {
	d.t.Helper()
	got := d.next()
	if len(got) != 1 || !slices.Equal(ports(got[name]), want) {
		d.t.Fatalf("got %v, want %s with ports %v", got, name, want)
	}
}
