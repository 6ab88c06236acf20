package xds

import (
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
)

// ExtProcFilter asks the picker for every request. Request bodies are buffered: of
// Envoy's body modes only that one fails open at every moment. Response bodies are
// streamed past the picker, which turns that off for responses it need not see.
func ExtProcFilter(o Options) *hcmv3.HttpFilter {
	o = o.withDefaults()
	namespaces := func(names ...string) *extprocv3.MetadataOptions_MetadataNamespaces {
		return &extprocv3.MetadataOptions_MetadataNamespaces{Untyped: names}
	}
	return httpFilter("envoy.filters.http.ext_proc", &extprocv3.ExternalProcessor{
		GrpcService: &corev3.GrpcService{
			// No timeout: it would bound the whole stream, which is as long as the
			// response.
			TargetSpecifier: &corev3.GrpcService_EnvoyGrpc_{EnvoyGrpc: &corev3.GrpcService_EnvoyGrpc{
				ClusterName: PickerClusterName,
			}},
		},
		StatPrefix:        "picker",
		FailureModeAllow:  true,
		ProcessingMode:    bufferedRequests(),
		AllowModeOverride: true,
		// The picker changes no body, so a length that is known stays known.
		AllowContentLengthHeader: true,
		MessageTimeout:           seconds(o.MessageTimeout),
		MaxMessageTimeout:        seconds(o.MaxMessageTimeout),
		// Mutation rules are Envoy's defaults: no pseudo-headers, no host, no
		// x-envoy-*.
		MetadataOptions: &extprocv3.MetadataOptions{
			ForwardingNamespaces: namespaces(MetadataNamespace, subsetNamespace),
			ReceivingNamespaces:  namespaces(append([]string{MetadataNamespace}, o.MetadataNamespaces...)...),
		},
	})
}

// bufferedRequests are the body modes of every filter of ours: requests whole, responses
// as they come.
func bufferedRequests() *extprocv3.ProcessingMode {
	return &extprocv3.ProcessingMode{
		RequestHeaderMode:   extprocv3.ProcessingMode_SEND,
		RequestBodyMode:     extprocv3.ProcessingMode_BUFFERED,
		RequestTrailerMode:  extprocv3.ProcessingMode_SKIP,
		ResponseHeaderMode:  extprocv3.ProcessingMode_SEND,
		ResponseBodyMode:    extprocv3.ProcessingMode_STREAMED,
		ResponseTrailerMode: extprocv3.ProcessingMode_SKIP,
	}
}
