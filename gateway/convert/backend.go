package convert

import (
	"net/netip"
	"regexp"
	"strings"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/fairway-ai/fairway/api/v1alpha1"
)

var (
	pathPrefix = regexp.MustCompile(`^/[-A-Za-z0-9._~/]*$`)
	// serviceName is a Service's name and namespace in its host name.
	serviceName = regexp.MustCompile(`^([a-z0-9][-a-z0-9]*)\.([a-z0-9][-a-z0-9]*)\.svc(?:\.|$)`)
	hostName    = regexp.MustCompile(`^[A-Za-z0-9]([-A-Za-z0-9.:]*[A-Za-z0-9])?$`)
)

// serviceBackend makes an AIBackend of an AIServiceBackend.
func (c *converter) serviceBackend(x *object) {
	x.used = true
	spec := &v1alpha1.AIBackendSpec{}
	if !c.schema(x, spec) || !c.destination(x, spec) {
		x.root.ignore()
		return
	}
	spec.Headers = c.headers(x.root.child("headerMutation"))
	spec.Body = c.body(x.root.child("bodyMutation"))
	if x.root.has("responseBodyMutation") {
		x.root.child("responseBodyMutation").ignore()
		c.lost(x, "spec.responseBodyMutation", "answers are not changed; have the client ignore the fields, or change them with an EnvoyExtensionPolicy")
	}
	x.root.skip("timeouts") // the rules that lead here have read them
	if p := c.policies[key{kindServiceBackend, x.namespace, x.name}]; p != nil {
		spec.Credentials = c.credentials(p, spec.Schema.Name)
	}
	if google(spec.Schema.Name) && spec.Credentials == nil {
		c.lost(x, "spec.schema.name", "%s needs credentials that name project and location, and no BackendSecurityPolicy of type GCPCredentials is attached; add spec.credentials of type GCP to the AIBackend", spec.Schema.Name)
	}
	c.made(x.meta, spec)
}

func google(s v1alpha1.SchemaName) bool {
	return s == v1alpha1.SchemaGCPVertexAI || s == v1alpha1.SchemaGCPAnthropic
}

// schema converts the API that the backend speaks.
func (c *converter) schema(x *object, spec *v1alpha1.AIBackendSpec) bool {
	s := x.root.child("schema")
	name := v1alpha1.SchemaName(s.str("name"))
	spec.Schema.Name = name
	prefix, version := s.str("prefix"), s.str("version")
	switch name {
	case v1alpha1.SchemaOpenAI, v1alpha1.SchemaAnthropic, v1alpha1.SchemaCohere:
		if version != "" && prefix == "" && name == v1alpha1.SchemaOpenAI && x.version == "v1alpha1" {
			c.check(x, "spec.schema.version", "was the path's prefix up to version 0.5, and is taken for that here; later versions ignore it")
			prefix = version
		} else if version != "" {
			c.check(x, "spec.schema.version", "is ignored for %s, and was left out", name)
		}
		c.prefix(x, spec, prefix)
	case v1alpha1.SchemaAzureOpenAI, v1alpha1.SchemaGCPAnthropic, v1alpha1.SchemaAWSAnthropic:
		if len(version) > 64 {
			c.lost(x, "spec.schema.version", "is longer than 64 characters")
			version = ""
		}
		spec.Schema.Version = version
	case v1alpha1.SchemaAWSBedrock, v1alpha1.SchemaGCPVertexAI:
		if version != "" {
			c.check(x, "spec.schema.version", "is ignored for %s, and was left out", name)
		}
	default:
		c.lost(x, "spec.schema.name", "%q is not a schema; no AIBackend was made", shorten(string(name)))
		return false
	}
	if prefix != "" && spec.Schema.PathPrefix == "" && name != v1alpha1.SchemaOpenAI && name != v1alpha1.SchemaAnthropic && name != v1alpha1.SchemaCohere {
		c.check(x, "spec.schema.prefix", "is ignored for %s, and was left out", name)
	}
	return true
}

func (c *converter) prefix(x *object, spec *v1alpha1.AIBackendSpec, prefix string) {
	prefix = "/" + strings.Trim(prefix, "/")
	switch {
	case prefix == "/" || prefix == "/v1" && spec.Schema.Name != v1alpha1.SchemaCohere:
	case !pathPrefix.MatchString(prefix) || len(prefix) > 256:
		c.lost(x, "spec.schema.prefix", "%q cannot be a path's prefix; use letters, digits and -._~/ only", shorten(prefix))
	default:
		spec.Schema.PathPrefix = prefix
	}
}

// destination converts where the backend is: a Backend of Envoy Gateway or a Service.
func (c *converter) destination(x *object, spec *v1alpha1.AIBackendSpec) bool {
	ref := x.root.child("backendRef")
	group, kind, name := ref.str("group"), ref.str("kind"), ref.str("name")
	namespace := x.namespace
	if n := ref.str("namespace"); n != "" {
		namespace = n
	}
	port, hasPort := ref.num("port")
	switch {
	case group == "" && (kind == "" || kind == kindService):
		if name == "" || !hasPort || port < 1 || port > 65535 {
			c.lost(x, "spec.backendRef", "must have the Service's name and port; no AIBackend was made")
			return false
		}
		to := &v1alpha1.ServiceDestination{Name: name, Port: int32(port)}
		if namespace != x.namespace {
			ns := gatewayv1.Namespace(namespace)
			to.Namespace = &ns
			c.allow(x, grant{kindAIBackend, x.namespace, kindService, namespace}, name)
		}
		spec.Destination = v1alpha1.Destination{Type: v1alpha1.DestinationService, Service: to}
		c.policyTLS(x, spec, key{kindService, namespace, name}, "")
		return true
	case group != groupEnvoyGateway || kind != kindEGBackend:
		c.lost(x, "spec.backendRef", "is neither a Backend of group %s nor a Service; no AIBackend was made", groupEnvoyGateway)
		return false
	}
	b := c.byName[key{kindEGBackend, namespace, name}]
	if b == nil {
		c.lost(x, "spec.backendRef.name", "Backend %s is not in the input, so that nobody knows where the backend is; no AIBackend was made", shorten(namespace+"/"+name))
		return false
	}
	b.used = true
	return c.backend(x, b, spec)
}

// backend reads a Backend of Envoy Gateway.
func (c *converter) backend(x, b *object, spec *v1alpha1.AIBackendSpec) bool {
	if t := b.root.str("type"); t != "" && t != "Endpoints" {
		c.lost(b, "spec.type", "%q has no counterpart: an AIBackend is one place; no AIBackend %s was made", shorten(t), shorten(x.name))
		return false
	}
	if b.root.flag("fallback", false) {
		c.check(b, "spec.fallback", "was overridden by the priority of the backendRefs, which was carried over; nothing else is needed")
	}
	if p := b.root.strings("appProtocols"); len(p) > 0 {
		c.lost(b, "spec.appProtocols", "is not needed for providers, whose protocol is negotiated, and there is none for others: make it a Service with appProtocol, and a destination of type Service")
	}
	all := b.root.list("endpoints")
	if len(all) == 0 {
		c.lost(b, "spec.endpoints", "is empty; no AIBackend %s was made", shorten(x.name))
		return false
	}
	for _, e := range all[1:] {
		c.lost(b, e.path, "an AIBackend is one place, the first one here; make an AIBackend of each further endpoint, and name them all in the rules' backendRefs")
		e.ignore()
	}
	e := all[0]
	host, port, ok := c.endpoint(x, b, e)
	if !ok {
		return false
	}
	spec.Destination = v1alpha1.Destination{Type: v1alpha1.DestinationHostname, Hostname: &v1alpha1.HostnameDestination{Host: host, Port: &port}}
	if e.has("hostname") {
		c.lost(b, e.at("hostname"), "there is no other name for the host; name it in the AIBackend's tls.serverName, or in headers")
		e.skip("hostname")
	}
	if e.has("zone") {
		c.check(b, e.at("zone"), "means nothing for a single endpoint, and was left out")
		e.skip("zone")
	}
	// The name of a Service is a reference to it.
	if m := serviceName.FindStringSubmatch(host); m != nil && m[2] != x.namespace {
		c.allow(x, grant{kindAIBackend, x.namespace, kindService, m[2]}, m[1])
	}
	c.policyTLS(x, spec, key{kindEGBackend, b.namespace, b.name}, host)
	c.backendTLS(x, b, spec, host)
	if spec.TLS == nil {
		// Envoy Gateway uses no TLS unless told to, Fairway the other way round.
		spec.TLS = &v1alpha1.BackendTLS{Mode: v1alpha1.TLSNone}
	} else if isDefault(spec.TLS) {
		spec.TLS = nil
	}
	return true
}

func isDefault(t *v1alpha1.BackendTLS) bool {
	return t.Mode == v1alpha1.TLSVerify && t.ServerName == "" && len(t.CACertificateRefs) == 0
}

func (c *converter) endpoint(x, b *object, e *node) (host string, port int32, ok bool) {
	var at *node
	switch {
	case e.has("fqdn"):
		at = e.child("fqdn")
		host = at.str("hostname")
	case e.has("ip"):
		at = e.child("ip")
		host = at.str("address")
		if _, err := netip.ParseAddr(host); err != nil {
			host = ""
		}
	case e.has("unix"):
		e.child("unix").ignore()
		c.lost(b, e.at("unix"), "a socket in Envoy's pod cannot be reached; run the server as a Service, and give AIBackend %s a destination of type Service", shorten(x.name))
		return "", 0, false
	}
	n, _ := at.num("port")
	if at == nil || !hostName.MatchString(host) || len(host) > 253 || n < 1 || n > 65535 {
		c.lost(b, e.path, "must have a host or an address, and a port; no AIBackend %s was made", shorten(x.name))
		return "", 0, false
	}
	return host, int32(n), true
}
