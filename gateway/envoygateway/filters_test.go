package envoygateway

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/fairway-ai/fairway/gateway/xds"
)

// What Envoy Gateway made of a rule's own filters, timeouts and retries stays.
func TestRuleFilters(t *testing.T) {
	in, out := feature(t, "filters")
	const llama = "fairway/filters/llama"
	for _, path := range []string{"/timeouts", "/headers", "/rewrite", "/mirror", "/cors"} {
		wantSplit(t, out, path, llama)
	}
	wantSplit(t, out, "/mirror-bad", "direct 500") // a filter that failed
	if diff := cmp.Diff(in.route(t, "/redirect"), out.route(t, "/redirect"), protocmp.Transform()); diff != "" {
		t.Error(diff)
	}
	a, b := in.route(t, "/timeouts").GetRoute(), out.route(t, "/timeouts").GetRoute()
	if !proto.Equal(a.Timeout, b.Timeout) || !proto.Equal(a.RetryPolicy, b.RetryPolicy) || !proto.Equal(a.IdleTimeout, b.IdleTimeout) {
		t.Errorf("timeouts or retries became %v", b)
	}
	if b := out.route(t, "/headers").GetRoute(); b.Timeout.AsDuration() != 0 || b.Timeout == nil || b.RetryPolicy == nil || b.IdleTimeout.AsDuration() != 10*time.Minute {
		t.Errorf("without timeouts and retries it has %v", b)
	}
	h := out.route(t, "/headers")
	if len(h.RequestHeadersToAdd) != 2 || len(h.ResponseHeadersToAdd) != 1 || !slices.Contains(h.RequestHeadersToRemove, "x-gone") {
		t.Errorf("headers are %v", h)
	}
	for _, name := range xds.PrivateHeaders() {
		if !slices.Contains(h.RequestHeadersToRemove, name) {
			t.Errorf("model servers see %s", name)
		}
	}
	if a := out.route(t, "/rewrite").GetRoute(); a.GetHostRewriteLiteral() != "model.example.com" || a.PrefixRewrite != "/v1" {
		t.Errorf("rewritten to %v", a)
	}
	mirror := out.route(t, "/mirror").GetRoute().RequestMirrorPolicies
	if len(mirror) != 1 || out.cluster(mirror[0].Cluster) == nil {
		t.Errorf("mirrors %v, or its cluster is gone", mirror)
	}
	if r := out.route(t, "/headers"); r.RequestBodyBufferLimit.GetValue() != 17<<20 {
		t.Errorf("bodies may have %v bytes", r.RequestBodyBufferLimit)
	}
}

// Filters of a backendRef, which Envoy Gateway ignores on pools.
func TestBackendFilters(t *testing.T) {
	_, out := feature(t, "backend-filters")
	const llama, qwen = "fairway/backend-filters/llama", "fairway/backend-filters/qwen"
	wantSplit(t, out, "/one", llama+"=1")
	wantSplit(t, out, "/two", llama+"=1", qwen+"=1")
	wantSplit(t, out, "/unsupported", qwen+"=1", invalidCluster+"=1")
	wantSplit(t, out, "/forbidden", "direct 500")
	for _, path := range []string{"/one", "/two"} {
		w := out.route(t, path).GetRoute().GetWeightedClusters().Clusters
		if a := w[0].RequestHeadersToAdd; len(a) != 2 || a[0].Header.Value != "100%% llama" || !slices.Equal(w[0].RequestHeadersToRemove, []string{"x-less"}) {
			t.Errorf("%s changes requests by %v", path, w[0])
		}
		if a := w[0].ResponseHeadersToAdd; len(a) != 1 || !slices.Equal(w[0].ResponseHeadersToRemove, []string{"x-internal"}) {
			t.Errorf("%s changes responses by %v", path, w[0])
		}
		if len(w) > 1 && len(w[1].RequestHeadersToAdd) > 0 {
			t.Errorf("%s changes the other pool's requests", path)
		}
	}
	if w := out.route(t, "/host").GetRoute().GetWeightedClusters().Clusters[0]; w.GetHostRewriteLiteral() != "model.example.com" {
		t.Errorf("the host becomes %v", w)
	}
}
