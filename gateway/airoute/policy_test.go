package airoute

import (
	"fmt"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/fairway-ai/fairway/api/v1alpha1"
)

// TestPolicies: a policy is there for requests and for its status, and Envoy must be told
// anew of the routes at its Gateway, and of no others.
func TestPolicies(t *testing.T) {
	compile := func(gateway string, policies ...*v1alpha1.AIAccessPolicy) (*Result, string) {
		in := world(t, fmt.Sprintf(limitsText, ""))
		in.Routes[0].Spec.ParentRefs = []gatewayv1.ParentReference{{Name: gatewayv1.ObjectName(gateway)}}
		in.Policies = policies
		r := Compile(in)
		return r, r.Routes[parseName("default/r")].Hash
	}
	p := &v1alpha1.AIAccessPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "p", Generation: 7}}
	p.Spec.TargetRef.Group, p.Spec.TargetRef.Kind, p.Spec.TargetRef.Name = gatewayv1.GroupName, "Gateway", "guarded"
	p.Spec.Trust.TrustDomain = "d"
	r, hash := compile("guarded", p)
	if x := r.Policies[types.NamespacedName{Namespace: "default", Name: "p"}]; x == nil || x.Generation != 7 || len(x.Problems) > 0 {
		t.Errorf("%+v", x)
	}
	if r.Config.Access.Find(types.NamespacedName{Namespace: "default", Name: "guarded"}, "https") == nil {
		t.Error("requests do not find the policy")
	}
	if _, without := compile("guarded"); without == hash {
		t.Error("Envoy is not told that the route is guarded")
	}
	_, elsewhere := compile("other", p)
	if _, without := compile("other"); without != elsewhere {
		t.Error("Envoy is told of a policy of another Gateway")
	}
}
