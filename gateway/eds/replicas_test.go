package eds

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	"google.golang.org/protobuf/proto"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// slice is an EndpointSlice with port "grpc" 9002, and "other" 1.
func slice(family discoveryv1.AddressType, endpoints ...discoveryv1.Endpoint) discoveryv1.EndpointSlice {
	return discoveryv1.EndpointSlice{AddressType: family, Endpoints: endpoints, Ports: []discoveryv1.EndpointPort{
		{Name: new("other"), Port: new(int32(1))}, {Name: new("grpc"), Port: new(int32(9002))},
	}}
}

func endpoint(pod, address string, change ...func(*discoveryv1.EndpointConditions)) discoveryv1.Endpoint {
	e := discoveryv1.Endpoint{Addresses: []string{address}, Conditions: discoveryv1.EndpointConditions{Ready: new(true)}}
	if pod != "" {
		e.TargetRef = &corev1.ObjectReference{Kind: "Pod", Name: pod}
	}
	for _, f := range change {
		f(&e.Conditions)
	}
	return e
}

// lines are an assignment's endpoints with their priorities.
func lines(a *endpointv3.ClusterLoadAssignment) (lines []string) {
	for _, l := range a.GetEndpoints() {
		for _, e := range l.GetLbEndpoints() {
			s := e.GetEndpoint().GetAddress().GetSocketAddress()
			lines = append(lines, fmt.Sprintf("%d %s:%d", l.GetPriority(), s.GetAddress(), s.GetPortValue()))
		}
	}
	return lines
}

func TestReplicas(t *testing.T) {
	unready := func(c *discoveryv1.EndpointConditions) { c.Ready = new(false) }
	unknown := func(c *discoveryv1.EndpointConditions) { c.Ready = nil }
	terminating := func(c *discoveryv1.EndpointConditions) { c.Terminating = new(true) }
	const v4, v6 = discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv6
	noPort := slice(v4, endpoint("a", "10.0.0.1"))
	noPort.Ports[1].Port = nil
	empty := slice(v4, discoveryv1.Endpoint{Conditions: discoveryv1.EndpointConditions{Ready: new(true)}})
	for _, c := range []struct {
		name   string
		slices []discoveryv1.EndpointSlice
		want   []string
	}{
		{"none", nil, nil},
		{"by name", []discoveryv1.EndpointSlice{slice(v4, endpoint("c", "10.0.0.1"), endpoint("a", "10.0.0.3")), slice(v4, endpoint("b", "10.0.0.2"))},
			[]string{"0 10.0.0.3:9002", "1 10.0.0.2:9002", "2 10.0.0.1:9002"}},
		{"only ready ones", []discoveryv1.EndpointSlice{slice(v4, endpoint("a", "10.0.0.1", unready), endpoint("b", "10.0.0.2", terminating), endpoint("c", "10.0.0.3", unknown))},
			[]string{"0 10.0.0.3:9002"}},
		{"in two slices", []discoveryv1.EndpointSlice{slice(v4, endpoint("a", "10.0.0.1")), slice(v4, endpoint("a", "10.0.0.1"), endpoint("b", "10.0.0.2"))},
			[]string{"0 10.0.0.1:9002", "1 10.0.0.2:9002"}},
		{"two families", []discoveryv1.EndpointSlice{slice(v6, endpoint("a", "fd00::1")), slice(v4, endpoint("a", "10.0.0.1"))}, []string{"0 10.0.0.1:9002"}},
		{"IPv6", []discoveryv1.EndpointSlice{slice(v6, endpoint("a", "fd00::1"))}, []string{"0 fd00::1:9002"}},
		{"without pods, by address", []discoveryv1.EndpointSlice{slice(v4, endpoint("", "10.0.0.2"), endpoint("", "10.0.0.1"))}, []string{"0 10.0.0.1:9002", "1 10.0.0.2:9002"}},
		{"nonsense", []discoveryv1.EndpointSlice{noPort, empty, slice(v4, endpoint("a", "host")), slice(v6, endpoint("b", "fe80::1%eth0")), slice(discoveryv1.AddressTypeFQDN, endpoint("c", "example.com"))}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := Replicas(c.slices, "grpc")
			if got := lines(a); !slices.Equal(got, c.want) || a.GetClusterName() != "fairway-picker" {
				t.Errorf("%s: got %q, want %q", a.GetClusterName(), got, c.want)
			}
		})
	}
}

// Of a Service that anybody can have made, addresses that lead to Envoy's own machine
// do not count.
func TestAllReplicas(t *testing.T) {
	slices4 := []discoveryv1.EndpointSlice{slice(discoveryv1.AddressTypeIPv4, endpoint("b", "10.0.0.1"), endpoint("a", "10.0.0.2"))}
	want := []string{"0 10.0.0.2:9002", "0 10.0.0.1:9002"}
	if got := lines(AllReplicas(slices4, "grpc")); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if a := AllReplicas(nil, "grpc"); len(a.GetEndpoints()) != 0 || a.GetClusterName() == "" {
		t.Errorf("without replicas: %v", a)
	}
}

func TestReady(t *testing.T) {
	const v4, v6 = discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv6
	for _, c := range []struct {
		slice discoveryv1.EndpointSlice
		want  []string
	}{
		{slice(v4, endpoint("b", "10.0.0.2"), endpoint("a", "203.0.113.1")), []string{"203.0.113.1:9002", "10.0.0.2:9002"}},
		{slice(v6, endpoint("a", "fd00::1")), []string{"[fd00::1]:9002"}},
		{slice(v4, endpoint("a", "127.0.0.1"), endpoint("b", "169.254.169.254"), endpoint("c", "0.0.0.0"), endpoint("d", "224.0.0.1")), nil},
		{slice(v6, endpoint("a", "::1"), endpoint("b", "fe80::1"), endpoint("c", "::ffff:127.0.0.1")), nil},
	} {
		if got := Ready([]*discoveryv1.EndpointSlice{&c.slice}, "grpc"); !slices.Equal(got, c.want) {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
}

// All replicas tell all Envoys the same, whatever order the API server lists in.
func TestReplicasOrder(t *testing.T) {
	var all []discoveryv1.EndpointSlice
	for i := range 10 {
		all = append(all, slice(discoveryv1.AddressTypeIPv4,
			endpoint(fmt.Sprintf("p%d", i%7), fmt.Sprintf("10.0.0.%d", i)), endpoint(fmt.Sprintf("q%d", i), fmt.Sprintf("10.0.1.%d", i))))
	}
	want := Replicas(all, "grpc")
	r := rand.New(rand.NewPCG(1, 2))
	for range 20 {
		r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		for _, s := range all {
			r.Shuffle(len(s.Endpoints), func(i, j int) { s.Endpoints[i], s.Endpoints[j] = s.Endpoints[j], s.Endpoints[i] })
		}
		if got := Replicas(all, "grpc"); !proto.Equal(got, want) {
			t.Fatalf("got %q, want %q", lines(got), lines(want))
		}
	}
}

// More replicas than priorities share the last one.
func TestReplicasMany(t *testing.T) {
	s := slice(discoveryv1.AddressTypeIPv4)
	for i := range 200 {
		s.Endpoints = append(s.Endpoints, endpoint(fmt.Sprintf("p%03d", i), fmt.Sprintf("10.0.0.%d", i)))
	}
	a := Replicas([]discoveryv1.EndpointSlice{s}, "grpc")
	if got := lines(a); len(got) != 200 || got[0] != "0 10.0.0.0:9002" || got[31] != "31 10.0.0.31:9002" || got[199] != "31 10.0.0.199:9002" || len(a.GetEndpoints()) != 32 {
		t.Errorf("%d groups: %q", len(a.GetEndpoints()), got)
	}
}
