package envoygateway

import (
	"fmt"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/proto"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairway-ai/fairway/gateway/accesspolicy"
	"github.com/fairway-ai/fairway/gateway/xds"
)

const (
	virtualHostMetadata = 24
	// givenMetadata is the namespace in which Envoy Gateway says what it made something
	// for, as a list under givenResources.
	givenMetadata  = "envoy-gateway"
	givenResources = "resources"
)

// guard is the policy that a virtual host's AIRoutes are under; the zero guard is none.
type guard struct {
	target accesspolicy.Target
	// identified says that the listener proves who clients are.
	identified bool
}

func (g guard) guards() bool { return g.target.Gateway.Name != "" }

// mark adds the guard to what a request may be for. Pools are not guarded.
func (g guard) mark(scope string) string {
	if !g.guards() || !strings.HasPrefix(scope, xds.RoutesPrefix) && !strings.HasPrefix(scope, xds.RulePrefix) {
		return scope
	}
	return accesspolicy.Mark(scope, g.target, g.identified)
}

// guardOf is the guard of a virtual host. One of a listener that is not known is guarded
// if there is any policy at all.
func (t *translation) guardOf(host []byte, identified bool) (guard, error) {
	if t.access.Empty() {
		return guard{}, nil
	}
	var m corev3.Metadata
	err := inField(host, virtualHostMetadata, func(b []byte) error {
		return proto.UnmarshalOptions{Merge: true}.Unmarshal(b, &m)
	})
	if err != nil {
		return guard{}, fmt.Errorf("metadata of a virtual host: %w", err)
	}
	list := m.GetFilterMetadata()[givenMetadata].GetFields()[givenResources].GetListValue().GetValues()
	if len(list) == 0 {
		return guard{target: accesspolicy.Target{Gateway: types.NamespacedName{Name: "unknown"}}}, nil
	}
	f := list[0].GetStructValue().GetFields()
	at := accesspolicy.Target{
		Gateway: types.NamespacedName{Namespace: f["namespace"].GetStringValue(), Name: f["name"].GetStringValue()},
		Section: f["sectionName"].GetStringValue(),
	}
	if t.access.Find(at.Gateway, at.Section) == nil {
		return guard{}, nil
	}
	return guard{target: at, identified: identified}, nil
}

// identifies says whether what the connection manager behind a filter chain says of
// client certificates is true and names their URIs: certificates are required, checked
// against authorities, and nothing that a client says of them is let through.
func identifies(chain *listenerv3.FilterChain, m *hcmv3.HttpConnectionManager) bool {
	if m.ForwardClientCertDetails != hcmv3.HttpConnectionManager_SANITIZE_SET || !m.GetSetCurrentClientCertDetails().GetUri() {
		return false
	}
	packed := chain.GetTransportSocket().GetTypedConfig()
	var t tlsv3.DownstreamTlsContext
	if packed == nil || packed.UnmarshalTo(&t) != nil || !t.GetRequireClientCertificate().GetValue() {
		return false
	}
	switch v := t.GetCommonTlsContext().GetValidationContextType().(type) {
	case *tlsv3.CommonTlsContext_ValidationContextSdsSecretConfig:
		return v.ValidationContextSdsSecretConfig.GetName() != ""
	case *tlsv3.CommonTlsContext_CombinedValidationContext:
		return v.CombinedValidationContext.GetValidationContextSdsSecretConfig().GetName() != "" &&
			checks(v.CombinedValidationContext.GetDefaultValidationContext())
	case *tlsv3.CommonTlsContext_ValidationContext:
		return v.ValidationContext.GetTrustedCa() != nil && checks(v.ValidationContext)
	}
	return false
}

// checks says whether certificates that fail are refused.
func checks(v *tlsv3.CertificateValidationContext) bool {
	return v.GetTrustChainVerification() == tlsv3.CertificateValidationContext_VERIFY_TRUST_CHAIN && !v.GetAllowExpiredCertificate()
}
