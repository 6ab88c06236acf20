package xds

import (
	"encoding/json"
	"fmt"
	"strings"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	celv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/filters/cel/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
)

// ownDetails begins the response code details of the picker's answers. Those are
// in the client's schema already.
const ownDetails = "fairway_"

// localReply is an error that Envoy makes itself.
type localReply struct {
	// when is a CEL condition on the response.
	when            string
	message         string
	code, openAI    string
	anthropicStatus string
}

// localRepliesTable is tried in order. The error types are those of the two APIs,
// as package extproc uses them for the picker's answers.
func localRepliesTable() []localReply {
	status := func(n int) string { return fmt.Sprintf("response.code == %d", n) }
	return []localReply{
		{status(400), "the request is not valid HTTP", "bad_request", "invalid_request_error", "invalid_request_error"},
		{status(408), "the request did not arrive in time", "request_timeout", "invalid_request_error", "timeout_error"},
		{status(413), "the request body is too large", "request_too_large", "invalid_request_error", "request_too_large"},
		{status(431), "the request headers are too large", "headers_too_large", "invalid_request_error", "invalid_request_error"},
		{"response.code == 503 && xds.cluster_name == '" + NoPickerClusterName + "'",
			"the endpoint picker is not available, try again later", "picker_unavailable", "service_unavailable_error", "overloaded_error"},
		{"response.code == 503 && response.code_details.startsWith('no_healthy_upstream')",
			"no model server is available, try again later", "no_endpoints", "service_unavailable_error", "overloaded_error"},
		// Its headers were there but not sent on yet, or it does not speak HTTP.
		{status(502), "the model server broke off its answer", "upstream_failed", "server_error", "api_error"},
		{status(503), "no model server could be reached, try again later", "upstream_unavailable", "service_unavailable_error", "overloaded_error"},
		{status(504), "the model server did not answer in time", "upstream_timeout", "server_error", "timeout_error"},
		{"response.code >= 500", "the gateway could not handle the request", "gateway_error", "server_error", "api_error"},
		{"response.code >= 400", "the gateway refused the request", "bad_request", "invalid_request_error", "invalid_request_error"},
	}
}

// LocalReplies gives Envoy's own errors the body a client of the API expects, for
// requests on the way to a cluster of ours, and leaves all others alone.
func LocalReplies() *hcmv3.LocalReplyConfig {
	var ours []string
	for _, prefix := range []string{ClusterPrefix, LaterPrefix, BackendPrefix, RestorePrefix, NoPickerClusterName} {
		ours = append(ours, "xds.cluster_name.startsWith('"+prefix+"')") // none needs quoting
	}
	return triedReplies(localReplies("(" + strings.Join(ours, " || ") + ") && "))
}

// localReplies gives Envoy's own errors the body a client of the API expects. The
// texts are constant: what a client sent never gets into them. scope begins every
// condition.
func localReplies(scope string) *hcmv3.LocalReplyConfig { return repliesFor(scope, "request.path") }

// triedReplies puts before c the same for requests on the way to a provider, of which
// the path is the provider's by then: the client's is in the metadata.
func triedReplies(c *hcmv3.LocalReplyConfig) *hcmv3.LocalReplyConfig {
	path := "metadata.filter_metadata['" + RequestNamespace + "']['" + RequestPathKey + "']"
	tried := repliesFor(path+" != '' && ", path)
	tried.Mappers = append(tried.Mappers, c.Mappers...)
	return tried
}

func repliesFor(scope, path string) *hcmv3.LocalReplyConfig {
	c := &hcmv3.LocalReplyConfig{}
	for _, r := range localRepliesTable() {
		c.Mappers = append(c.Mappers,
			mapper(scope+path+".startsWith('/v1/messages') && "+r.when, map[string]any{
				"type":  "error",
				"error": map[string]any{"type": r.anthropicStatus, "message": r.message},
			}),
			mapper(scope+r.when, map[string]any{
				"error": map[string]any{"message": r.message, "type": r.openAI, "param": nil, "code": r.code},
			}))
	}
	return c
}

func mapper(when string, body map[string]any) *hcmv3.ResponseMapper {
	text, err := json.Marshal(body)
	if err != nil {
		panic(fmt.Sprintf("xds: %v", err)) // it holds strings
	}
	return &hcmv3.ResponseMapper{
		Filter: &accesslogv3.AccessLogFilter{FilterSpecifier: &accesslogv3.AccessLogFilter_ExtensionFilter{
			ExtensionFilter: &accesslogv3.ExtensionFilter{
				Name: "envoy.access_loggers.extension_filters.cel",
				ConfigType: &accesslogv3.ExtensionFilter_TypedConfig{TypedConfig: pack(&celv3.ExpressionFilter{
					Expression: "!response.code_details.startsWith('" + ownDetails + "') && " + when,
				})},
			},
		}},
		BodyFormatOverride: &corev3.SubstitutionFormatString{
			Format: &corev3.SubstitutionFormatString_TextFormatSource{TextFormatSource: &corev3.DataSource{
				Specifier: &corev3.DataSource_InlineString{InlineString: string(text)},
			}},
			ContentType: "application/json",
		},
	}
}
