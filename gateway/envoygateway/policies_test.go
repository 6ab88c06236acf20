package envoygateway

import (
	"slices"
	"testing"
	"time"

	"github.com/fairway-ai/fairway/gateway/xds"
)

// Policies of Envoy Gateway work on rules with pools.
func TestPolicies(t *testing.T) {
	_, out := feature(t, "policies")
	wantSplit(t, out, "/hashed", "fairway/policies/llama=70", "fairway/policies/qwen=30")
	a := out.route(t, "/hashed").GetRoute()
	if len(a.HashPolicy) != 1 || !a.GetWeightedClusters().GetUseHashPolicy().GetValue() {
		t.Error("the user is not hashed to a pool")
	}
	if a.Timeout.AsDuration() != 7*time.Second || a.RetryPolicy.NumRetries.GetValue() != 9 {
		t.Errorf("timeout %v, retries %v", a.Timeout, a.RetryPolicy)
	}
	for path, filter := range map[string]string{
		"/authenticated": "envoy.filters.http.rbac", "/limited": "envoy.filters.http.local_ratelimit",
	} {
		c := out.route(t, path).TypedPerFilterConfig
		if c[filter] == nil || c[xds.FilterName] == nil {
			t.Errorf("%s has configuration for %d filters", path, len(c))
		}
	}
	for _, m := range out.managers(t) {
		names := filterNames(m)
		if i := slices.Index(names, xds.FilterName); i != len(names)-2 || i < 2 {
			t.Errorf("the picker is asked in place %d of %v", i, names)
		}
	}
}
