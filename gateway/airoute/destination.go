package airoute

import (
	"net/netip"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairway-ai/fairway/api/v1alpha1"
)

const kindService = "Service"

func (m *backendBuilder) destination() {
	d := &m.x.Spec.Destination
	var set []v1alpha1.DestinationType
	if d.Hostname != nil {
		set = append(set, v1alpha1.DestinationHostname)
	}
	if d.Service != nil {
		set = append(set, v1alpha1.DestinationService)
	}
	if d.InferencePool != nil {
		set = append(set, v1alpha1.DestinationInferencePool)
	}
	one := len(set) == 1 && set[0] == d.Type
	switch {
	case m.local && d.Type == v1alpha1.DestinationService:
		m.add(ReasonUnsupported, "spec.destination.type", "there are no Services outside of a cluster; use type Hostname")
	case m.local && d.Type == v1alpha1.DestinationInferencePool:
		m.add(ReasonUnsupported, "spec.destination.type", "name the InferencePool in the AIRoute's backendRefs instead; as an AIBackend it is not supported outside of a cluster yet")
	case m.local && d.Type != v1alpha1.DestinationHostname:
		m.invalid("spec.destination.type", "must be Hostname")
	case d.Type == v1alpha1.DestinationHostname && !one:
		m.invalid("spec.destination.hostname", "must be set for type Hostname, and nothing else")
	case d.Type == v1alpha1.DestinationService && !one:
		m.invalid("spec.destination.service", "must be set for type Service, and nothing else")
	case d.Type == v1alpha1.DestinationInferencePool && !one:
		m.invalid("spec.destination.inferencePool", "must be set for type InferencePool, and nothing else")
	case d.Hostname != nil:
		m.hostname(d.Hostname)
	case d.Service != nil:
		m.service(d.Service)
	case d.InferencePool != nil:
		m.pool(d.InferencePool)
	default:
		m.invalid("spec.destination.type", "must be Hostname, Service or InferencePool")
	}
}

func (m *backendBuilder) hostname(h *v1alpha1.HostnameDestination) {
	const at = "spec.destination.hostname"
	if !hostText(h.Host) || h.Host == "" {
		m.invalid(at+".host", "must be a DNS name or an IP address, without scheme, port and path")
		return
	}
	m.out.Host, m.out.Port = h.Host, 443
	if m.out.TLS.Off {
		m.out.Port = 80
	}
	if h.Port != nil {
		m.port(at+".port", *h.Port)
	}
	if m.local {
		return
	}
	m.reachable(at+".host", h.Host, "use destination type Service")
}

// reachable checks that whoever may write the AIBackend may have the gateway send to a
// host. instead is what to do about a name of the cluster that is no Service's.
func (m *backendBuilder) reachable(field, host, instead string) {
	if ownHost(host) {
		m.add(ReasonUnsupported, field, "would lead to the gateway's own machine; name another host, or a Service")
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	inside, ours := strings.CutSuffix(host, "."+m.in.ClusterDomain)
	if service, ok := serviceOf(inside); ok {
		m.granted(&m.problems, field, m.from, Reference{"", kindService, service})
	} else if ours {
		m.add(ReasonUnsupported, field, "is a name within the cluster and not a Service's; %s", instead)
	}
}

func (m *backendBuilder) port(field string, p int32) {
	if p < 1 || p > 65535 {
		m.invalid(field, "must be 1 to 65535")
		return
	}
	m.out.Port = uint16(p)
}

func (m *backendBuilder) service(s *v1alpha1.ServiceDestination) {
	const at = "spec.destination.service"
	m.port(at+".port", s.Port)
	m.out.TLS.Off = m.out.TLS.Off || m.x.Spec.TLS == nil
	name := m.named((*string)(s.Namespace), s.Name)
	if !m.granted(&m.problems, at+".namespace", m.from, Reference{"", kindService, name}) {
		return
	}
	switch found := m.in.Service(name); {
	case found == nil:
		m.add(ReasonNotFound, at+".name", "there is no Service %s%s", shorten(name.String()), m.here())
	case found.Spec.Type == corev1.ServiceTypeExternalName:
		m.add(ReasonUnsupported, at+".name", "Service %s is of type ExternalName; use destination type Hostname", name)
	case tcpPort(found, s.Port) < 0:
		m.add(ReasonNotFound, at+".port", "Service %s has no TCP port %d; name one that it has", name, s.Port)
	case s.EndpointPicker != nil:
		m.picked(at, s, found)
	}
	m.out.Host = m.hostOf(name)
}

func (m *backendBuilder) pool(p *v1alpha1.PoolDestination) {
	const at = "spec.destination.inferencePool"
	if m.x.Spec.TLS != nil {
		m.add(ReasonUnsupported, "spec.tls", "pods of an InferencePool are reached without TLS; remove it")
	}
	m.out.TLS = TLS{Off: true}
	name := m.named((*string)(p.Namespace), p.Name)
	if !m.granted(&m.problems, at+".namespace", m.from, Reference{poolGroup, poolKind, name}) {
		return
	}
	if m.in.Pool(name) == nil {
		m.add(ReasonNotFound, at+".name", "there is no InferencePool %s%s", shorten(name.String()), m.here())
	}
	m.out.Pool = name.String()
}

// hostText says that s could be a DNS name or an IP address.
func hostText(s string) bool {
	return len(s) <= 253 && !strings.ContainsFunc(s, func(c rune) bool {
		return !strings.ContainsRune("-.:", c) && (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z')
	})
}

// ownHost says that a host is the gateway's pod itself, where Envoy's administration
// listens, or its node, where clouds give out credentials.
func ownHost(host string) bool {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return false
	}
	ip = ip.Unmap()
	return ip.IsLoopback() || ip.IsUnspecified() || ip.IsLinkLocalUnicast() || ip.IsMulticast()
}

// serviceOf is the Service that a host name without the cluster's domain is of.
func serviceOf(host string) (types.NamespacedName, bool) {
	rest, ok := strings.CutSuffix(host, ".svc")
	labels := strings.Split(rest, ".")
	if !ok || len(labels) < 2 {
		return types.NamespacedName{}, false
	}
	return types.NamespacedName{Namespace: labels[len(labels)-1], Name: labels[len(labels)-2]}, true
}
