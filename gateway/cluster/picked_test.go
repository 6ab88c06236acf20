package cluster

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairway-ai/fairway/api/v1alpha1"
	"github.com/fairway-ai/fairway/extproc/relay"
	"github.com/fairway-ai/fairway/gateway/airoute"
)

// pickedWorld is what a picked talks to. Its EndpointSlices come when they are sent.
type pickedWorld struct {
	*world
	*picked
	follows chan types.NamespacedName
	ended   chan types.NamespacedName
	tell    map[types.NamespacedName]func([]*discoveryv1.EndpointSlice)
	dropped []string
}

func newPickedWorld() *pickedWorld {
	w := &pickedWorld{
		world: newWorld(), follows: make(chan types.NamespacedName), ended: make(chan types.NamespacedName),
		tell: map[types.NamespacedName]func([]*discoveryv1.EndpointSlice){},
	}
	w.picked = &picked{
		endpoints: w.world, foreign: theirs{w.world}, gone: func(pool string) { w.dropped = append(w.dropped, pool) },
		timeout: time.Second, log: slog.New(slog.DiscardHandler), backends: map[string]*pickedBackend{},
		slices: func(ctx context.Context, service types.NamespacedName, changed func([]*discoveryv1.EndpointSlice)) {
			w.tell[service] = changed
			w.follows <- service
			<-ctx.Done()
			w.ended <- service
		},
	}
	return w
}

func pickedConfig(backends ...airoute.Backend) *airoute.Config {
	return &airoute.Config{Backends: backends}
}

func pickedBackendOf(name, service, picker string, open bool) airoute.Backend {
	return airoute.Backend{Name: name, Label: "prod/b", Pool: "picked:prod/b", Picked: &airoute.Picked{
		Service: types.NamespacedName{Namespace: "prod", Name: service}, Port: "http", Picker: picker, FailOpen: open,
	}}
}

func slicesOf(port int32, addresses ...string) []*discoveryv1.EndpointSlice {
	s := &discoveryv1.EndpointSlice{AddressType: discoveryv1.AddressTypeIPv4, Ports: []discoveryv1.EndpointPort{{Name: new("http"), Port: new(port)}}}
	for _, a := range addresses {
		s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{Addresses: []string{a}, Conditions: discoveryv1.EndpointConditions{Ready: new(true)}})
	}
	return []*discoveryv1.EndpointSlice{s}
}

func TestPickedServices(t *testing.T) {
	w := newPickedWorld()
	prod := func(name string) types.NamespacedName { return types.NamespacedName{Namespace: "prod", Name: name} }
	const pool = "picked:prod/b"
	check := func(when string, endpoints []string, picker *relay.Picker) {
		t.Helper()
		if diff := cmp.Diff(endpoints, w.envoy[pool]); diff != "" {
			t.Errorf("%s, Envoy's endpoints (-want +got):\n%s", when, diff)
		}
		got, there := w.theirs[pool]
		if there != (picker != nil) || there && got != *picker {
			t.Errorf("%s, the picker is %+v", when, got)
		}
	}
	// Two backends that differ in the model alone are one.
	one := []airoute.Backend{pickedBackendOf("prod/b", "a", "10.96.0.9:9002", false), pickedBackendOf("prod/b#m", "a", "10.96.0.9:9002", false)}
	w.update(pickedConfig(one...))
	if got := <-w.follows; got != prod("a") {
		t.Errorf("%s is followed", got)
	}
	check("before anything is known", nil, &relay.Picker{Address: "10.96.0.9:9002", Timeout: time.Second})
	w.tell[prod("a")](slicesOf(8000, "10.0.0.2", "10.0.0.1"))
	check("with two endpoints", []string{"10.0.0.1", "10.0.0.2"}, &relay.Picker{Address: "10.96.0.9:9002", Timeout: time.Second})
	w.tell[prod("a")](nil)
	check("without endpoints", []string{"127.0.0.1"}, &relay.Picker{Address: "10.96.0.9:9002", Timeout: time.Second})

	w.update(pickedConfig(pickedBackendOf("prod/b", "a", "", true)))
	check("without a picker", []string{"127.0.0.1"}, &relay.Picker{Address: nowhere, FailOpen: true, Timeout: time.Second})

	late := w.tell[prod("a")]
	w.update(pickedConfig(pickedBackendOf("prod/b", "other", "10.96.0.9:9002", true)))
	for range 2 {
		select {
		case got := <-w.follows:
			if got != prod("other") {
				t.Errorf("%s is followed", got)
			}
		case got := <-w.ended:
			if got != prod("a") {
				t.Errorf("%s is followed no more", got)
			}
		}
	}
	w.tell[prod("other")](slicesOf(8000, "10.0.0.3"))
	late(slicesOf(8000, "10.0.0.1"))
	check("of another Service", []string{"10.0.0.3"}, &relay.Picker{Address: "10.96.0.9:9002", FailOpen: true, Timeout: time.Second})

	w.update(pickedConfig())
	check("while Envoy may still send to it", []string{"10.0.0.3"}, &relay.Picker{Address: "10.96.0.9:9002", FailOpen: true, Timeout: time.Second})
	w.keep(pickedConfig())
	<-w.ended
	check("when it is gone", nil, nil)
	if !slices.Equal(w.dropped, []string{pool}) || len(w.picked.backends) > 0 {
		t.Errorf("dropped %q, left %v", w.dropped, w.picked.backends)
	}

	w.update(pickedConfig(one...))
	<-w.follows
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	go func() { <-w.ended }()
	if err := w.run(ctx); err != nil {
		t.Error(err)
	}
	w.update(pickedConfig(pickedBackendOf("prod/b", "late", "", true))) // follows nothing any more
}

// TestAServiceWithAPicker follows a Service of an API server, whose picker cannot be
// reached: its failure mode decides, and Envoy knows the endpoints that are ready.
func TestAServiceWithAPicker(t *testing.T) {
	p := startProcess(t, func(o *Options) { o.Egress.Enabled, o.PickerTimeout = true, 50*time.Millisecond })
	create := func(objects ...client.Object) {
		t.Helper()
		for _, o := range objects {
			o.SetNamespace("default")
			if err := p.cluster.Create(t.Context(), o); err != nil {
				t.Fatal(err)
			}
		}
	}
	service := func(name string, port int32) *corev1.Service {
		return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Name: "http", Port: port}}}}
	}
	slice := slicesOf(8080, "10.1.0.1", "10.1.0.2")[0]
	slice.Name, slice.Labels = "llama-1", map[string]string{discoveryv1.LabelServiceName: "llama"}
	other := slicesOf(8080, "10.1.0.9")[0]
	other.Name, other.Labels = "other-1", map[string]string{discoveryv1.LabelServiceName: "other"}
	backend := &v1alpha1.AIBackend{ObjectMeta: metav1.ObjectMeta{Name: "llama"}, Spec: v1alpha1.AIBackendSpec{
		Schema: v1alpha1.BackendSchema{Name: v1alpha1.SchemaOpenAI},
		Destination: v1alpha1.Destination{Type: v1alpha1.DestinationService, Service: &v1alpha1.ServiceDestination{
			Name: "llama", Port: 80, EndpointPicker: &v1alpha1.EndpointPicker{Name: "picker"},
		}},
	}}
	create(service("llama", 80), service("picker", 9002), slice, other, backend, &v1alpha1.AIRoute{
		ObjectMeta: metav1.ObjectMeta{Name: "chat"},
		Spec:       v1alpha1.AIRouteSpec{Rules: []v1alpha1.AIRouteRule{{BackendRefs: []v1alpha1.AIBackendRef{{Name: "llama"}}}}},
	})
	envoy := p.watchEndpoints("picked:default/llama")
	serves := func(want ...string) {
		t.Helper()
		eventually(t, fmt.Sprintf("Envoy has %q", want), func() error {
			if got := envoy.get(); !slices.Equal(got, want) {
				return fmt.Errorf("Envoy has %q", got)
			}
			return nil
		})
	}
	serves("10.1.0.1", "10.1.0.2")
	slice.Endpoints[0].Conditions.Ready = new(false)
	if err := p.cluster.Update(t.Context(), slice); err != nil {
		t.Fatal(err)
	}
	serves("10.1.0.2")
	answers := func(want string) {
		t.Helper()
		eventually(t, "the answer is "+want, func() error {
			_, err := p.pick("rule:default/chat/0")
			if err == nil || !strings.Contains(err.Error(), want) {
				return fmt.Errorf("it is %w", err)
			}
			return nil
		})
	}
	answers("picker_unavailable")
	if backend.Spec.Destination.Service.EndpointPicker.FailureMode != "FailClose" {
		t.Errorf("by default, %+v", backend.Spec.Destination.Service.EndpointPicker)
	}
	eventually(t, "the failure mode changes", func() error {
		if err := p.cluster.Get(t.Context(), client.ObjectKeyFromObject(backend), backend); err != nil {
			return err
		}
		backend.Spec.Destination.Service.EndpointPicker.FailureMode = "FailOpen"
		return p.cluster.Update(t.Context(), backend)
	})
	answers("no endpoint in") // it is Envoy's to choose one
	if err := p.cluster.Delete(t.Context(), slice); err != nil {
		t.Fatal(err)
	}
	serves("127.0.0.1")
}
