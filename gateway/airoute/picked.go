package airoute

import (
	"net"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairway-ai/fairway/api/v1alpha1"
	"github.com/fairway-ai/fairway/gateway/xds"
)

// Picked is a Service of which somebody else's endpoint picker chooses the endpoints,
// without an InferencePool.
type Picked struct {
	// Service is whose endpoints, at the port of the name Port, which may be "".
	Service types.NamespacedName
	Port    string
	// Picker is the picker's address, "host:port"; "" while it cannot be found, which is
	// as if it were down.
	Picker string
	// FailOpen sends requests to any endpoint while the picker is down.
	FailOpen bool
}

// picked makes the backend one of whose endpoints a picker chooses. svc is the Service
// of the endpoints, which has the port.
func (m *backendBuilder) picked(at string, s *v1alpha1.ServiceDestination, svc *corev1.Service) {
	p, at := s.EndpointPicker, at+".endpointPicker"
	if !m.out.TLS.Off {
		m.add(ReasonUnsupported, "spec.tls", "endpoints that a picker chooses are reached without TLS; remove it")
	}
	out := &Picked{Service: nameOf(svc)}
	switch p.FailureMode {
	case "", "FailClose":
	case "FailOpen":
		out.FailOpen = true
	default:
		m.invalid(at+".failureMode", "must be FailOpen or FailClose")
	}
	port := p.Port
	if port == 0 {
		port = 9002
	}
	if port < 1 || port > 65535 {
		m.invalid(at+".port", "must be 1 to 65535")
		return
	}
	out.Port = svc.Spec.Ports[tcpPort(svc, s.Port)].Name
	picker := types.NamespacedName{Namespace: out.Service.Namespace, Name: p.Name}
	if !m.granted(&m.problems, at+".name", m.from, Reference{"", kindService, picker}) {
		return
	}
	switch found := m.in.Service(picker); {
	case found == nil:
		m.down.add(ReasonNotFound, at+".name", "there is no Service %s%s; until then the failure mode applies", shorten(picker.String()), m.here())
	case found.Spec.Type == corev1.ServiceTypeExternalName:
		m.add(ReasonUnsupported, at+".name", "Service %s is of type ExternalName; name one of the cluster", picker)
	case tcpPort(found, port) < 0:
		m.down.add(ReasonNotFound, at+".port", "Service %s has no TCP port %d; name one that it has; until then the failure mode applies", picker, port)
	default:
		out.Picker = m.address(found, port)
	}
	m.out.Picked, m.out.Pool = out, xds.PickedPrefix+m.out.Name
}

// address is where a Service listens: its own address, for which nobody needs DNS, or
// its name, where it has none.
func (m *backendBuilder) address(s *corev1.Service, port int32) string {
	host := s.Spec.ClusterIP
	if host == "" || host == corev1.ClusterIPNone {
		host = m.hostOf(nameOf(s))
	}
	return net.JoinHostPort(host, strconv.Itoa(int(port)))
}

// hostOf is a Service's name in the cluster's DNS.
func (m *backendBuilder) hostOf(s types.NamespacedName) string {
	return s.Name + "." + s.Namespace + ".svc." + m.in.ClusterDomain
}

// tcpPort is where a Service's TCP port of a number is in its list, -1 if nowhere.
func tcpPort(s *corev1.Service, number int32) int {
	return slices.IndexFunc(s.Spec.Ports, func(p corev1.ServicePort) bool {
		return p.Port == number && (p.Protocol == "" || p.Protocol == corev1.ProtocolTCP)
	})
}
