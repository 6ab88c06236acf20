package envoygateway

import "testing"

func TestCrossNamespace(t *testing.T) {
	_, out := feature(t, "cross-namespace")
	wantSplit(t, out, "/granted", "fairway/models/shared")
	wantSplit(t, out, "/refused", "direct 500")
	wantSplit(t, out, "/both", "fairway/models/shared=1", invalidCluster+"=3")
	if out.cluster("fairway/models/private") != nil {
		t.Error("a pool that nobody may use has a cluster")
	}
}
