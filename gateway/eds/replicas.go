package eds

import (
	"cmp"
	"net/netip"
	"slices"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/fairway-ai/fairway/gateway/xds"
)

// maxPriority is the last priority used; Envoy allows 128.
const maxPriority = 31

// replica is one ready endpoint of a Service, most often Fairway's own.
type replica struct {
	name    string // of the pod, or of the address without one
	address netip.AddrPort
}

// Replicas is the assignment of cluster [xds.PickerClusterName]: the ready endpoints
// of Fairway's own Service's EndpointSlices at the port of the given name, in the
// order of the pods' names, each with a priority of its own. Envoy sends to the
// first that is healthy, so that all Envoys ask the same replica, which then knows
// of every request in flight; the others stand by. What the slices' order is, and
// which replica asks, makes no difference.
//
// Where a Service has two address families, IPv4 counts. Without ready replicas, the
// assignment is empty.
func Replicas(endpointSlices []discoveryv1.EndpointSlice, port string) *endpointv3.ClusterLoadAssignment {
	all := make([]*discoveryv1.EndpointSlice, len(endpointSlices))
	for i := range endpointSlices {
		all[i] = &endpointSlices[i]
	}
	a := &endpointv3.ClusterLoadAssignment{ClusterName: xds.PickerClusterName}
	for i, r := range readyOf(all, port) {
		e := &endpointv3.LbEndpoint{HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{
			Address: &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
				Address:       r.address.Addr().String(),
				PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: uint32(r.address.Port())},
			}}},
		}}}
		if i > maxPriority {
			last := a.Endpoints[maxPriority]
			last.LbEndpoints = append(last.LbEndpoints, e)
			continue
		}
		a.Endpoints = append(a.Endpoints, &endpointv3.LocalityLbEndpoints{
			Priority: uint32(i), LbEndpoints: []*endpointv3.LbEndpoint{e},
		})
	}
	return a
}

// AllReplicas is Replicas with all endpoints at the same priority: Envoys ask all of
// them, which therefore must tell each other what they do.
func AllReplicas(endpointSlices []discoveryv1.EndpointSlice, port string) *endpointv3.ClusterLoadAssignment {
	a := Replicas(endpointSlices, port)
	if len(a.Endpoints) == 0 {
		return a
	}
	all := &endpointv3.LocalityLbEndpoints{}
	for _, l := range a.Endpoints {
		all.LbEndpoints = append(all.LbEndpoints, l.LbEndpoints...)
	}
	a.Endpoints = []*endpointv3.LocalityLbEndpoints{all}
	return a
}

// Ready are the addresses, "ip:port", of the ready endpoints of a Service's
// EndpointSlices at the port of the given name. Where a Service has two address
// families, IPv4 counts. Addresses that mean another place on every machine are left out.
func Ready(endpointSlices []*discoveryv1.EndpointSlice, port string) []string {
	var all []string
	for _, r := range readyOf(endpointSlices, port) {
		if ip := r.address.Addr(); ip.IsGlobalUnicast() {
			all = append(all, r.address.String())
		}
	}
	return all
}

func readyOf(endpointSlices []*discoveryv1.EndpointSlice, port string) []replica {
	if all := readyReplicas(endpointSlices, discoveryv1.AddressTypeIPv4, port); len(all) > 0 {
		return all
	}
	return readyReplicas(endpointSlices, discoveryv1.AddressTypeIPv6, port)
}

// readyReplicas are the ready replicas of one address family, sorted, each once.
func readyReplicas(endpointSlices []*discoveryv1.EndpointSlice, family discoveryv1.AddressType, port string) []replica {
	var ready []replica
	for _, s := range endpointSlices {
		number, ok := portNumber(s.Ports, port)
		if !ok || s.AddressType != family {
			continue
		}
		for _, e := range s.Endpoints {
			if !isReady(e.Conditions) || len(e.Addresses) == 0 {
				continue
			}
			// An endpoint's further addresses, if any, are the same pod's.
			address, err := netip.ParseAddr(e.Addresses[0])
			if err != nil || address.Zone() != "" {
				continue
			}
			r := replica{address.String(), netip.AddrPortFrom(address.Unmap(), number)}
			if e.TargetRef != nil && e.TargetRef.Name != "" {
				r.name = e.TargetRef.Name
			}
			ready = append(ready, r)
		}
	}
	slices.SortFunc(ready, func(a, b replica) int {
		return cmp.Or(cmp.Compare(a.name, b.name), a.address.Compare(b.address))
	})
	// While endpoints move between slices, one may be in two.
	return slices.Compact(ready)
}

// isReady is whether the endpoint takes requests. Unset means that nobody knows
// better.
func isReady(c discoveryv1.EndpointConditions) bool {
	return (c.Ready == nil || *c.Ready) && (c.Terminating == nil || !*c.Terminating)
}

func portNumber(ports []discoveryv1.EndpointPort, name string) (uint16, bool) {
	for _, p := range ports {
		known := ""
		if p.Name != nil {
			known = *p.Name
		}
		if known == name && p.Port != nil && *p.Port > 0 && *p.Port <= 65535 {
			return uint16(*p.Port), true
		}
	}
	return 0, false
}
