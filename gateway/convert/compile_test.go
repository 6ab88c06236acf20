package convert

import (
	"os"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	inferencev1 "sigs.k8s.io/gateway-api-inference-extension/api/v1"
	gatewayv1beta1 "sigs.k8s.io/gateway-api/apis/v1beta1"

	"github.com/fairway-ai/fairway/api/v1alpha1"
	"github.com/fairway-ai/fairway/gateway/airoute"
)

// TestCompiles: in a cluster that has what is named, and with no grants but those that
// were made, everything is accepted and served, except what the report says is lost.
func TestCompiles(t *testing.T) {
	ca, err := os.ReadFile("../envoygateway/testdata/ca.pem")
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range cases(t) {
		in := &airoute.Input{
			Pool: func(types.NamespacedName) *inferencev1.InferencePool {
				return &inferencev1.InferencePool{Spec: inferencev1.InferencePoolSpec{TargetPorts: []inferencev1.Port{{Number: 8000}}}}
			},
			Service: func(types.NamespacedName) *corev1.Service {
				return &corev1.Service{Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 8000}}}}
			},
			ConfigMap: func(types.NamespacedName) *corev1.ConfigMap {
				return &corev1.ConfigMap{Data: map[string]string{"ca.crt": string(ca)}}
			},
			SecretKeys: func(types.NamespacedName) ([]string, bool) {
				return []string{"apiKey", "credentials", "client-secret", "service_account.json"}, true
			},
			Certificate: func(types.NamespacedName) []byte { return nil },
			OwnIdentity: func(string) bool { return true }, ClusterDomain: "cluster.local",
		}
		grants := map[airoute.Reference]string{}
		for _, u := range decode(t, converted(t, dir, Options{}).YAML) {
			if u.GetNamespace() == "" {
				u.SetNamespace("default")
			}
			fill := func(typed any) {
				if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, typed); err != nil {
					t.Fatal(err)
				}
			}
			switch u.GetKind() {
			case kindAIRoute:
				r := &v1alpha1.AIRoute{}
				fill(r)
				in.Routes = append(in.Routes, r)
			case kindAIBackend:
				b := &v1alpha1.AIBackend{}
				fill(b)
				in.Backends = append(in.Backends, b)
			default:
				g := &gatewayv1beta1.ReferenceGrant{}
				fill(g)
				for _, to := range g.Spec.To {
					grants[airoute.Reference{Group: string(to.Group), Kind: string(to.Kind), NamespacedName: types.NamespacedName{Namespace: g.Namespace, Name: string(*to.Name)}}] = string(g.Spec.From[0].Kind) + " " + string(g.Spec.From[0].Namespace)
				}
			}
		}
		in.Granted = func(from, to airoute.Reference) bool { return grants[to] == from.Kind+" "+from.Namespace }
		result := airoute.Compile(in)
		var problems []string
		for name, r := range result.Routes {
			for _, p := range r.Problems {
				problems = append(problems, "AIRoute "+name.String()+" "+p.Field+" "+p.Reason+" "+p.Message)
			}
		}
		for name, b := range result.Backends {
			for _, p := range b.Problems {
				problems = append(problems, "AIBackend "+name.String()+" "+p.Field+" "+p.Reason+" "+p.Message)
			}
		}
		for _, p := range problems {
			if !strings.HasSuffix(dir, "nasty") {
				t.Errorf("%s: %s", dir, p)
			}
		}
	}
}
