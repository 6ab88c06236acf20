package xds

import (
	"math"
	"net/netip"
	"slices"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	leastv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/least_request/v3"
	overridev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/override_host/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	metadatav3 "github.com/envoyproxy/go-control-plane/envoy/type/metadata/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

const httpOptions = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"

// upstreamIdle closes idle HTTP/1.1 connections before model servers do: uvicorn,
// under most of them, does so after 5 s, and a request sent just then is lost.
const upstreamIdle = 4 * time.Second

// PoolCluster is a pool's cluster. Its endpoints come by EDS, see [Endpoints].
func PoolCluster(p Pool, o Options) *clusterv3.Cluster {
	o = o.withDefaults()
	return &clusterv3.Cluster{
		Name:                 p.Name,
		ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_EDS},
		EdsClusterConfig:     &clusterv3.Cluster_EdsClusterConfig{EdsConfig: ads()},
		ConnectTimeout:       seconds(o.ConnectTimeout),
		LoadBalancingPolicy:  overrideHost(leastRequest()),
		// The picker knows who is healthy; with nobody to go to, 503 is right.
		CommonLbConfig:                &clusterv3.Cluster_CommonLbConfig{HealthyPanicThreshold: &typev3.Percent{}},
		IgnoreHealthOnHostRemoval:     true,
		CircuitBreakers:               budgeted(),
		UpstreamConnectionOptions:     keepalive(),
		TypedExtensionProtocolOptions: protocol(p.HTTP2),
	}
}

// overrideHost goes to the endpoints that the picker listed, in order, and
// otherwise where fallback says.
func overrideHost(fallback *clusterv3.LoadBalancingPolicy) *clusterv3.LoadBalancingPolicy {
	key := func(name string) *metadatav3.MetadataKey {
		return &metadatav3.MetadataKey{Key: MetadataNamespace, Path: []*metadatav3.MetadataKey_PathSegment{{
			Segment: &metadatav3.MetadataKey_PathSegment_Key{Key: name},
		}}}
	}
	return policy(extension("envoy.load_balancing_policies.override_host", &overridev3.OverrideHost{
		OverrideHostSources: []*overridev3.OverrideHost_OverrideHostSource{
			{Metadata: key(DestinationHeader)},
			{Header: DestinationHeader},
		},
		SelectedHostKey: key(ServedKey),
		FallbackPolicy:  fallback,
	}))
}

// leastRequest goes to the less busy of two.
func leastRequest() *clusterv3.LoadBalancingPolicy {
	return policy(extension("envoy.load_balancing_policies.least_request", &leastv3.LeastRequest{}))
}

func policy(e *corev3.TypedExtensionConfig) *clusterv3.LoadBalancingPolicy {
	return &clusterv3.LoadBalancingPolicy{Policies: []*clusterv3.LoadBalancingPolicy_Policy{{TypedExtensionConfig: e}}}
}

// unlimited lifts Envoy's limits of a cluster: how much an endpoint can take is the
// picker's to know.
func unlimited() *clusterv3.CircuitBreakers {
	most := u32(math.MaxUint32)
	return &clusterv3.CircuitBreakers{Thresholds: []*clusterv3.CircuitBreakers_Thresholds{{
		MaxConnections:     most,
		MaxPendingRequests: most,
		MaxRequests:        most,
		MaxRetries:         most,
	}}}
}

// A budget of retries: that share of a cluster's requests may be further tries, and
// always so many, because a pool that loses one of two servers must try half of its
// requests again.
const (
	retryShare = 20 // percent
	retryFloor = 50
)

// budgeted is unlimited but for retries: a cluster that fails as a whole is not sent
// everything several times. Envoy counts a retry against the cluster of the first try,
// wherever it goes, and all requests of a dead cluster may go elsewhere. So rules that
// fall back have the other priority, which has no budget, and in which no cluster gets
// a request twice.
func budgeted() *clusterv3.CircuitBreakers {
	c := unlimited()
	elsewhere := proto.CloneOf(c.Thresholds[0])
	elsewhere.Priority = corev3.RoutingPriority_HIGH
	c.Thresholds[0].MaxRetries = nil
	c.Thresholds[0].RetryBudget = &clusterv3.CircuitBreakers_Thresholds_RetryBudget{
		BudgetPercent: &typev3.Percent{Value: retryShare}, MinRetryConcurrency: u32(retryFloor),
	}
	c.Thresholds = append(c.Thresholds, elsewhere)
	return c
}

// keepalive finds out in about half a minute that an endpoint vanished without a
// word.
func keepalive() *clusterv3.UpstreamConnectionOptions {
	return &clusterv3.UpstreamConnectionOptions{TcpKeepalive: &corev3.TcpKeepalive{
		KeepaliveProbes: u32(3), KeepaliveTime: u32(15), KeepaliveInterval: u32(5),
	}}
}

func protocol(http2 bool) map[string]*anypb.Any {
	if http2 {
		return protocolOf(windows())
	}
	return protocolOf(nil)
}

// protocolOf is HTTP/2 with those options, HTTP/1.1 with nil.
func protocolOf(http2 *corev3.Http2ProtocolOptions) map[string]*anypb.Any {
	h := &httpv3.HttpProtocolOptions_ExplicitHttpConfig{}
	o := &httpv3.HttpProtocolOptions{UpstreamProtocolOptions: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_{ExplicitHttpConfig: h}}
	if http2 != nil {
		h.ProtocolConfig = &httpv3.HttpProtocolOptions_ExplicitHttpConfig_Http2ProtocolOptions{Http2ProtocolOptions: http2}
	} else {
		h.ProtocolConfig = &httpv3.HttpProtocolOptions_ExplicitHttpConfig_HttpProtocolOptions{HttpProtocolOptions: &corev3.Http1ProtocolOptions{}}
		o.CommonHttpProtocolOptions = &corev3.HttpProtocolOptions{IdleTimeout: seconds(upstreamIdle)}
	}
	return map[string]*anypb.Any{httpOptions: pack(o)}
}

// windows hold a long prompt, so that it need not wait for an update.
func windows() *corev3.Http2ProtocolOptions {
	return &corev3.Http2ProtocolOptions{InitialStreamWindowSize: u32(1 << 20), InitialConnectionWindowSize: u32(16 << 20)}
}

// Endpoints are a pool's endpoints, which must be valid, in the order of their
// addresses.
func Endpoints(p Pool) *endpointv3.ClusterLoadAssignment {
	addresses := make([]netip.AddrPort, 0, len(p.Endpoints))
	for _, e := range p.Endpoints {
		if a, err := netip.ParseAddrPort(e); err == nil {
			addresses = append(addresses, a)
		}
	}
	slices.SortFunc(addresses, netip.AddrPort.Compare)
	l := &endpointv3.LocalityLbEndpoints{}
	for _, a := range slices.Compact(addresses) {
		l.LbEndpoints = append(l.LbEndpoints, lbEndpoint(tcp(a)))
	}
	return &endpointv3.ClusterLoadAssignment{ClusterName: p.Name, Endpoints: []*endpointv3.LocalityLbEndpoints{l}}
}

func lbEndpoint(a *corev3.Address) *endpointv3.LbEndpoint {
	return &endpointv3.LbEndpoint{HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{Address: a}}}
}

// PickerCluster is the ext_proc server.
func PickerCluster(o Options) *clusterv3.Cluster {
	c := grpcCluster(PickerClusterName, o.PickerSocket)
	sparePicker(c)
	return c
}

// NoPickerCluster has no endpoint.
func NoPickerCluster() *clusterv3.Cluster {
	return &clusterv3.Cluster{
		Name:                 NoPickerClusterName,
		ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC},
		LoadAssignment:       &endpointv3.ClusterLoadAssignment{ClusterName: NoPickerClusterName},
	}
}

// pickerBuffer is how much may wait to be written to the picker, on a connection and on
// a stream, in bytes: as good as everything. Where it is reached, Envoy 1.40 pushes back
// on what is proxied on behalf of the stream, and crashes when that is a try at a
// provider that has no connection yet, or has none any more. What waits is bounded by
// the request bodies, which Envoy holds anyway, and by each response's own limit.
const pickerBuffer = 1 << 30

// sparePicker keeps Envoy from pushing back; see pickerBuffer.
func sparePicker(c *clusterv3.Cluster) {
	c.PerConnectionBufferLimitBytes = u32(pickerBuffer)
	c.TypedExtensionProtocolOptions = protocolOf(&corev3.Http2ProtocolOptions{
		// A stream's limit is its window.
		InitialStreamWindowSize: u32(pickerBuffer), InitialConnectionWindowSize: u32(pickerBuffer),
	})
}

// grpcCluster is a gRPC server on a unix socket.
func grpcCluster(name, path string) *clusterv3.Cluster {
	return &clusterv3.Cluster{
		Name:                          name,
		ClusterDiscoveryType:          &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC},
		ConnectTimeout:                seconds(time.Second),
		CircuitBreakers:               unlimited(),
		TypedExtensionProtocolOptions: protocol(true),
		LoadAssignment: &endpointv3.ClusterLoadAssignment{
			ClusterName: name,
			Endpoints:   []*endpointv3.LocalityLbEndpoints{{LbEndpoints: []*endpointv3.LbEndpoint{lbEndpoint(unix(path))}}},
		},
	}
}
