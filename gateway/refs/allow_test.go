package refs_test

import (
	"testing"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	gatewayv1beta1 "sigs.k8s.io/gateway-api/apis/v1beta1"

	"github.com/fairway-ai/fairway/gateway/internal/test"
	"github.com/fairway-ai/fairway/gateway/refs"
)

// A grant allows what one of its from and one of its to name, and nothing else.
func TestAllows(t *testing.T) {
	grant := test.Grant("keys/g", "teams", "")
	grant.Spec.From = []gatewayv1beta1.ReferenceGrantFrom{
		{Group: "fairway.dev", Kind: "AIRoute", Namespace: "teams"},
		{Group: gatewayv1.GroupName, Kind: "HTTPRoute", Namespace: "web"},
	}
	grant.Spec.To = []gatewayv1beta1.ReferenceGrantTo{
		{Group: "fairway.dev", Kind: "AIBackend", Name: new(gatewayv1.ObjectName("one"))},
		{Group: "", Kind: "Service"},
	}
	object := func(group, kind, name string) refs.Object {
		return refs.Object{Group: group, Kind: kind, NamespacedName: test.Name(name)}
	}
	for _, c := range []struct {
		from, to refs.Object
		want     bool
	}{
		{object("fairway.dev", "AIRoute", "teams/r"), object("fairway.dev", "AIBackend", "keys/one"), true},
		{object(gatewayv1.GroupName, "HTTPRoute", "web/r"), object("fairway.dev", "AIBackend", "keys/one"), true},
		{object("fairway.dev", "AIRoute", "teams/r"), object("", "Service", "keys/any"), true},
		{object("fairway.dev", "AIRoute", "teams/r"), object("fairway.dev", "AIBackend", "keys/two"), false},
		{object("fairway.dev", "AIRoute", "teams/r"), object("fairway.dev", "AIBackend", "other/one"), false},
		{object("fairway.dev", "AIRoute", "web/r"), object("fairway.dev", "AIBackend", "keys/one"), false},
		{object("other.dev", "AIRoute", "teams/r"), object("fairway.dev", "AIBackend", "keys/one"), false},
		{object("fairway.dev", "AIBackend", "teams/r"), object("fairway.dev", "AIBackend", "keys/one"), false},
		{object("fairway.dev", "AIRoute", "teams/r"), object("", "Secret", "keys/one"), false},
	} {
		if got := refs.Allows(grant, c.from, c.to); got != c.want {
			t.Errorf("%v to %v: %v, want %v", c.from, c.to, got, c.want)
		}
	}
}
