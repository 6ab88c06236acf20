package kube

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/fairway-ai/fairway/pool"
)

// pod is what is remembered of a pod.
type pod struct {
	name   string
	addr   netip.Addr // invalid while the pod cannot serve
	labels map[string]string
	// active are the ports it serves now, when limited.
	active  []int32
	limited bool
	// member are the pools that select it.
	member []*entry
}

// same tells whether two states of a pod make the same endpoints.
func (p *pod) same(o *pod) bool {
	return p.addr == o.addr && p.limited == o.limited && slices.Equal(p.active, o.active) && maps.Equal(p.labels, o.labels)
}

// readPod takes from a pod what makes its endpoints. problem says which annotation
// makes no sense, "" when all do.
func readPod(o *corev1.Pod) (p *pod, problem string) {
	p = &pod{name: o.Name, labels: o.Labels}
	if serves(o) {
		if a, err := netip.ParseAddr(o.Status.PodIP); err == nil && a.Zone() == "" {
			p.addr = a.Unmap()
		}
	}
	for _, key := range []string{ActivePorts, ActivePortsLegacy} {
		if v, ok := o.Annotations[key]; ok {
			ports, err := parsePorts(v)
			if err != nil {
				return p, fmt.Sprintf("%s: %v", key, err)
			}
			p.active, p.limited = ports, true
			break
		}
	}
	return p, ""
}

// serves tells whether requests may go to a pod.
func serves(o *corev1.Pod) bool {
	if o.DeletionTimestamp != nil || o.Status.Phase == corev1.PodFailed || o.Status.Phase == corev1.PodSucceeded {
		return false
	}
	for i := range o.Status.Conditions {
		if c := &o.Status.Conditions[i]; c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// maxActivePorts bounds the value of an active-ports annotation, in bytes.
const maxActivePorts = 1024

// parsePorts reads port numbers separated by commas. An empty value is none.
func parsePorts(s string) ([]int32, error) {
	if len(s) > maxActivePorts {
		return nil, fmt.Errorf("has %d bytes; write port numbers separated by commas", len(s))
	}
	if strings.TrimSpace(s) == "" {
		return nil, nil
	}
	var ports []int32
	for f := range strings.SplitSeq(s, ",") {
		n, err := strconv.ParseUint(strings.TrimSpace(f), 10, 16)
		if err != nil || n == 0 {
			return nil, fmt.Errorf("%.40q is no port; write port numbers separated by commas", f)
		}
		ports = append(ports, int32(n))
	}
	slices.Sort(ports)
	return slices.Compact(ports), nil
}

// specs are the pod's endpoints in a pool with these ports.
func (p *pod) specs(namespace string, ports []int32) []pool.Spec {
	if !p.addr.IsValid() {
		return nil
	}
	out := make([]pool.Spec, 0, len(ports))
	for rank, port := range ports {
		if p.limited && !slices.Contains(p.active, port) {
			continue
		}
		id := namespace + "/" + p.name
		if len(ports) > 1 {
			id += "-rank-" + strconv.Itoa(rank)
		}
		out = append(out, pool.Spec{ID: id, Address: netip.AddrPortFrom(p.addr, uint16(port)).String(), Labels: p.labels})
	}
	return out
}
