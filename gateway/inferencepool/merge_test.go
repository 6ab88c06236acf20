package inferencepool

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	inferencev1 "sigs.k8s.io/gateway-api-inference-extension/api/v1"

	"github.com/fairway-ai/fairway/gateway/internal/test"
)

var (
	longAgo = metav1.NewTime(time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC))
	now     = metav1.NewTime(time.Date(2030, 1, 2, 0, 0, 0, 0, time.UTC))
)

func wanted(name string, status metav1.ConditionStatus) parent {
	return parent{test.Name("a/" + name), []metav1.Condition{{Type: "Accepted", Status: status, Reason: "R"}}}
}

func others(name string) inferencev1.ParentStatus {
	return inferencev1.ParentStatus{ControllerName: "example.com/other", ParentRef: inferencev1.ParentReference{Name: inferencev1.ObjectName(name)}}
}

func ours(name string) inferencev1.ParentStatus {
	return entry(wanted(name, metav1.ConditionTrue), nil, longAgo)
}

func order(parents []inferencev1.ParentStatus) (names []string) {
	for _, p := range parents {
		names = append(names, string(p.ParentRef.Name))
	}
	return names
}

func TestMerge(t *testing.T) {
	anonymous := inferencev1.ParentStatus{ParentRef: inferencev1.ParentReference{Name: "anonymous", Namespace: "a"}}
	oddKind := ours("odd")
	oddKind.ParentRef.Kind = "ListenerSet"
	for _, c := range []struct {
		name     string
		existing []inferencev1.ParentStatus
		wanted   []parent
		want     []string
	}{
		{"empty", nil, nil, nil},
		{"new", nil, []parent{wanted("g", "True"), wanted("h", "True")}, []string{"g", "h"}},
		{"gone", []inferencev1.ParentStatus{ours("g"), others("x"), ours("h")}, nil, []string{"x"}},
		{"kept in place", []inferencev1.ParentStatus{others("x"), ours("h"), anonymous, others("y"), ours("gone")},
			[]parent{wanted("g", "True"), wanted("h", "True")}, []string{"x", "h", "anonymous", "y", "g"}},
		{"twice", []inferencev1.ParentStatus{ours("g"), ours("g")}, []parent{wanted("g", "True")}, []string{"g"}},
		{"not a Gateway", []inferencev1.ParentStatus{oddKind}, []parent{wanted("odd", "True")}, []string{"odd"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := (&inferencev1.InferencePoolStatus{Parents: c.existing}).DeepCopy()
			got, omitted := merge(c.existing, c.wanted, now)
			if d := cmp.Diff(c.want, order(got)); d != "" || omitted != 0 {
				t.Errorf("omitted %d, order: %s", omitted, d)
			}
			for _, p := range got {
				if p.ControllerName == ControllerName {
					continue
				}
				i := slices.IndexFunc(c.existing, func(e inferencev1.ParentStatus) bool { return e.ParentRef == p.ParentRef })
				if d := cmp.Diff(c.existing[i], p); d != "" {
					t.Errorf("an entry of others changed: %s", d)
				}
			}
			if d := cmp.Diff(before.Parents, c.existing); d != "" {
				t.Errorf("the old list, which is the cache's, changed: %s", d)
			}
			again, _ := merge(got, c.wanted, metav1.NewTime(now.Add(time.Hour)))
			if d := cmp.Diff(got, again); d != "" {
				t.Errorf("merging twice differs: %s", d)
			}
		})
	}
}

// The API's limit holds; others' entries and those already there go first.
func TestMergeLimit(t *testing.T) {
	var existing []inferencev1.ParentStatus
	for i := range 30 {
		existing = append(existing, others(fmt.Sprint("x", i)))
	}
	existing = append(existing, ours("z"))
	got, omitted := merge(existing, []parent{wanted("a", "True"), wanted("b", "True"), wanted("z", "True")}, now)
	if n := order(got); len(n) != 32 || n[30] != "z" || n[31] != "a" || omitted != 1 {
		t.Errorf("%d entries, omitted %d: %v", len(n), omitted, n)
	}
}

// A date is when the status changed, not when the reason or the message did.
func TestMergeDates(t *testing.T) {
	old := []inferencev1.ParentStatus{ours("g")}
	same := wanted("g", metav1.ConditionTrue)
	same.conditions[0].Reason, same.conditions[0].Message, same.conditions[0].ObservedGeneration = "New", "new", 9
	got, _ := merge(old, []parent{same}, now)
	if c := got[0].Conditions[0]; !c.LastTransitionTime.Equal(&longAgo) || c.Reason != "New" || c.ObservedGeneration != 9 {
		t.Errorf("same status: %+v", c)
	}
	got, _ = merge(old, []parent{wanted("g", metav1.ConditionFalse)}, now)
	if c := got[0].Conditions[0]; !c.LastTransitionTime.Equal(&now) {
		t.Errorf("other status: %+v", c)
	}
}
