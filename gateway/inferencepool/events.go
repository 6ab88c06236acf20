package inferencepool

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"
	inferencev1 "sigs.k8s.io/gateway-api-inference-extension/api/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

const (
	// actionSetStatus is the action of every event.
	actionSetStatus = "SetStatus"
	// reasonDetached is the event's reason when a Gateway is no parent any more.
	reasonDetached = "Detached"
	// maxNote is the API's limit of an event's text, in bytes.
	maxNote = 1024
)

// recorder makes events of changed conditions.
type recorder struct {
	to events.EventRecorder // or nil
}

// changed tells what is different in Fairway's entries: conditions whose status or
// reason changed, and Gateways that are no parents any more. Told are not: unknown
// conditions, and a new parent's resolved references, which are nothing to look at.
func (r recorder) changed(pool *inferencev1.InferencePool, before, after []inferencev1.ParentStatus) {
	if r.to == nil {
		return
	}
	for _, p := range after {
		if p.ControllerName != ControllerName {
			continue
		}
		old, known := find(before, p.ParentRef)
		for _, c := range p.Conditions {
			was := meta.FindStatusCondition(old.Conditions, c.Type)
			switch {
			case was != nil && was.Status == c.Status && was.Reason == c.Reason,
				c.Status == metav1.ConditionUnknown,
				!known && c.Type == string(inferencev1.InferencePoolConditionResolvedRefs) && c.Status == metav1.ConditionTrue:
				continue
			}
			kind := corev1.EventTypeNormal
			if c.Status != metav1.ConditionTrue {
				kind = corev1.EventTypeWarning
			}
			r.tell(pool, p.ParentRef, kind, c.Reason, fmt.Sprintf("%s is %s: %s", c.Type, c.Status, c.Message))
		}
	}
	for _, p := range before {
		if _, still := find(after, p.ParentRef); p.ControllerName == ControllerName && !still {
			r.tell(pool, p.ParentRef, corev1.EventTypeNormal, reasonDetached, "no HTTPRoute leads from it to the pool any more")
		}
	}
}

// tell makes one event. The API refuses notes that are too long, which only names of
// hundreds of bytes make.
func (r recorder) tell(pool *inferencev1.InferencePool, ref inferencev1.ParentReference, kind, reason, what string) {
	note := fmt.Sprintf("Gateway %s/%s: %s", ref.Namespace, ref.Name, what)
	if len(note) > maxNote {
		note = note[:maxNote-3] + "..."
	}
	r.to.Eventf(pool, gateway(ref), kind, reason, actionSetStatus, "%s", note)
}

// find is Fairway's entry for a parent.
func find(parents []inferencev1.ParentStatus, ref inferencev1.ParentReference) (inferencev1.ParentStatus, bool) {
	want, _ := gatewayOf(ref)
	for _, p := range parents {
		if got, ok := gatewayOf(p.ParentRef); ok && p.ControllerName == ControllerName && got == want {
			return p, true
		}
	}
	return inferencev1.ParentStatus{}, false
}

// gateway is enough of a Gateway to be an event's related object.
func gateway(ref inferencev1.ParentReference) *gatewayv1.Gateway {
	return &gatewayv1.Gateway{
		TypeMeta:   metav1.TypeMeta{APIVersion: gatewayv1.GroupVersion.String(), Kind: "Gateway"},
		ObjectMeta: metav1.ObjectMeta{Namespace: string(ref.Namespace), Name: string(ref.Name)},
	}
}
