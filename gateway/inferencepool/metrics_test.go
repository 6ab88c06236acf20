package inferencepool

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairway-ai/fairway/gateway/internal/test"
)

// The metrics count what the pools' statuses say.
func TestMetrics(t *testing.T) {
	w := newWorld(t)
	route := test.Route(w.in("r"), test.From(w.in("g")), test.To(w.in("p")))
	w.create(test.Gateway(w.in("g"), "envoy"), test.Pool(w.in("p")), route)
	w.judge(route, says(w.in("g"), "", metav1.ConditionTrue, "Accepted", "InvalidKind"))
	w.says("p", "g Accepted=False/NotSupportedByParent ResolvedRefs=True/ResolvedRefs")
	const gauge = `fairway_inferencepool_parents{condition="Accepted",reason="NotSupportedByParent",status="False"} 1`
	w.eventually(func() error { return w.scraped(gauge, true) })
	for _, name := range []string{"fairway_inferencepool_reconciles_total", "fairway_inferencepool_status_writes_total"} {
		if n, err := testutil.GatherAndCount(w.registry, name); err != nil || n == 0 {
			t.Errorf("%s: %d series, %v", name, n, err)
		}
	}
	w.remove(w.pool("p"))
	w.eventually(func() error { return w.scraped(gauge, false) })
}

func (w *world) scraped(line string, want bool) error {
	families, err := w.registry.Gather()
	if err != nil {
		return err
	}
	var lines []string
	for _, f := range families {
		for _, m := range f.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, fmt.Sprintf("%s=%q", l.GetName(), l.GetValue()))
			}
			lines = append(lines, fmt.Sprintf("%s{%s} %v", f.GetName(), strings.Join(labels, ","), m.GetGauge().GetValue()))
		}
	}
	if slices.Contains(lines, line) != want {
		return fmt.Errorf("%s: there is %v, want %v, in\n%s", line, !want, want, strings.Join(lines, "\n"))
	}
	return nil
}
