package controller

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/fairway-ai/fairway/api/v1alpha1"
	"github.com/fairway-ai/fairway/gateway/refs"
)

// actionSetStatus is the action of every event.
const actionSetStatus = "SetStatus"

// recorder makes events of changed conditions.
type recorder struct {
	to events.EventRecorder // or nil
}

// routeChanged tells what is different in Fairway's entries. What is so for all
// parents is told once.
func (r recorder) routeChanged(route *v1alpha1.AIRoute, before, after []gatewayv1.RouteParentStatus) {
	told := map[string]bool{}
	for _, p := range after {
		if p.ControllerName != ControllerName {
			continue
		}
		gateway, _ := refs.GatewayRef(route.Namespace, p.ParentRef)
		for _, c := range changed(earlier(route.Namespace, before, p.ParentRef), p.Conditions) {
			note, related := text(c), runtime.Object(nil)
			if c.Type == Programmed {
				note = fmt.Sprintf("Gateway %s: %s", gateway, note)
				related = &gatewayv1.Gateway{
					TypeMeta:   metav1.TypeMeta{APIVersion: gatewayv1.GroupVersion.String(), Kind: "Gateway"},
					ObjectMeta: metav1.ObjectMeta{Namespace: gateway.Namespace, Name: gateway.Name},
				}
			}
			if !told[note] {
				told[note] = true
				r.tell(route, related, severity(c), c.Reason, note)
			}
		}
	}
}

// backendChanged tells what is different in an AIBackend's conditions.
func (r recorder) backendChanged(b *v1alpha1.AIBackend, before, after []metav1.Condition) {
	for _, c := range changed(before, after) {
		if c.Reason != ReasonNotUsed && c.Reason != ReasonNotRequired {
			r.tell(b, nil, severity(c), c.Reason, text(c))
		}
	}
}

// changed are the conditions whose status or reason changed. Unknown ones are not
// among them, nor references that are there from the start, which are nothing to look
// at, nor that a route is not programmed because it is not accepted.
func changed(before, after []metav1.Condition) []metav1.Condition {
	var list []metav1.Condition
	for _, c := range after {
		was := meta.FindStatusCondition(before, c.Type)
		switch {
		case was != nil && was.Status == c.Status && was.Reason == c.Reason,
			was == nil && c.Type == ResolvedRefs && c.Status == metav1.ConditionTrue,
			c.Status == metav1.ConditionUnknown, c.Reason == ReasonNotAccepted:
			continue
		}
		list = append(list, c)
	}
	return list
}

// earlier are the conditions that Fairway had of a parent. What is not the parent's own
// is that of any parent.
func earlier(namespace string, parents []gatewayv1.RouteParentStatus, ref gatewayv1.ParentReference) []metav1.Condition {
	var shared []metav1.Condition
	for _, p := range parents {
		if p.ControllerName != ControllerName {
			continue
		}
		if refs.SameParent(namespace, p.ParentRef, ref) {
			return p.Conditions
		}
		shared = p.Conditions
	}
	return slices.DeleteFunc(slices.Clone(shared), func(c metav1.Condition) bool { return c.Type == Programmed })
}

func text(c metav1.Condition) string {
	return fmt.Sprintf("%s is %s: %s", c.Type, c.Status, c.Message)
}

func severity(c metav1.Condition) string {
	if c.Status == metav1.ConditionTrue {
		return corev1.EventTypeNormal
	}
	return corev1.EventTypeWarning
}

// tell makes one event. related may be nil.
func (r recorder) tell(regarding client.Object, related runtime.Object, kind, reason, note string) {
	if r.to != nil {
		r.to.Eventf(regarding, related, kind, reason, actionSetStatus, "%s", shorten(note))
	}
}
