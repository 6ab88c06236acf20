package replicas

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
)

// heard collects what Peers say.
type heard struct {
	mu  sync.Mutex
	all [][]string
}

func (h *heard) set(a []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.all = append(h.all, a)
}

func (h *heard) last(want ...string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.all) > 0 && slices.Equal(h.all[len(h.all)-1], want)
}

func watch(t *testing.T, p Peers) *heard {
	t.Helper()
	h := new(heard)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- p.Watch(ctx, h.set) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return h
}

// fakeResolver answers what it is told to.
type fakeResolver struct {
	mu  sync.Mutex
	ips []netip.Addr
	err error
}

func (f *fakeResolver) set(err error, ips ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err, f.ips = err, nil
	for _, ip := range ips {
		f.ips = append(f.ips, netip.MustParseAddr(ip))
	}
}

func (f *fakeResolver) LookupNetIP(context.Context, string, string) ([]netip.Addr, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.ips), f.err
}

func TestDNS(t *testing.T) {
	f := new(fakeResolver)
	f.set(nil, "::ffff:10.0.0.2", "10.0.0.1", "10.0.0.1", "fd00::1")
	failures := make(chan error, 100)
	h := watch(t, &DNS{Hosts: []string{"fairway"}, Port: 9005, Every: time.Millisecond, Resolver: f, Failed: func(err error) {
		select {
		case failures <- err:
		default:
		}
	}})
	eventually(t, "both addresses are found", func() bool { return h.last("10.0.0.1:9005", "10.0.0.2:9005") })
	broken := errors.New("no such host")
	f.set(broken)
	if err := <-failures; !errors.Is(err, broken) {
		t.Errorf("error %v", err)
	}
	if !h.last("10.0.0.1:9005", "10.0.0.2:9005") {
		t.Error("the addresses are forgotten because of one failure")
	}
	f.set(nil, "fd00::2")
	eventually(t, "IPv6 alone is taken", func() bool { return h.last("[fd00::2]:9005") })
	several := watch(t, &DNS{Hosts: []string{"127.0.0.1", "127.0.0.2:7", "[::1]:8"}, Port: 9005})
	eventually(t, "each host's port is its own", func() bool { return several.last("127.0.0.1:9005", "127.0.0.2:7", "[::1]:8") })
	if err := (&DNS{}).Watch(context.Background(), h.set); err == nil {
		t.Error("a DNS without a name watches")
	}
}

func slice(name, service string, endpoints ...discoveryv1.Endpoint) *discoveryv1.EndpointSlice {
	return &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name, Labels: map[string]string{discoveryv1.LabelServiceName: service}},
		Endpoints:  endpoints,
	}
}

func pod(ip string, ready, terminating bool) discoveryv1.Endpoint {
	return discoveryv1.Endpoint{
		Addresses:  []string{ip},
		Conditions: discoveryv1.EndpointConditions{Ready: &ready, Terminating: &terminating},
	}
}

func TestSlices(t *testing.T) {
	ctx := context.Background()
	client := fake.NewClientset(
		slice("a", "fairway", pod("10.0.0.2", true, false), pod("10.0.0.1", false, false), pod("10.0.0.9", true, true)),
		slice("other", "another", pod("10.9.9.9", true, false)),
	)
	h := watch(t, &Slices{Client: client, Namespace: "ns", Service: "fairway", Port: 9005})
	eventually(t, "the pods are found", func() bool { return h.last("10.0.0.1:9005", "10.0.0.2:9005") })
	api := client.DiscoveryV1().EndpointSlices("ns")
	if _, err := api.Create(ctx, slice("b", "fairway", pod("10.0.0.3", true, false), pod("10.0.0.2", true, false), pod("nonsense", true, false)), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the second slice's pod is found", func() bool { return h.last("10.0.0.1:9005", "10.0.0.2:9005", "10.0.0.3:9005") })
	if err := api.Delete(ctx, "a", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the first slice's pods are gone", func() bool { return h.last("10.0.0.2:9005", "10.0.0.3:9005") })
}
