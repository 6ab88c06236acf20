package e2e

import (
	"testing"
	"time"
)

// outage is how long the API server does not answer.
const outage = 60 * time.Second

// TestAPIServerOutage takes the API server away for a minute, under load: the last
// state is served, and no request fails. It is the last test, because everything else
// in the cluster takes its time to recover: Envoy Gateway may hear half a minute late
// of what is changed right after.
func TestAPIServerOutage(t *testing.T) {
	s := start(t, "pool-with-picker.yaml")
	mustBeFlawless(t, s.under(t, func() {
		onCluster(t, "apiserver", "stop")
		t.Cleanup(func() { onCluster(t, "apiserver", "continue") })
		time.Sleep(outage)
		onCluster(t, "apiserver", "continue")
	}))
}
