package inferencepool

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	inferencev1 "sigs.k8s.io/gateway-api-inference-extension/api/v1"
	"sigs.k8s.io/gateway-api-inference-extension/apix/v1alpha1"

	"github.com/fairway-ai/fairway/gateway/refs"
)

// reasonPending is the API's documented reason, without a constant there, for an
// unknown Accepted.
const reasonPending inferencev1.InferencePoolReason = "Pending"

// facts are what a parent's conditions follow from.
type facts struct {
	pool       *inferencev1.InferencePool
	attachment attachment
	// service is what endpointPickerRef names, if that is a Service and exists.
	service *corev1.Service
}

// finding is a condition's status, reason and message.
type finding struct {
	status  metav1.ConditionStatus
	reason  inferencev1.InferencePoolReason
	message string
}

// check looks for one thing. It is false when there is nothing to say.
type check func(*facts) (finding, bool)

// chain yields what the first check that has something to say says.
type chain []check

func (c chain) evaluate(f *facts) finding {
	for _, check := range c {
		if found, ok := check(f); ok {
			return found
		}
	}
	return finding{}
}

// conditions are all conditions of one parent, in a fixed order, without dates.
func conditions(f *facts) []metav1.Condition {
	list := []metav1.Condition{
		condition(f, inferencev1.InferencePoolConditionAccepted, chain{
			routeAccepted, poolsUnsupported, routesRejected, routesUndecided,
		}),
		condition(f, inferencev1.InferencePoolConditionResolvedRefs, chain{
			noPicker, pickerIsNoService, pickerPortMissing, pickerNotFound, pickerExternal, pickerPortUnknown, pickerFound,
		}),
	}
	if f.pool.Annotations[v1alpha1.ExportAnnotationKey] != "" {
		list = append(list, condition(f, inferencev1.InferencePoolConditionExported, chain{exportUnsupported}))
	}
	return list
}

func condition(f *facts, kind inferencev1.InferencePoolConditionType, c chain) metav1.Condition {
	found := c.evaluate(f)
	return metav1.Condition{
		Type: string(kind), Status: found.status, Reason: string(found.reason), Message: found.message,
		ObservedGeneration: f.pool.Generation,
	}
}

func yes(reason inferencev1.InferencePoolReason, format string, args ...any) (finding, bool) {
	return finding{metav1.ConditionTrue, reason, fmt.Sprintf(format, args...)}, true
}

func no(reason inferencev1.InferencePoolReason, format string, args ...any) (finding, bool) {
	return finding{metav1.ConditionFalse, reason, fmt.Sprintf(format, args...)}, true
}

func routeAccepted(f *facts) (finding, bool) {
	routes := f.attachment.routes[acceptedAsIs]
	switch {
	case len(routes) == 0:
		return finding{}, false
	case f.pool.Spec.EndpointPickerRef == nil:
		return yes(inferencev1.InferencePoolReasonAccepted, "The Gateway serves the pool. It has no endpointPickerRef, so Fairway picks its endpoints itself.")
	default:
		return yes(inferencev1.InferencePoolReasonAccepted, "The Gateway serves the pool.")
	}
}

func poolsUnsupported(f *facts) (finding, bool) {
	routes := f.attachment.routes[unsupported]
	if len(routes) == 0 {
		return finding{}, false
	}
	return no(inferencev1.InferencePoolReasonNotSupportedByParent,
		"Envoy Gateway does not know InferencePool as a backend of HTTPRoute %s: "+
			"list it in the backendResources of Fairway's entry in Envoy Gateway's extension managers, and restart Envoy Gateway.", some(routes))
}

func routesRejected(f *facts) (finding, bool) {
	routes := f.attachment.routes[rejected]
	if len(routes) == 0 {
		return finding{}, false
	}
	return no(inferencev1.InferencePoolReasonHTTPRouteNotAccepted,
		"The Gateway has not accepted HTTPRoute %s: see the condition Accepted in that HTTPRoute's status.", some(routes))
}

func routesUndecided(f *facts) (finding, bool) {
	return finding{metav1.ConditionUnknown, reasonPending, fmt.Sprintf(
		"The Gateway has not judged HTTPRoute %s yet.", some(f.attachment.routes[undecided]))}, true
}

func noPicker(f *facts) (finding, bool) {
	if f.pool.Spec.EndpointPickerRef != nil {
		return finding{}, false
	}
	return yes(inferencev1.InferencePoolReasonResolvedRefs, "The pool references nothing.")
}

func pickerIsNoService(f *facts) (finding, bool) {
	if _, ok := refs.PickerService(f.pool); ok {
		return finding{}, false
	}
	ref := f.pool.Spec.EndpointPickerRef
	kind := string(ref.Kind)
	if ref.Group != nil && *ref.Group != "" {
		kind = string(*ref.Group) + "/" + kind
	}
	return no(inferencev1.InferencePoolReasonInvalidExtensionRef,
		"spec.endpointPickerRef: kind %q is not supported: name a Service of the core group.", kind)
}

func pickerPortMissing(f *facts) (finding, bool) {
	if f.pool.Spec.EndpointPickerRef.Port != nil {
		return finding{}, false
	}
	return no(inferencev1.InferencePoolReasonInvalidExtensionRef,
		"spec.endpointPickerRef.port: is missing: set it to the port of Service %q.", f.pool.Spec.EndpointPickerRef.Name)
}

func pickerNotFound(f *facts) (finding, bool) {
	if f.service != nil {
		return finding{}, false
	}
	return no(inferencev1.InferencePoolReasonInvalidExtensionRef,
		"spec.endpointPickerRef.name: there is no Service %q in namespace %q: create it or correct the name.",
		f.pool.Spec.EndpointPickerRef.Name, f.pool.Namespace)
}

func pickerExternal(f *facts) (finding, bool) {
	if f.service.Spec.Type != corev1.ServiceTypeExternalName {
		return finding{}, false
	}
	return no(inferencev1.InferencePoolReasonInvalidExtensionRef,
		"spec.endpointPickerRef.name: Service %q is of type ExternalName, which may not be followed: name a Service with a selector.", f.service.Name)
}

func pickerPortUnknown(f *facts) (finding, bool) {
	want := int32(f.pool.Spec.EndpointPickerRef.Port.Number)
	var ports []string
	for _, p := range f.service.Spec.Ports {
		if p.Protocol != "" && p.Protocol != corev1.ProtocolTCP {
			continue
		}
		if p.Port == want {
			return finding{}, false
		}
		ports = append(ports, fmt.Sprint(p.Port))
	}
	have := "it has no TCP port"
	if len(ports) > 0 {
		have = "its TCP ports are " + some(ports)
	}
	return no(inferencev1.InferencePoolReasonInvalidExtensionRef,
		"spec.endpointPickerRef.port: Service %q has no TCP port %d, %s: correct one of the two.", f.service.Name, want, have)
}

func pickerFound(f *facts) (finding, bool) {
	return yes(inferencev1.InferencePoolReasonResolvedRefs, "The endpoint picker is Service %q, port %d.",
		f.service.Name, f.pool.Spec.EndpointPickerRef.Port.Number)
}

func exportUnsupported(*facts) (finding, bool) {
	return no(inferencev1.InferencePoolReasonNotSupported,
		"Fairway does not export pools to other clusters: remove annotation %s.", v1alpha1.ExportAnnotationKey)
}

// some lists a few of many names, so that messages stay short.
func some(names []string) string {
	const few = 3
	if len(names) <= few {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:few], ", "), len(names)-few)
}
