package controller

import (
	"fmt"
	"strings"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairway-ai/fairway/api/v1alpha1"
)

// counted checks that the metrics are what the status of all policies says, also after
// one of them has gone, and that metrics are registered once.
func (w *world) counted() {
	check := func() {
		w.Helper()
		var list v1alpha1.AIAccessPolicyList
		if err := w.List(w.Context(), &list); err != nil {
			w.Fatal(err)
		}
		counts := map[string]int{}
		for i := range list.Items {
			for _, c := range list.Items[i].Status.Conditions {
				counts[fmt.Sprintf("fairway_aiaccesspolicy_status{condition=%q,reason=%q,status=%q}", c.Type, c.Reason, c.Status)]++
			}
		}
		want := "# HELP fairway_aiaccesspolicy_status AIAccessPolicies, by their conditions. Only the leader reports them.\n# TYPE fairway_aiaccesspolicy_status gauge\n"
		for s, n := range counts {
			want += fmt.Sprintln(s, n)
		}
		if err := testutil.GatherAndCompare(w.metrics, strings.NewReader(want)); err != nil || len(counts) < 4 {
			w.Errorf("%d series: %v", len(counts), err)
		}
	}
	check()
	gone := policyFor("foreign", "foreign")
	if err := w.Delete(w.Context(), gone); err != nil {
		w.Fatal(err)
	}
	if _, err := w.controller.Reconcile(w.Context(), client.ObjectKeyFromObject(gone)); err != nil {
		w.Fatal(err)
	}
	check()
	if _, err := New(w.Client, w, Options{Metrics: w.metrics}); err == nil {
		w.Error("two controllers count as one")
	}
}
