package cluster

import (
	"fmt"
	"net"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	inferencev1 "sigs.k8s.io/gateway-api-inference-extension/api/v1"

	"github.com/fairway-ai/fairway/gateway/refs"
)

// pickerAddress is where the picker of p listens, svc being the Service that p
// names; nil when there is none. The Service's address is taken rather than its
// name, so that a picker is found without DNS; a headless Service has only a name.
func pickerAddress(p *inferencev1.InferencePool, svc *corev1.Service, domain string) (string, error) {
	ref := p.Spec.EndpointPickerRef
	if _, ok := refs.PickerService(p); !ok {
		return "", fmt.Errorf("endpointPickerRef: kind %q cannot be resolved; name a Service", ref.Kind)
	}
	switch {
	case svc == nil:
		return "", fmt.Errorf("endpointPickerRef: there is no Service %q in namespace %q", ref.Name, p.Namespace)
	case ref.Port == nil:
		return "", fmt.Errorf("endpointPickerRef: port is missing; set it to a port of Service %q", ref.Name)
	case svc.Spec.Type == corev1.ServiceTypeExternalName:
		return "", fmt.Errorf("endpointPickerRef: Service %q is of type ExternalName, which is not allowed", ref.Name)
	case !hasPort(svc, int32(ref.Port.Number)):
		return "", fmt.Errorf("endpointPickerRef: Service %q has no port %d", ref.Name, ref.Port.Number)
	}
	host := svc.Spec.ClusterIP
	if host == "" || host == corev1.ClusterIPNone {
		host = svc.Name + "." + svc.Namespace + ".svc." + domain
	}
	return net.JoinHostPort(host, strconv.Itoa(int(ref.Port.Number))), nil
}

func hasPort(svc *corev1.Service, number int32) bool {
	for _, p := range svc.Spec.Ports {
		if p.Port == number {
			return true
		}
	}
	return false
}
