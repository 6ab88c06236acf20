package e2e

import (
	"fmt"
	"net/http"
	"testing"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// scale sets a Deployment's replicas and waits until so many are there.
func (c *cluster) scale(namespace, name string, replicas int) {
	c.t.Helper()
	d := c.deployment(namespace, name)
	patch := client.RawPatch(types.MergePatchType, fmt.Appendf(nil, `{"spec":{"replicas":%d}}`, replicas))
	if err := c.Patch(c.t.Context(), &d, patch); err != nil {
		c.t.Fatalf("scaling %s: %v", name, err)
	}
	c.rolledOut(namespace, name)
}

// TestFailOpen takes a FailOpen pool's picker away under load, and gives it back: no
// request fails.
func TestFailOpen(t *testing.T) {
	s := start(t, "pool-with-picker.yaml")
	mustBeFlawless(t, s.under(t, func() {
		s.scale("fairway-examples", "qwen-epp", 0)
		l := startLoad(t, s.target, inFlight)
		l.waitFor(steady, patience)
		mustBeFlawless(t, l.end())
		s.scale("fairway-examples", "qwen-epp", 1)
	}))
}

// TestFailClose takes a FailClose pool's picker away, and gives it back: requests are
// answered 503 in between, and nothing else.
func TestFailClose(t *testing.T) {
	s := start(t, "pool-with-other-picker.yaml")
	s.scale("fairway-examples", "gemma-epp", 0)
	for range 20 {
		if o := s.send(t.Context(), httpClient, "is anyone there?"); o.status != http.StatusServiceUnavailable {
			t.Errorf("status %d, %q, want 503", o.status, o.reason)
		}
	}
	s.scale("fairway-examples", "gemma-epp", 1)
	s.answers(s.target)
	mustBeFlawless(t, ask(t, s.target, steady))
}
