package controller

import (
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/fairway-ai/fairway/gateway/airoute"
	"github.com/fairway-ai/fairway/gateway/refs"
)

// programmed is whether the Gateway of a parentRef serves the AIRoute.
func (f *facts) programmed(parent gatewayv1.ParentReference, accepted bool) finding {
	if !accepted {
		return no(ReasonNotAccepted, "The route is not accepted, and not served: see condition Accepted.")
	}
	if f.refused != nil {
		return *f.refused
	}
	without, all := f.withoutBackends()
	if all {
		return no(ReasonNoBackends, "No rule of the route has a backend left, and all requests are answered with status 500: see condition ResolvedRefs.")
	}
	if f.httpRoute == nil {
		return pending("HTTPRoute %s is not written yet.", f.result.Name)
	}
	if found, ok := f.objection(parent); ok {
		return found
	}
	message := "The Gateway serves the route."
	if len(without) > 0 {
		message += fmt.Sprintf(" Requests to rules without a backend are answered with status 500: %s.", some(without))
	}
	return yes(Programmed, message)
}

// withoutBackends are the names of the rules without a backend; all says that there
// are no others.
func (f *facts) withoutBackends() (names []string, all bool) {
	with := 0
	for _, name := range f.result.Rules {
		if r := f.config.Rule(name); r != nil && slices.ContainsFunc(r.Groups, func(g []airoute.Target) bool { return len(g) > 0 }) {
			with++
		} else {
			names = append(names, strings.TrimPrefix(name, f.result.Name+"/"))
		}
	}
	return names, with == 0
}

// objection is what the Gateway's controller says against the HTTPRoute, or that it
// says nothing. It is false when the controller has accepted it as it is now.
func (f *facts) objection(parent gatewayv1.ParentReference) (finding, bool) {
	h, name := f.httpRoute, client.ObjectKeyFromObject(f.httpRoute)
	var status *gatewayv1.RouteParentStatus
	var foreign gatewayv1.GatewayController
	for i := range h.Status.Parents {
		p := &h.Status.Parents[i]
		switch {
		case !refs.SameParent(h.Namespace, p.ParentRef, parent):
		case p.ControllerName == f.class:
			status = p
		default:
			foreign = p.ControllerName
		}
	}
	if status == nil && foreign != "" {
		return no(ReasonForeignGateway, "The Gateway is served by %s, which cannot serve AIRoutes: name a Gateway whose class is of %s.", foreign, f.class), true
	}
	if status == nil {
		return pending("The Gateway has not judged HTTPRoute %s yet. If this lasts: is there a Gateway of that name, and its class of %s?", name, f.class), true
	}
	accepted := meta.FindStatusCondition(status.Conditions, string(gatewayv1.RouteConditionAccepted))
	if accepted == nil || accepted.ObservedGeneration < h.Generation {
		return pending("The Gateway has not judged HTTPRoute %s as it is now.", name), true
	}
	if accepted.Status != metav1.ConditionTrue {
		return finding{accepted.Status, accepted.Reason, fmt.Sprintf("The Gateway has not accepted HTTPRoute %s: %s", name, accepted.Message)}, true
	}
	resolved := meta.FindStatusCondition(status.Conditions, string(gatewayv1.RouteConditionResolvedRefs))
	switch {
	case resolved == nil || resolved.Status == metav1.ConditionTrue:
		return finding{}, false
	case resolved.Reason == string(gatewayv1.RouteReasonInvalidKind):
		return no(resolved.Reason, "Envoy Gateway does not know AIRoute as a backend of HTTPRoute %s: "+
			"list it in the backendResources of Fairway's entry in Envoy Gateway's extension managers, and restart Envoy Gateway.", name), true
	}
	return finding{resolved.Status, resolved.Reason, fmt.Sprintf("The Gateway cannot resolve the backend of HTTPRoute %s: %s", name, resolved.Message)}, true
}

// some lists a few of many names, so that messages stay short.
func some(names []string) string {
	const few = 5
	if len(names) <= few {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:few], ", "), len(names)-few)
}
