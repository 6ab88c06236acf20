package envoygateway

import (
	"context"
	"os"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	inferencev1 "sigs.k8s.io/gateway-api-inference-extension/api/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/fairway-ai/fairway/api/v1alpha1"
	"github.com/fairway-ai/fairway/gateway/airoute"
)

// compiled is what the AIRoutes and AIBackends of a file come to.
type compiled struct {
	result *airoute.Result
	waited []string
	// wait answers WaitFor, if it is not nil.
	wait func(route, hash string) bool
}

func (c *compiled) Result() *airoute.Result { return c.result }

func (c *compiled) WaitFor(_ context.Context, route types.NamespacedName, hash string) bool {
	c.waited = append(c.waited, route.String()+" "+hash)
	return c.wait != nil && c.wait(route.String(), hash)
}

// aiOf compiles a file, nil if nothing in it is for us. AIRoutes without parents are as
// good as deleted.
func aiOf(t testing.TB, file string) *compiled {
	t.Helper()
	ca, err := os.ReadFile("testdata/ca.pem")
	if err != nil {
		t.Fatal(err)
	}
	pools := map[types.NamespacedName]*inferencev1.InferencePool{}
	in := &airoute.Input{
		Pool:    func(n types.NamespacedName) *inferencev1.InferencePool { return pools[n] },
		Service: func(types.NamespacedName) *corev1.Service { return nil },
		ConfigMap: func(n types.NamespacedName) *corev1.ConfigMap {
			return &corev1.ConfigMap{Data: map[string]string{"ca.crt": string(ca)}}
		},
		SecretKeys:    func(types.NamespacedName) ([]string, bool) { return nil, false },
		Certificate:   func(types.NamespacedName) []byte { return nil },
		Granted:       func(from, to airoute.Reference) bool { return from.Namespace == to.Namespace },
		OwnIdentity:   func(string) bool { return false },
		ClusterDomain: "cluster.local",
	}
	hashes := map[types.NamespacedName]string{}
	for _, o := range objectsOf(t, file) {
		name := client.ObjectKeyFromObject(o)
		switch o := o.(type) {
		case *v1alpha1.AIRoute:
			if len(o.Spec.ParentRefs) > 0 {
				in.Routes = append(in.Routes, o)
			}
		case *v1alpha1.AIBackend:
			in.Backends = append(in.Backends, o)
		case *gatewayv1.HTTPRoute:
			in.HTTPRoutes = append(in.HTTPRoutes, o)
			hashes[name] = o.Annotations["gateway.envoyproxy.io/"+hashAnnotation]
		case *inferencev1.InferencePool:
			pools[name] = o
		}
	}
	if len(in.Routes)+len(in.Backends) == 0 {
		return nil
	}
	c := &compiled{result: airoute.Compile(in)}
	for name, r := range c.result.Routes {
		if hashes[name] != "" {
			r.Hash = hashes[name] // as the one who wrote the HTTPRoute has seen it
		}
	}
	return c
}
