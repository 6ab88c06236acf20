package envoygateway

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	endpointservice "github.com/envoyproxy/go-control-plane/envoy/service/endpoint/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/types"
	"github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"github.com/envoyproxy/go-control-plane/pkg/server/sotw/v3"
	xdsserver "github.com/envoyproxy/go-control-plane/pkg/server/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/fairway-ai/fairway/extproc"
	"github.com/fairway-ai/fairway/gateway/xds"
)

// certify makes an authority and a server certificate.
func (r *rig) certify() {
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: serverName}, DNSNames: []string{serverName},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		r.t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		r.t.Fatal(err)
	}
	r.ca = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	r.serving = &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, NextProtos: []string{"h2"}, MinVersion: tls.VersionTLS12,
	}
}

func (r *rig) serve(s *grpc.Server, network, address string) string {
	l, err := net.Listen(network, address)
	if err != nil {
		r.t.Fatal(err)
	}
	go func() { _ = s.Serve(l) }()
	r.t.Cleanup(s.Stop)
	return l.Addr().String()
}

func (r *rig) servePicker() string {
	server := extproc.New(r.router, extproc.Options{Foreign: r.backends.Foreign()})
	s := grpc.NewServer(append(server.ServerOptions(), grpc.Creds(credentials.NewTLS(r.serving)))...)
	server.Register(s)
	h := health.NewServer()
	h.SetServingStatus(xds.PickerHealthService, healthpb.HealthCheckResponse_SERVING)
	healthpb.RegisterHealthServer(s, h)
	r.stop = s.Stop
	return r.serve(s, "tcp", "127.0.0.1:0")
}

// serveEDS is Fairway's EDS server, over TLS.
func (r *rig) serveEDS() string {
	r.eds = cache.NewSnapshotCache(false, cache.IDHash{}, nil)
	s := grpc.NewServer(grpc.Creds(credentials.NewTLS(r.serving)),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: xds.KeepaliveTime / 2}))
	endpointservice.RegisterEndpointDiscoveryServiceServer(s, xdsserver.NewServer(r.t.Context(), r.eds, nil))
	var list []types.Resource
	for name, addrs := range r.endpoints {
		list = append(list, xds.Endpoints(xds.Pool{Name: name, Endpoints: addrs}))
	}
	r.publish(r.eds, map[resource.Type][]types.Resource{resource.EndpointType: list})
	return r.serve(s, "tcp", "127.0.0.1:0")
}

// serveADS is Envoy Gateway's xDS server.
func (r *rig) serveADS(socket string, e envoy) {
	r.ads = cache.NewSnapshotCache(true, cache.IDHash{}, nil)
	s := grpc.NewServer()
	discovery.RegisterAggregatedDiscoveryServiceServer(s, xdsserver.NewServer(r.t.Context(), r.ads,
		xdsserver.CallbackFuncs{StreamRequestFunc: func(_ int64, q *discovery.DiscoveryRequest) error {
			if q.ErrorDetail != nil {
				r.t.Errorf("Envoy refused its configuration: %s", q.ErrorDetail.Message)
			}
			return nil
		}}, sotw.WithOrderedADS()))
	all := map[resource.Type][]types.Resource{}
	for _, c := range e.Clusters {
		all[resource.ClusterType] = append(all[resource.ClusterType], c)
		if c.GetEdsClusterConfig().GetEdsConfig().GetAds() != nil {
			name := c.EdsClusterConfig.ServiceName
			all[resource.EndpointType] = append(all[resource.EndpointType], assignment(name, r.endpoints[name]))
		}
	}
	for _, l := range e.Listeners {
		all[resource.ListenerType] = append(all[resource.ListenerType], l)
	}
	for _, c := range e.Routes {
		all[resource.RouteType] = append(all[resource.RouteType], c)
	}
	r.publish(r.ads, all)
	r.serve(s, "unix", socket)
}

func assignment(name string, addrs []string) *endpointv3.ClusterLoadAssignment {
	a := xds.Endpoints(xds.Pool{Name: name, Endpoints: addrs})
	if len(addrs) == 0 {
		a.Endpoints = nil
	}
	for _, l := range a.Endpoints { // Envoy Gateway's clusters weigh localities
		l.LoadBalancingWeight = wrapperspb.UInt32(1)
		l.Locality = &corev3.Locality{Region: name}
	}
	return a
}

func (r *rig) publish(c cache.SnapshotCache, all map[resource.Type][]types.Resource) {
	s, err := cache.NewSnapshot("1", all)
	if err == nil {
		err = c.SetSnapshot(r.t.Context(), xds.NodeID, s)
	}
	if err != nil {
		r.t.Fatal(err)
	}
}
