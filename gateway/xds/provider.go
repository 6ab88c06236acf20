package xds

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	codecv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/upstream_codec/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	caresv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/network/dns_resolver/cares/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// What the translators of providers and Envoy agree on.
const (
	// BackendPrefix begins the names of providers' clusters, and what their ext_proc
	// filter calls its pool.
	BackendPrefix = "backend:"
	// RestorePrefix begins those of a pool that is tried after a provider.
	RestorePrefix = "restore:"
	// PickedPrefix begins the name of what is in a pool's place where a picker chooses
	// among the endpoints of a Service, without an InferencePool.
	PickedPrefix = "picked:"
	// RoutesPrefix begins, in place of a pool's name, the AIRoutes that a request may
	// be for, "namespace/name", joined by commas; RulePrefix begins the name of the
	// one rule that it is for.
	RoutesPrefix = "routes:"
	RulePrefix   = "rule:"
	// RequestNamespace is that of the dynamic metadata with the request as it was
	// before any try; RequestPathKey is its key of the path.
	RequestNamespace = "dev.fairway.request"
	RequestPathKey   = "path"
	// RequestIDKey is its key of what names the request among all others, and
	// TryMetadata the gRPC metadata in which translators are told that, too.
	RequestIDKey = "id"
	TryMetadata  = "x-fairway-try"
	// BackendHeader tells a client who answered.
	BackendHeader = "x-fairway-backend"

	poolMetadata = "x-fairway-pool" // the key of gRPC initial metadata
)

// Times of providers.
const (
	providerConnectTimeout = 5 * time.Second
	// providerIdle closes idle connections before providers' own load balancers do.
	providerIdle = 50 * time.Second
	// translateTimeout bounds a translator's answer to one message, which may wait for
	// an identity provider.
	translateTimeout = 10 * time.Second
	dnsTimeout       = 2 * time.Second
	dnsTries         = 2
)

// Provider is an AI provider as far as Envoy must know it.
type Provider struct {
	// Name is unique; Label is what statistics and logs call it.
	Name, Label string
	// Host is a DNS name or an IP address.
	Host string
	Port uint16
	// TLS encrypts; Insecure does so without a look at the certificate.
	TLS, Insecure bool
	// ServerName is the name sent and checked; "" means Host.
	ServerName string
	// CA is PEM; nil means Options.SystemCA.
	CA []byte
	// Pool is the pool that it is, "namespace/name" or with PickedPrefix, spoken to in
	// another API than its own; "" for a host. With it, all below Label is not used.
	Pool string
}

// Validate names the first field that Envoy would not accept.
func (p *Provider) Validate(o Options) error {
	switch {
	case p.Name == "":
		return fmt.Errorf("a backend has no name")
	case p.Pool != "":
		return nil
	case p.Host == "" || len(p.Host) > 253 || strings.ContainsAny(p.Host, "/ \x00"):
		return fmt.Errorf("backend %q: host %.80q is neither a name nor an address", p.Name, p.Host)
	case p.Port == 0:
		return fmt.Errorf("backend %q: the port is missing", p.Name)
	case p.TLS && !p.Insecure && p.CA == nil && o.SystemCA == "":
		return fmt.Errorf("backend %q: this system has no file of certificate authorities in the usual places; install the package ca-certificates or set SSL_CERT_FILE", p.Name)
	}
	return nil
}

// ProviderCluster is the cluster of a provider that is no pool. Its ext_proc filter
// translates and signs every try, and fails closed.
func ProviderCluster(p Provider, o Options) *clusterv3.Cluster {
	o = o.withDefaults()
	c := &clusterv3.Cluster{
		Name:                          BackendPrefix + p.Name,
		AltStatName:                   p.Label,
		ConnectTimeout:                seconds(providerConnectTimeout),
		CircuitBreakers:               budgeted(),
		UpstreamConnectionOptions:     keepalive(),
		CommonLbConfig:                &clusterv3.Cluster_CommonLbConfig{HealthyPanicThreshold: &typev3.Percent{}},
		IgnoreHealthOnHostRemoval:     true,
		TypedExtensionProtocolOptions: providerProtocol(p, o),
		LoadAssignment:                &endpointv3.ClusterLoadAssignment{ClusterName: BackendPrefix + p.Name},
	}
	address := &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address: p.Host, PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: uint32(p.Port)},
	}}}
	c.LoadAssignment.Endpoints = []*endpointv3.LocalityLbEndpoints{{LbEndpoints: []*endpointv3.LbEndpoint{lbEndpoint(address)}}}
	if _, err := netip.ParseAddr(p.Host); err == nil {
		c.ClusterDiscoveryType = &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC}
	} else {
		c.ClusterDiscoveryType = &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STRICT_DNS}
		c.DnsLookupFamily = clusterv3.Cluster_V4_PREFERRED
		c.TypedDnsResolverConfig = extension("envoy.network.dns_resolver.cares", &caresv3.CaresDnsResolverConfig{
			QueryTimeoutSeconds: wrapperspb.UInt64(uint64(dnsTimeout / time.Second)), QueryTries: u32(dnsTries),
		})
		// A name that does not resolve leaves no endpoint, and then Envoy would not go
		// on to the next group. Nobody answers here, so that it does.
		c.LoadAssignment.Endpoints = append(c.LoadAssignment.Endpoints, &endpointv3.LocalityLbEndpoints{
			Priority: 1, LbEndpoints: []*endpointv3.LbEndpoint{lbEndpoint(tcp(nowhere))},
		})
	}
	if p.TLS {
		c.TransportSocket = providerTLS(p, o)
	}
	return c
}

// nowhere refuses connections.
var nowhere = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 1)

func providerTLS(p Provider, o Options) *corev3.TransportSocket {
	name := p.ServerName
	if name == "" {
		name = p.Host
	}
	common := &tlsv3.CommonTlsContext{TlsParams: &tlsv3.TlsParameters{TlsMinimumProtocolVersion: tlsv3.TlsParameters_TLSv1_2}}
	t := &tlsv3.UpstreamTlsContext{CommonTlsContext: common}
	kind := tlsv3.SubjectAltNameMatcher_IP_ADDRESS
	if net.ParseIP(name) == nil {
		kind, t.Sni = tlsv3.SubjectAltNameMatcher_DNS, name
	}
	if !p.Insecure {
		ca := &corev3.DataSource{Specifier: &corev3.DataSource_Filename{Filename: o.SystemCA}}
		if p.CA != nil {
			ca = inline(p.CA)
		}
		common.ValidationContextType = &tlsv3.CommonTlsContext_ValidationContext{ValidationContext: &tlsv3.CertificateValidationContext{
			TrustedCa:                 ca,
			MatchTypedSubjectAltNames: []*tlsv3.SubjectAltNameMatcher{{SanType: kind, Matcher: exact(name)}},
		}}
	}
	return &corev3.TransportSocket{
		Name:       "envoy.transport_sockets.tls",
		ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: pack(t)},
	}
}

func providerProtocol(p Provider, o Options) map[string]*anypb.Any {
	h := &httpv3.HttpProtocolOptions{
		CommonHttpProtocolOptions: &corev3.HttpProtocolOptions{IdleTimeout: seconds(providerIdle)},
		HttpFilters:               tryFilters(BackendPrefix+p.Name, o),
	}
	if p.TLS {
		h.UpstreamProtocolOptions = &httpv3.HttpProtocolOptions_AutoConfig{AutoConfig: &httpv3.HttpProtocolOptions_AutoHttpConfig{
			HttpProtocolOptions: &corev3.Http1ProtocolOptions{}, Http2ProtocolOptions: windows(),
		}}
	} else {
		h.UpstreamProtocolOptions = &httpv3.HttpProtocolOptions_ExplicitHttpConfig_{ExplicitHttpConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig{
			ProtocolConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_HttpProtocolOptions{HttpProtocolOptions: &corev3.Http1ProtocolOptions{}},
		}}
	}
	return map[string]*anypb.Any{httpOptions: pack(h)}
}

// tryFilters ask the translator of that name about every try. Full duplex bodies
// would crash Envoy here.
func tryFilters(name string, o Options) []*hcmv3.HttpFilter {
	return []*hcmv3.HttpFilter{
		httpFilter("fairway-translate", &extprocv3.ExternalProcessor{
			GrpcService: &corev3.GrpcService{
				TargetSpecifier: &corev3.GrpcService_EnvoyGrpc_{EnvoyGrpc: &corev3.GrpcService_EnvoyGrpc{ClusterName: PickerClusterName}},
				InitialMetadata: []*corev3.HeaderValue{
					{Key: poolMetadata, Value: name},
					// A try may fail before its headers were read there.
					{Key: TryMetadata, Value: "%DYNAMIC_METADATA(" + RequestNamespace + ":" + RequestIDKey + ")%"},
				},
			},
			StatPrefix:        "translate",
			FailureModeAllow:  false,
			ProcessingMode:    bufferedRequests(),
			AllowModeOverride: true,
			MessageTimeout:    seconds(translateTimeout),
			MaxMessageTimeout: seconds(max(o.MaxMessageTimeout, translateTimeout)),
			MutationRules:     everything(),
			MetadataOptions: &extprocv3.MetadataOptions{
				ForwardingNamespaces: &extprocv3.MetadataOptions_MetadataNamespaces{Untyped: []string{RequestNamespace}},
				ReceivingNamespaces:  &extprocv3.MetadataOptions_MetadataNamespaces{Untyped: []string{AnswerNamespace, CostNamespace}},
			},
		}),
		httpFilter("envoy.filters.http.upstream_codec", &codecv3.UpstreamCodec{}),
	}
}
