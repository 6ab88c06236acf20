package xds

import (
	"slices"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	mutationv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	streamlogv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/stream/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	earlyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/early_header_mutation/header_mutation/v3"
	uuidv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/request_id/uuid/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// ConnectionBuffer is how much of an answer may wait on a connection of a client's, in
// bytes. It is also what may wait for a translator. When more waits, Envoy 1.40 pushes
// back on the provider, and crashes when it goes on after the provider has ended its
// answer: so this is more than whole answers have. (Requests are bounded by their
// route's limit.) Where nothing is translated, less will do, and a client that reads
// slowly costs less.
const (
	ConnectionBuffer = 256 << 20
	plainBuffer      = 1 << 20
)

// Listener takes requests from clients, over HTTP/1.1 and HTTP/2 without TLS.
func Listener(o Options) *listenerv3.Listener { return listener(o, false) }

// listener is Listener; with rules, it also serves providers.
func listener(o Options, rules bool) *listenerv3.Listener {
	o = o.withDefaults()
	buffer := uint32(plainBuffer)
	if rules {
		buffer = ConnectionBuffer
	}
	return &listenerv3.Listener{
		Name:                          ListenerName,
		Address:                       tcp(o.Address),
		PerConnectionBufferLimitBytes: u32(buffer),
		FilterChains: []*listenerv3.FilterChain{{Filters: []*listenerv3.Filter{{
			Name:       "envoy.filters.network.http_connection_manager",
			ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: pack(connectionManager(o, rules))},
		}}}},
	}
}

func connectionManager(o Options, rules bool) *hcmv3.HttpConnectionManager {
	m := &hcmv3.HttpConnectionManager{
		StatPrefix: ListenerName,
		CodecType:  hcmv3.HttpConnectionManager_AUTO,
		RouteSpecifier: &hcmv3.HttpConnectionManager_Rds{Rds: &hcmv3.Rds{
			ConfigSource: ads(), RouteConfigName: RouteName,
		}},
		HttpFilters:                   httpFilters(o, rules),
		EarlyHeaderMutationExtensions: []*corev3.TypedExtensionConfig{StripRoutingHeaders()},
		LocalReplyConfig:              localReplies(""),

		// Nothing about a client is believed, not even on a private network.
		UseRemoteAddress: yes(),
		// Without a range Envoy takes its own defaults; nobody has this address.
		InternalAddressConfig: &hcmv3.HttpConnectionManager_InternalAddressConfig{CidrRanges: []*corev3.CidrRange{
			{AddressPrefix: "255.255.255.255", PrefixLen: u32(32)},
		}},
		NormalizePath:              yes(),
		MergeSlashes:               true,
		StripMatchingHostPort:      false,
		ServerHeaderTransformation: hcmv3.HttpConnectionManager_PASS_THROUGH,

		// A client's request ID is kept, and every response has one to ask about.
		GenerateRequestId:            yes(),
		PreserveExternalRequestId:    true,
		AlwaysSetRequestIdInResponse: true,
		RequestIdExtension: &hcmv3.RequestIDExtension{TypedConfig: pack(&uuidv3.UuidRequestIdConfig{
			PackTraceReason: wrapperspb.Bool(false),
		})},

		StreamIdleTimeout:     seconds(o.StreamIdleTimeout),
		RequestTimeout:        seconds(o.RequestTimeout),
		RequestHeadersTimeout: seconds(headersTimeout),
		Http2ProtocolOptions: &corev3.Http2ProtocolOptions{
			MaxConcurrentStreams:        u32(1000),
			InitialStreamWindowSize:     u32(1 << 20),
			InitialConnectionWindowSize: u32(4 << 20),
		},
	}
	if rules {
		m.EarlyHeaderMutationExtensions = []*corev3.TypedExtensionConfig{StripRoutingHeaders(RouteHeader)}
		m.LocalReplyConfig = triedReplies(m.LocalReplyConfig)
	}
	if o.AccessLog {
		m.AccessLog = []*accesslogv3.AccessLog{accessLog(rules)}
	}
	return m
}

func httpFilters(o Options, rules bool) []*hcmv3.HttpFilter {
	router := httpFilter("envoy.filters.http.router", &routerv3.Router{SuppressEnvoyHeaders: true})
	if o.NoPicker {
		return []*hcmv3.HttpFilter{router}
	}
	if rules {
		o.MetadataNamespaces = append(slices.Clip(o.MetadataNamespaces), RequestNamespace, OrderNamespace, AnswerNamespace, CostNamespace)
	}
	return []*hcmv3.HttpFilter{ExtProcFilter(o), router}
}

func httpFilter(name string, m proto.Message) *hcmv3.HttpFilter {
	return &hcmv3.HttpFilter{Name: name, ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: pack(m)}}
}

// StripRoutingHeaders is an early header mutation that removes what only the picker and
// gateways may say, before the first route is chosen.
func StripRoutingHeaders(more ...string) *corev3.TypedExtensionConfig {
	m := &earlyv3.HeaderMutation{}
	for _, name := range append([]string{DestinationHeader, SubsetHeader, PoolHeader}, more...) {
		m.Mutations = append(m.Mutations, &mutationv3.HeaderMutation{Action: &mutationv3.HeaderMutation_Remove{Remove: name}})
	}
	return extension("envoy.http.early_header_mutation.header_mutation", m)
}

func accessLog(rules bool) *accesslogv3.AccessLog {
	fields := map[string]*structpb.Value{}
	for name, value := range map[string]string{
		"time":           "%START_TIME%",
		"request_id":     "%REQ(X-REQUEST-ID)%",
		"client":         "%DOWNSTREAM_REMOTE_ADDRESS%",
		"method":         "%REQ(:METHOD)%",
		"path":           "%REQ(:PATH)%",
		"protocol":       "%PROTOCOL%",
		"status":         "%RESPONSE_CODE%",
		"details":        "%RESPONSE_CODE_DETAILS%",
		"flags":          "%RESPONSE_FLAGS%",
		"pool":           "%UPSTREAM_CLUSTER%",
		"endpoint":       "%UPSTREAM_HOST%",
		"attempts":       "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
		"request_bytes":  "%BYTES_RECEIVED%",
		"response_bytes": "%BYTES_SENT%",
		"duration_ms":    "%DURATION%",
	} {
		fields[name] = structpb.NewStringValue(value)
	}
	if rules {
		fields["backend"] = structpb.NewStringValue("%RESP(" + BackendHeader + ")%")
		fields["answer"] = structpb.NewStringValue("%DYNAMIC_METADATA(" + AnswerNamespace + ")%")
		fields["costs"] = structpb.NewStringValue("%DYNAMIC_METADATA(" + CostNamespace + ")%")
	}
	return &accesslogv3.AccessLog{
		Name: "envoy.access_loggers.stdout",
		ConfigType: &accesslogv3.AccessLog_TypedConfig{TypedConfig: pack(&streamlogv3.StdoutAccessLog{
			AccessLogFormat: &streamlogv3.StdoutAccessLog_LogFormat{LogFormat: &corev3.SubstitutionFormatString{
				Format: &corev3.SubstitutionFormatString_JsonFormat{JsonFormat: &structpb.Struct{Fields: fields}},
			}},
		})},
	}
}
