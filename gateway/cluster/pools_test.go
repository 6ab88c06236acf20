package cluster

import (
	"log/slog"
	"testing"
	"time"

	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	inferencev1 "sigs.k8s.io/gateway-api-inference-extension/api/v1"

	"github.com/fairway-ai/fairway/epp"
	"github.com/fairway-ai/fairway/extproc/relay"
	"github.com/fairway-ai/fairway/pool"
	"github.com/fairway-ai/fairway/pool/kube"
)

// world is what pools talks to.
type world struct {
	*pools
	envoy    map[string][]string // pool: addresses
	ours     map[string]int      // pool: number of endpoints
	theirs   map[string]relay.Picker
	services map[types.NamespacedName]*corev1.Service
}

func (w *world) Set(name string, a *endpointv3.ClusterLoadAssignment) {
	w.envoy[name] = nil
	for _, l := range a.Endpoints {
		for _, e := range l.LbEndpoints {
			w.envoy[name] = append(w.envoy[name], e.GetEndpoint().GetAddress().GetSocketAddress().GetAddress())
		}
	}
}

func (w *world) Delete(name string) { delete(w.envoy, name) }

type ours struct{ *world }

func (o ours) SetPool(c epp.PoolConfig) { o.ours[c.Name] = len(c.Specs) }
func (o ours) RemovePool(name string)   { delete(o.ours, name) }

type theirs struct{ *world }

func (o theirs) Set(pool string, p relay.Picker) error { o.theirs[pool] = p; return nil }
func (o theirs) Delete(pool string)                    { delete(o.theirs, pool) }

func newWorld() *world {
	w := &world{
		pools: newPools(), envoy: map[string][]string{}, ours: map[string]int{}, theirs: map[string]relay.Picker{},
		services: map[types.NamespacedName]*corev1.Service{},
	}
	w.endpoints, w.own, w.foreign = w, ours{w}, theirs{w}
	w.service = func(n types.NamespacedName) *corev1.Service { return w.services[n] }
	w.gone = func(string) {}
	w.domain, w.timeout, w.log = "cluster.local", time.Second, slog.New(slog.DiscardHandler)
	return w
}

var llama = types.NamespacedName{Namespace: "prod", Name: "llama"}

// inferencePool is prod/llama with a reference to a picker, nil for none.
func inferencePool(ref *inferencev1.EndpointPickerRef) kube.Pool {
	return kube.Pool{
		Name: llama,
		Object: &inferencev1.InferencePool{
			ObjectMeta: metav1.ObjectMeta{Namespace: llama.Namespace, Name: llama.Name},
			Spec:       inferencev1.InferencePoolSpec{EndpointPickerRef: ref},
		},
		Endpoints: []pool.Spec{{ID: "prod/a", Address: "10.0.0.1:8000"}, {ID: "prod/b", Address: "10.0.0.2:8000"}},
	}
}

func pickerRef(overrides ...func(*inferencev1.EndpointPickerRef)) *inferencev1.EndpointPickerRef {
	r := &inferencev1.EndpointPickerRef{
		Kind: "Service", Name: "picker", Port: &inferencev1.Port{Number: 9002}, FailureMode: inferencev1.EndpointPickerFailClose,
	}
	for _, o := range overrides {
		o(r)
	}
	return r
}

func pickerSvc(ip string, port int32) *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "prod", Name: "picker"},
		Spec:       corev1.ServiceSpec{ClusterIP: ip, Ports: []corev1.ServicePort{{Port: port}}},
	}
}

func TestAPoolWithoutAPickerIsPickedForHere(t *testing.T) {
	w := newWorld()
	w.SetPool(inferencePool(nil))
	if w.ours["prod/llama"] != 2 || len(w.theirs) != 0 {
		t.Errorf("ours %v, others' %v", w.ours, w.theirs)
	}
	if diff := cmp.Diff([]string{"10.0.0.1", "10.0.0.2"}, w.envoy["prod/llama"]); diff != "" {
		t.Errorf("Envoy's endpoints (-want +got):\n%s", diff)
	}
	w.DeletePool(llama)
	if len(w.ours)+len(w.envoy) != 0 {
		t.Errorf("after its deletion: ours %v, Envoy's %v", w.ours, w.envoy)
	}
}

func TestAPoolWithAPickerIsNot(t *testing.T) {
	w := newWorld()
	service := types.NamespacedName{Namespace: "prod", Name: "picker"}
	w.services[service] = pickerSvc("10.96.0.9", 9002)
	w.SetPool(inferencePool(nil))
	w.SetPool(inferencePool(pickerRef()))
	want := relay.Picker{Address: "10.96.0.9:9002", Timeout: time.Second}
	if diff := cmp.Diff(want, w.theirs["prod/llama"]); diff != "" || len(w.ours) != 0 {
		t.Errorf("ours %v, their picker (-want +got):\n%s", w.ours, diff)
	}
	w.SetPool(inferencePool(nil)) // and back
	if w.ours["prod/llama"] != 2 || len(w.theirs) != 0 || len(w.picked)+len(w.pools.services) != 0 {
		t.Errorf("ours %v, others' %v, remembered %v %v", w.ours, w.theirs, w.picked, w.pools.services)
	}
}

func TestAPickersServiceMayComeAndGo(t *testing.T) {
	w := newWorld()
	service := types.NamespacedName{Namespace: "prod", Name: "picker"}
	w.SetPool(inferencePool(pickerRef(func(r *inferencev1.EndpointPickerRef) { r.FailureMode = inferencev1.EndpointPickerFailOpen })))
	if p := w.theirs["prod/llama"]; p.Address != nowhere || !p.FailOpen {
		t.Errorf("without a Service: %+v", p)
	}
	steps := []struct {
		name string
		svc  *corev1.Service
		want string
	}{
		{"it appears", pickerSvc("10.96.0.9", 9002), "10.96.0.9:9002"},
		{"it has another port", pickerSvc("10.96.0.9", 9000), nowhere},
		{"it is headless", pickerSvc("None", 9002), "picker.prod.svc.cluster.local:9002"},
		{"it is IPv6", pickerSvc("fd00::9", 9002), "[fd00::9]:9002"},
		{"it leads out of the cluster", &corev1.Service{Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "x.example"}}, nowhere},
		{"it is gone", nil, nowhere},
	}
	for _, s := range steps {
		w.services[service] = s.svc
		w.serviceChanged(service)
		if got := w.theirs["prod/llama"].Address; got != s.want {
			t.Errorf("%s: the picker is at %s, want %s", s.name, got, s.want)
		}
	}
	w.DeletePool(llama)
	w.serviceChanged(service)
	if len(w.theirs)+len(w.broken) != 0 {
		t.Errorf("a Service brought a deleted pool back: %v, %v", w.theirs, w.broken)
	}
}

func TestAPickerOfAnotherKindCannotBeFound(t *testing.T) {
	w := newWorld()
	w.SetPool(inferencePool(pickerRef(func(r *inferencev1.EndpointPickerRef) { r.Kind = "Deployment" })))
	if p := w.theirs["prod/llama"]; p.Address != nowhere || p.FailOpen {
		t.Errorf("got %+v", p)
	}
	if w.broken[llama] == "" {
		t.Error("nobody was told why")
	}
}
