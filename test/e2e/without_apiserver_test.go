package e2e

import (
	"context"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	// outage is how long the API server does not answer.
	outage = 60 * time.Second
	// aftermath is how long Kubernetes may take, after an outage, to find that its
	// nodes never were away: it marks their pods unready until the next heartbeat.
	aftermath = 20 * time.Second
	// spreading is how long a pod's readiness takes from the API server to Envoy.
	spreading = 3 * time.Second
)

// TestAPIServerOutage takes the API server away for a minute, under load: the last
// state is served, and no request fails. When it comes back, Kubernetes may take its
// nodes for dead and mark their pods unready, because no heartbeat came for so long;
// what it says is believed, and only then may a request fail. It is the last test,
// because everything else in the cluster takes its time to recover: Envoy Gateway may
// hear half a minute late of what is changed right after.
func TestAPIServerOutage(t *testing.T) {
	s := start(t, "pool-with-picker.yaml")
	var back time.Time
	var unready span
	outcomes := s.under(t, func() {
		onCluster(t, "apiserver", "stop")
		t.Cleanup(func() { onCluster(t, "apiserver", "continue") })
		time.Sleep(outage)
		back = time.Now()
		onCluster(t, "apiserver", "continue")
		unready = s.unreadyDuring(aftermath)
	})
	var judged []outcome
	excused := 0
	for _, o := range outcomes {
		if o.reason != "" && o.ended.After(back) && unready.holds(o.ended) {
			excused++
			continue
		}
		judged = append(judged, o)
	}
	if excused > 0 {
		t.Logf("Kubernetes held pods for unready for %v; %d requests failed meanwhile", unready.to.Sub(unready.from), excused)
	}
	mustBeFlawless(t, judged)
}

// span is a time in which some pod was not ready; the zero span is none.
type span struct{ from, to time.Time }

func (s span) holds(t time.Time) bool {
	return !s.from.IsZero() && t.After(s.from.Add(-spreading)) && t.Before(s.to.Add(spreading))
}

// unreadyDuring watches the readiness of all pods for a while.
func (s setup) unreadyDuring(d time.Duration) span {
	ctx, cancel := context.WithTimeout(s.t.Context(), d)
	defer cancel()
	var found span
	for ctx.Err() == nil {
		var pods corev1.PodList
		if s.List(ctx, &pods, client.MatchingFields{"status.phase": string(corev1.PodRunning)}) == nil {
			now := time.Now()
			for i := range pods.Items {
				if !isReady(&pods.Items[i]) {
					if found.from.IsZero() {
						found.from = now
					}
					found.to = now
				}
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(100 * time.Millisecond):
		}
	}
	return found
}
