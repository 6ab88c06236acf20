package replicas

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"

	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
)

// Slices finds replicas by the EndpointSlices of their Service, which is headless or
// not. It needs the right to list and watch EndpointSlices in Namespace.
type Slices struct {
	Client             kubernetes.Interface
	Namespace, Service string
	// Port is where each replica listens.
	Port uint16
}

// Watch implements [Peers].
func (s *Slices) Watch(ctx context.Context, set func([]string)) error {
	factory := informers.NewSharedInformerFactoryWithOptions(s.Client, 0,
		informers.WithNamespace(s.Namespace),
		informers.WithTweakListOptions(func(o *metav1.ListOptions) {
			o.LabelSelector = labels.Set{discoveryv1.LabelServiceName: s.Service}.String()
		}))
	slicesOf := factory.Discovery().V1().EndpointSlices()
	informer := slicesOf.Informer()
	changed := make(chan struct{}, 1)
	poke := func() {
		select {
		case changed <- struct{}{}:
		default:
		}
	}
	_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { poke() },
		UpdateFunc: func(any, any) { poke() },
		DeleteFunc: func(any) { poke() },
	})
	if err != nil {
		return fmt.Errorf("replicas: watch EndpointSlices: %w", err)
	}
	ctx, stop := context.WithCancel(ctx)
	defer factory.Shutdown()
	defer stop()
	factory.Start(ctx.Done())
	if !cache.WaitForCacheSync(ctx.Done(), informer.HasSynced) {
		return nil
	}
	poke()
	var last []string
	for told := false; ; {
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		}
		list, err := slicesOf.Lister().EndpointSlices(s.Namespace).List(labels.Everything())
		if err != nil {
			return errors.Join(errors.New("replicas: list EndpointSlices"), err)
		}
		if found := SliceAddresses(list, s.Port); !told || !slices.Equal(found, last) {
			told, last = true, found
			set(slices.Clone(found))
		}
	}
}

// SliceAddresses are the addresses of EndpointSlices, sorted, each once, with a port:
// the IPv4 ones, or the others where there are none. Pods that are being deleted are
// left out; those that are not ready yet share already.
func SliceAddresses(list []*discoveryv1.EndpointSlice, port uint16) []string {
	var ips []netip.Addr
	for _, s := range list {
		for _, e := range s.Endpoints {
			if e.Conditions.Terminating != nil && *e.Conditions.Terminating || len(e.Addresses) == 0 {
				continue
			}
			// An endpoint's further addresses, if any, are the same pod's.
			if ip, err := netip.ParseAddr(e.Addresses[0]); err == nil && ip.Zone() == "" {
				ips = append(ips, ip)
			}
		}
	}
	var found []string
	for _, ip := range oneFamily(ips) {
		found = append(found, net.JoinHostPort(ip.String(), strconv.Itoa(int(port))))
	}
	slices.Sort(found)
	return slices.Compact(found)
}
