package controller

import (
	"slices"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/fairway-ai/fairway/gateway/refs"
)

// The API's limits, which all controllers share.
const (
	maxParents    = 32
	maxConditions = 8
)

// distinct are the parentRefs without those that are there twice.
func distinct(namespace string, parents []gatewayv1.ParentReference) []gatewayv1.ParentReference {
	var each []gatewayv1.ParentReference
	for _, p := range parents {
		if !slices.ContainsFunc(each, func(q gatewayv1.ParentReference) bool { return refs.SameParent(namespace, p, q) }) {
			each = append(each, p)
		}
	}
	return each
}

// mergeParents puts the wanted entries into the list that is there: entries of others
// stay as and where they are, those of Fairway's that are still wanted stay where they
// are, the rest of Fairway's goes, and new ones follow while there is room.
func mergeParents(namespace string, existing, wanted []gatewayv1.RouteParentStatus, now metav1.Time) []gatewayv1.RouteParentStatus {
	var merged []gatewayv1.RouteParentStatus
	left := slices.Clone(wanted)
	for _, e := range existing {
		if e.ControllerName != ControllerName {
			merged = append(merged, *e.DeepCopy())
			continue
		}
		i := slices.IndexFunc(left, func(w gatewayv1.RouteParentStatus) bool { return refs.SameParent(namespace, w.ParentRef, e.ParentRef) })
		if i < 0 {
			continue // not a parent any more, or there twice
		}
		w := left[i]
		w.Conditions = dated(e.Conditions, w.Conditions, now)
		merged = append(merged, w)
		left = slices.Delete(left, i, i+1)
	}
	for _, w := range left[:min(len(left), max(maxParents-len(merged), 0))] {
		w.Conditions = dated(nil, w.Conditions, now)
		merged = append(merged, w)
	}
	return merged
}

// mergeConditions puts the wanted conditions into the list that is there. Those of
// other types stay.
func mergeConditions(existing, wanted []metav1.Condition, now metav1.Time) []metav1.Condition {
	merged := slices.Clone(existing)
	for _, w := range dated(existing, wanted, now) {
		if i := slices.IndexFunc(merged, func(c metav1.Condition) bool { return c.Type == w.Type }); i >= 0 {
			merged[i] = w
		} else if len(merged) < maxConditions {
			merged = append(merged, w)
		}
	}
	return merged
}

// dated are the conditions with dates. A condition keeps its date as long as its
// status does not change.
func dated(before, conditions []metav1.Condition, now metav1.Time) []metav1.Condition {
	conditions = slices.Clone(conditions)
	for i := range conditions {
		c := &conditions[i]
		c.LastTransitionTime = now
		if old := meta.FindStatusCondition(before, c.Type); old != nil && old.Status == c.Status {
			c.LastTransitionTime = old.LastTransitionTime
		}
	}
	return conditions
}

// ours are the conditions of Fairway's entries.
func ours(parents []gatewayv1.RouteParentStatus) [][]metav1.Condition {
	var all [][]metav1.Condition
	for _, p := range parents {
		if p.ControllerName == ControllerName {
			all = append(all, p.Conditions)
		}
	}
	return all
}
