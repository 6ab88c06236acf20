package envoygateway

import (
	"testing"

	overridev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/override_host/v3"
)

func TestFailureModes(t *testing.T) {
	_, out := feature(t, "failure-modes")
	for name, want := range map[string]string{"open": "least_request", "closed": "subset", "no-picker": "least_request"} {
		o := new(overridev3.OverrideHost)
		c := out.cluster("fairway/failure-modes/" + name)
		if err := c.LoadBalancingPolicy.Policies[0].TypedExtensionConfig.TypedConfig.UnmarshalTo(o); err != nil {
			t.Fatal(err)
		}
		if got := o.FallbackPolicy.Policies[0].TypedExtensionConfig.Name; got != "envoy.load_balancing_policies."+want {
			t.Errorf("without a picker, %s uses %s", name, got)
		}
	}
}
