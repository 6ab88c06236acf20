package envoygateway

import "testing"

func TestServices(t *testing.T) {
	in, out := feature(t, "services")
	const llama, rule = "fairway/services/llama", "httproute/services/services/rule/"
	wantSplit(t, out, "/one", llama+"=60", rule+"0=40")
	wantSplit(t, out, "/two", llama+"=50", rule+"1=50")
	// A Service without endpoints is 503, which its own cluster answers; one that
	// is not there is 500.
	wantSplit(t, out, "/empty", llama+"=50", rule+"2/backend/1=30", rule+"2/backend/2=20")
	wantSplit(t, out, "/gone", llama+"=50", rule+"3/backend/1=30", invalidCluster+"=20")
	wantSplit(t, out, "/filtered", llama+"=50", rule+"4/backend/1=30", rule+"4/backend/2=20")
	wantSplit(t, out, "/only-empty", llama+"=50", rule+"5/backend/1=50")
	wantSplit(t, out, "/none-good", "direct 500")
	wantSplit(t, out, "/bad-pool", rule+"7/backend/1=50", invalidCluster+"=50")
	wantSplit(t, out, "/pool-at-zero", rule+"8")

	// Of the Services, only the pool's share has the filter.
	for _, w := range out.route(t, "/filtered").GetRoute().GetWeightedClusters().Clusters {
		if pool := poolOf(t, w.TypedPerFilterConfig); (pool != "") != (w.Name == llama) {
			t.Errorf("%s asks for pool %q", w.Name, pool)
		}
	}
	if w := out.route(t, "/filtered").GetRoute().GetWeightedClusters().Clusters[1]; len(w.RequestHeadersToAdd) != 1 {
		t.Error("the Service's filter is gone")
	}
	for _, c := range []string{rule + "0", rule + "1", rule + "2/backend/1", rule + "8"} {
		if in.cluster(c) == nil || out.cluster(c) == nil {
			t.Errorf("cluster %s is gone", c)
		}
	}
	for _, c := range []string{rule + "2/backend/0", rule + "5/backend/0"} {
		if in.cluster(c) == nil || out.cluster(c) != nil {
			t.Errorf("cluster %s, which nothing goes to, is still there", c)
		}
	}
}
