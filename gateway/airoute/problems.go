package airoute

import (
	"fmt"
	"slices"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// problems collects what is wrong with an object.
type problems struct{ all []Problem }

// invalid adds a problem of a value that is not one of those allowed.
func (p *problems) invalid(field, format string, args ...any) {
	p.add(ReasonInvalid, field, format, args...)
}

func (p *problems) add(reason, field, format string, args ...any) {
	x := Problem{Condition: conditionOf(reason), Reason: reason, Field: field, Message: fmt.Sprintf(format, args...)}
	if len(p.all) < maxProblems && !slices.Contains(p.all, x) {
		p.all = append(p.all, x)
	}
}

// rejected says that something is wrong with the object in itself.
func (p *problems) rejected() bool {
	return slices.ContainsFunc(p.all, func(x Problem) bool { return x.Condition == string(gatewayv1.RouteConditionAccepted) })
}

func conditionOf(reason string) string {
	switch reason {
	case ReasonInvalid, ReasonUnsupported, ReasonNotTranslatable:
		return string(gatewayv1.RouteConditionAccepted)
	}
	return string(gatewayv1.RouteConditionResolvedRefs)
}
