package envoygateway

import (
	"context"
	"fmt"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/proto"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	inferencev1 "sigs.k8s.io/gateway-api-inference-extension/api/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// many is what Envoy Gateway makes of routes routes to pools pools.
func many(pools, routes int) envoy {
	e := envoy{Routes: []*routev3.RouteConfiguration{{Name: "many"}}}
	host := &routev3.VirtualHost{Name: "many", Domains: []string{"*"}}
	e.Routes[0].VirtualHosts = append(e.Routes[0].VirtualHosts, host)
	for i := range routes {
		cluster := fmt.Sprintf("httproute/many/route-%d/rule/0", i)
		e.Clusters = append(e.Clusters, &clusterv3.Cluster{Name: cluster})
		host.Routes = append(host.Routes, &routev3.Route{
			Name:   cluster + "/match/0/*",
			Match:  &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_PathSeparatedPrefix{PathSeparatedPrefix: fmt.Sprintf("/%d", i)}},
			Action: &routev3.Route_Route{Route: &routev3.RouteAction{ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: cluster}}},
		})
	}
	return e
}

// store is a cache of many routes, without the fake client's own cost.
type store struct {
	client.Reader
	pools int
}

func (s store) Get(_ context.Context, key client.ObjectKey, o client.Object, _ ...client.GetOption) error {
	switch o := o.(type) {
	case *gatewayv1.HTTPRoute:
		var i int
		if _, err := fmt.Sscanf(key.Name, "route-%d", &i); err != nil {
			return nil // a route without rules
		}
		group, kind := gatewayv1.Group(inferencev1.GroupName), gatewayv1.Kind("InferencePool")
		o.Name, o.Namespace = key.Name, key.Namespace
		o.Spec.Rules = []gatewayv1.HTTPRouteRule{{BackendRefs: []gatewayv1.HTTPBackendRef{{BackendRef: gatewayv1.BackendRef{
			BackendObjectReference: gatewayv1.BackendObjectReference{Group: &group, Kind: &kind, Name: gatewayv1.ObjectName(fmt.Sprintf("pool-%d", uint(i)%uint(s.pools)))},
		}}}}}
	case *inferencev1.InferencePool:
		o.Name, o.Namespace = key.Name, key.Namespace
	}
	return nil
}

// Time and memory grow with the routes, not faster.
func BenchmarkTranslate(b *testing.B) {
	for _, routes := range []int{500, 5000} {
		b.Run(fmt.Sprintf("routes=%d", routes), func(b *testing.B) {
			s := newServer(b, options(b, store{fake.NewClientBuilder().WithScheme(scheme(b)).Build(), routes / 5}))
			in := many(routes/5, routes).request()
			b.ReportAllocs()
			b.ResetTimer()
			for b.Loop() {
				out, _, err := s.translate(context.Background(), in)
				if err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(float64(len(out)), "bytes")
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/float64(routes), "us/route")
		})
	}
}

// Routes of others are looked at, and no more.
func BenchmarkOthers(b *testing.B) {
	s := newServer(b, options(b, fake.NewClientBuilder().WithScheme(scheme(b)).Build()))
	s.o.Reader = others{s.o.Reader}
	in := many(1, 5000)
	b.SetBytes(int64(proto.Size(in.Routes[0])))
	request := in.request()
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := s.translate(context.Background(), request); err != nil {
			b.Fatal(err)
		}
	}
}

// others has every HTTPRoute, each to a Service.
type others struct{ client.Reader }

func (others) Get(_ context.Context, key client.ObjectKey, o client.Object, _ ...client.GetOption) error {
	if r, ok := o.(*gatewayv1.HTTPRoute); ok {
		r.Name, r.Namespace = key.Name, key.Namespace
		r.Spec.Rules = make([]gatewayv1.HTTPRouteRule, 1)
	}
	return nil
}
