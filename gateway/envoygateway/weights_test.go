package envoygateway

import "testing"

func TestWeights(t *testing.T) {
	in, out := feature(t, "weights")
	wantSplit(t, out, "/one", "fairway/weights/llama")
	wantSplit(t, out, "/two", "fairway/weights/llama=70", "fairway/weights/qwen=30")
	wantSplit(t, out, "/zero", "fairway/weights/qwen")
	if p := poolOf(t, out.route(t, "/one").TypedPerFilterConfig); p != "weights/llama" {
		t.Errorf("the picker is told %q", p)
	}
	for i, want := range []string{"weights/llama", "weights/qwen"} {
		w := out.route(t, "/two").GetRoute().GetWeightedClusters().Clusters[i]
		if p := poolOf(t, w.TypedPerFilterConfig); p != want {
			t.Errorf("the picker is told %q for %s", p, w.Name)
		}
	}
	if p := poolOf(t, out.route(t, "/two").TypedPerFilterConfig); p != "" {
		t.Errorf("the route with weights says %q besides", p)
	}
	for _, c := range in.Clusters {
		if _, _, ok := parseCluster(c.Name); ok && out.cluster(c.Name) != nil {
			t.Errorf("the empty cluster %s is still there", c.Name)
		}
	}
	if out.cluster("fairway-picker") == nil {
		t.Error("no cluster of pickers")
	}
}
