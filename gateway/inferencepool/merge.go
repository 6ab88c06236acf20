package inferencepool

import (
	"slices"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	inferencev1 "sigs.k8s.io/gateway-api-inference-extension/api/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// maxParents is the API's limit, which all controllers share.
const maxParents = 32

// parent is what an entry of Fairway's should say. Its conditions have no dates yet.
type parent struct {
	gateway    types.NamespacedName
	conditions []metav1.Condition
}

// merge puts the parents into the list that is there: entries of others stay as and
// where they are, those of Fairway's that are still wanted stay where they are, the
// rest of Fairway's goes, and new ones follow in the given order. omitted is how
// many found no room.
func merge(existing []inferencev1.ParentStatus, wanted []parent, now metav1.Time) (merged []inferencev1.ParentStatus, omitted int) {
	left := slices.Clone(wanted)
	for _, e := range existing {
		if e.ControllerName != ControllerName {
			merged = append(merged, *e.DeepCopy())
			continue
		}
		gateway, ok := gatewayOf(e.ParentRef)
		i := slices.IndexFunc(left, func(p parent) bool { return ok && p.gateway == gateway })
		if i < 0 {
			continue // nothing leads there any more, or it is there twice
		}
		merged = append(merged, entry(left[i], e.Conditions, now))
		left = slices.Delete(left, i, i+1)
	}
	room := max(maxParents-len(merged), 0)
	omitted = max(len(left)-room, 0)
	for _, p := range left[:len(left)-omitted] {
		merged = append(merged, entry(p, nil, now))
	}
	return merged, omitted
}

// entry is p in the API's form. A condition keeps its date as long as its status
// does not change.
func entry(p parent, before []metav1.Condition, now metav1.Time) inferencev1.ParentStatus {
	e := inferencev1.ParentStatus{
		ControllerName: ControllerName,
		ParentRef: inferencev1.ParentReference{
			Group:     new(inferencev1.Group(gatewayv1.GroupName)),
			Kind:      "Gateway",
			Name:      inferencev1.ObjectName(p.gateway.Name),
			Namespace: inferencev1.Namespace(p.gateway.Namespace),
		},
		Conditions: slices.Clone(p.conditions),
	}
	for i := range e.Conditions {
		c := &e.Conditions[i]
		c.LastTransitionTime = now
		if old := meta.FindStatusCondition(before, c.Type); old != nil && old.Status == c.Status {
			c.LastTransitionTime = old.LastTransitionTime
		}
	}
	return e
}

// gatewayOf is the Gateway that an entry of Fairway's is about.
func gatewayOf(ref inferencev1.ParentReference) (types.NamespacedName, bool) {
	if (ref.Group != nil && *ref.Group != gatewayv1.GroupName) || (ref.Kind != "" && ref.Kind != "Gateway") {
		return types.NamespacedName{}, false
	}
	return types.NamespacedName{Namespace: string(ref.Namespace), Name: string(ref.Name)}, true
}
