package xds

import (
	"fmt"
	"net"
	"strconv"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	subsetv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/subset/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/durationpb"
)

// What an Envoy that another control plane configures calls our parts.
const (
	// FilterName is the ext_proc filter, and the key of its configuration per route.
	FilterName = "envoy.filters.http.ext_proc/fairway"
	// ClusterPrefix begins the names of pools' clusters.
	ClusterPrefix = "fairway/"
	// PickerHealthService is the gRPC health service that a picker must serve.
	PickerHealthService = "envoy.service.ext_proc.v3.ExternalProcessor"

	// KeepaliveTime is how often Envoy asks the EDS server whether it is still
	// there. The server must allow it.
	KeepaliveTime = 30 * time.Second

	// nobodysKey is metadata that no endpoint has.
	nobodysKey = "fairway.dev/nobody"
)

// Times of discovery and of the picker's health.
const (
	// fetchTimeout is how long Envoy's start, or a new cluster, waits for endpoints.
	fetchTimeout = 3 * time.Second
	// reconnect is the longest wait before the EDS server is tried again.
	reconnect = time.Second
	// A picker that is gone is left after two checks.
	checkInterval = 500 * time.Millisecond
	checkFailures = 2
)

// Discovery is where an Envoy that another control plane configures finds the
// endpoints of pools and of the picker.
type Discovery struct {
	// Target is the EDS server, "host:port".
	Target string
	// CA is PEM, the authorities of the EDS server's and of the pickers'
	// certificates. Without it, connections are not encrypted.
	CA []byte
	// ServerName is the name in those certificates. It must be set with CA.
	ServerName string
}

// Validate names the first field that Envoy would not accept.
func (d Discovery) Validate() error {
	host, port, err := net.SplitHostPort(d.Target)
	if err != nil || host == "" {
		return fmt.Errorf("EDS server %.200q: must be host:port", d.Target)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return fmt.Errorf("EDS server %.200q: the port must be 1 to 65535", d.Target)
	}
	if len(d.CA) > 0 && d.ServerName == "" {
		return fmt.Errorf("EDS server %.200q: the name in its certificate is missing", d.Target)
	}
	return nil
}

// ClusterName is the cluster of a pool in an Envoy that another control plane
// configures.
func ClusterName(pool string) string { return ClusterPrefix + pool }

// DiscoveredPoolCluster is [PoolCluster] for an Envoy that another control plane
// configures. Its endpoints come from the EDS server under the pool's name. Nobody
// adds a route for what the picker did not see, so failing closed is the cluster's:
// without a picked endpoint it answers 503.
func DiscoveredPoolCluster(p Pool, d Discovery, o Options) *clusterv3.Cluster {
	c := discovered(p, d, o)
	if !p.FailOpen {
		c.LoadBalancingPolicy = overrideHost(nobody())
	}
	return c
}

// discovered is DiscoveredPoolCluster that fails open.
func discovered(p Pool, d Discovery, o Options) *clusterv3.Cluster {
	c := PoolCluster(p, o)
	c.Name, c.AltStatName = ClusterName(p.Name), p.Name
	c.EdsClusterConfig = &clusterv3.Cluster_EdsClusterConfig{EdsConfig: d.source(), ServiceName: p.Name}
	return c
}

// nobody chooses among the endpoints that have what none has.
func nobody() *clusterv3.LoadBalancingPolicy {
	return policy(extension("envoy.load_balancing_policies.subset", &subsetv3.Subset{
		FallbackPolicy:  subsetv3.Subset_NO_FALLBACK,
		SubsetSelectors: []*subsetv3.Subset_LbSubsetSelector{{Keys: []string{nobodysKey}}},
		SubsetLbPolicy:  leastRequest(),
	}))
}

// DiscoveredPickerCluster is the ext_proc servers, which the EDS server knows under
// [PickerClusterName]. A picker that does not answer health checks is left within
// about a second; with none left, requests fail open or closed at once.
func DiscoveredPickerCluster(d Discovery) *clusterv3.Cluster {
	c := &clusterv3.Cluster{
		Name:                      PickerClusterName,
		ClusterDiscoveryType:      &clusterv3.Cluster_Type{Type: clusterv3.Cluster_EDS},
		EdsClusterConfig:          &clusterv3.Cluster_EdsClusterConfig{EdsConfig: d.source()},
		ConnectTimeout:            seconds(time.Second),
		CommonLbConfig:            &clusterv3.Cluster_CommonLbConfig{HealthyPanicThreshold: &typev3.Percent{}},
		IgnoreHealthOnHostRemoval: true,
		CircuitBreakers:           unlimited(),
		UpstreamConnectionOptions: keepalive(),
		LoadBalancingPolicy:       leastRequest(),
		HealthChecks: []*corev3.HealthCheck{{
			Timeout:            seconds(checkInterval),
			Interval:           seconds(checkInterval),
			NoTrafficInterval:  seconds(checkInterval),
			UnhealthyThreshold: u32(checkFailures),
			HealthyThreshold:   u32(1),
			HealthChecker: &corev3.HealthCheck_GrpcHealthCheck_{GrpcHealthCheck: &corev3.HealthCheck_GrpcHealthCheck{
				ServiceName: PickerHealthService,
			}},
		}},
	}
	sparePicker(c)
	if len(d.CA) > 0 {
		c.TransportSocket = d.transport()
	}
	return c
}

func (d Discovery) transport() *corev3.TransportSocket {
	return &corev3.TransportSocket{
		Name: "envoy.transport_sockets.tls",
		ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: pack(&tlsv3.UpstreamTlsContext{
			Sni: d.ServerName,
			CommonTlsContext: &tlsv3.CommonTlsContext{
				AlpnProtocols: []string{"h2"},
				TlsParams:     &tlsv3.TlsParameters{TlsMinimumProtocolVersion: tlsv3.TlsParameters_TLSv1_2},
				ValidationContextType: &tlsv3.CommonTlsContext_ValidationContext{ValidationContext: &tlsv3.CertificateValidationContext{
					TrustedCa: inline(d.CA),
					MatchTypedSubjectAltNames: []*tlsv3.SubjectAltNameMatcher{{
						SanType: tlsv3.SubjectAltNameMatcher_DNS, Matcher: exact(d.ServerName),
					}},
				}},
			},
		})},
	}
}

// source is a gRPC client of its own: a cluster that did not come with the
// bootstrap may not name another cluster as its source.
func (d Discovery) source() *corev3.ConfigSource {
	number := func(t time.Duration) *corev3.GrpcService_GoogleGrpc_ChannelArgs_Value {
		return &corev3.GrpcService_GoogleGrpc_ChannelArgs_Value{
			ValueSpecifier: &corev3.GrpcService_GoogleGrpc_ChannelArgs_Value_IntValue{IntValue: t.Milliseconds()},
		}
	}
	args := map[string]*corev3.GrpcService_GoogleGrpc_ChannelArgs_Value{
		"grpc.initial_reconnect_backoff_ms": number(reconnect / 10),
		"grpc.min_reconnect_backoff_ms":     number(reconnect),
		"grpc.max_reconnect_backoff_ms":     number(reconnect),
		// A server that vanished without a word is noticed.
		"grpc.keepalive_time_ms":    number(KeepaliveTime),
		"grpc.keepalive_timeout_ms": number(KeepaliveTime / 3),
	}
	g := &corev3.GrpcService_GoogleGrpc{
		TargetUri:   d.Target,
		StatPrefix:  "fairway_eds",
		ChannelArgs: &corev3.GrpcService_GoogleGrpc_ChannelArgs{Args: args},
	}
	if len(d.CA) > 0 {
		g.ChannelCredentials = &corev3.GrpcService_GoogleGrpc_ChannelCredentials{
			CredentialSpecifier: &corev3.GrpcService_GoogleGrpc_ChannelCredentials_SslCredentials{
				SslCredentials: &corev3.GrpcService_GoogleGrpc_SslCredentials{RootCerts: inline(d.CA)},
			},
		}
		args["grpc.ssl_target_name_override"] = &corev3.GrpcService_GoogleGrpc_ChannelArgs_Value{
			ValueSpecifier: &corev3.GrpcService_GoogleGrpc_ChannelArgs_Value_StringValue{StringValue: d.ServerName},
		}
	}
	return &corev3.ConfigSource{
		ResourceApiVersion:  corev3.ApiVersion_V3,
		InitialFetchTimeout: durationpb.New(fetchTimeout),
		ConfigSourceSpecifier: &corev3.ConfigSource_ApiConfigSource{ApiConfigSource: &corev3.ApiConfigSource{
			ApiType:                   corev3.ApiConfigSource_GRPC,
			TransportApiVersion:       corev3.ApiVersion_V3,
			SetNodeOnFirstMessageOnly: true,
			GrpcServices: []*corev3.GrpcService{{
				TargetSpecifier: &corev3.GrpcService_GoogleGrpc_{GoogleGrpc: g},
			}},
		}},
	}
}

func inline(pem []byte) *corev3.DataSource {
	return &corev3.DataSource{Specifier: &corev3.DataSource_InlineBytes{InlineBytes: pem}}
}
