package controller

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/fairway-ai/fairway/api/v1alpha1"
	"github.com/fairway-ai/fairway/gateway/airoute"
)

// Types of conditions.
const (
	Accepted         = "Accepted"
	ResolvedRefs     = "ResolvedRefs"
	Programmed       = "Programmed"
	CredentialsReady = "CredentialsReady"
)

// Reasons of conditions, beside those of [airoute.Problem] and of the Gateway's
// controller. Those of true conditions are the conditions' types, but for
// NotRequired.
const (
	ReasonPending = "Pending" // of every unknown condition

	// Of an AIRoute.
	ReasonHTTPRouteConflict  = "HTTPRouteConflict"  // an HTTPRoute of its name is somebody else's
	ReasonHTTPRouteInvalid   = "HTTPRouteInvalid"   // the API server does not take its HTTPRoute
	ReasonHTTPRouteForbidden = "HTTPRouteForbidden" // Fairway may not write it
	ReasonNotAccepted        = "NotAccepted"        // and therefore not programmed
	ReasonNoBackends         = "NoBackends"         // no rule has a backend left
	ReasonForeignGateway     = "ForeignGateway"     // not one of Envoy Gateway's

	// Of an AIBackend.
	ReasonNotUsed     = "NotUsed"     // no rule leads to it
	ReasonNotRequired = "NotRequired" // no credentials to obtain
	ReasonNotReady    = "NotReady"    // credentials, when nothing better is known
)

const (
	// maxMessage bounds a condition's message, in bytes.
	maxMessage = 1024
	// andMore is room for saying how much was left out.
	andMore = 24
)

// finding is a condition's status, reason and message.
type finding struct {
	status  metav1.ConditionStatus
	reason  string
	message string
}

func (f finding) condition(kind string, generation int64) metav1.Condition {
	return metav1.Condition{Type: kind, Status: f.status, Reason: f.reason, Message: shorten(f.message), ObservedGeneration: generation}
}

func yes(reason, message string) finding { return finding{metav1.ConditionTrue, reason, message} }

func no(reason, format string, args ...any) finding {
	return finding{metav1.ConditionFalse, reason, fmt.Sprintf(format, args...)}
}

func pending(format string, args ...any) finding {
	return finding{metav1.ConditionUnknown, ReasonPending, fmt.Sprintf(format, args...)}
}

// judge is the condition that problems make: true when none of them is of its type.
func judge(kind, allIsWell string, problems []airoute.Problem) finding {
	var of []airoute.Problem
	for _, p := range problems {
		if p.Condition == kind {
			of = append(of, p)
		}
	}
	if len(of) == 0 {
		return yes(kind, allIsWell)
	}
	slices.SortStableFunc(of, func(a, b airoute.Problem) int { return compareFields(a.Field, b.Field) })
	return finding{metav1.ConditionFalse, of[0].Reason, all(of)}
}

// has is whether there is a problem of a condition.
func has(kind string, problems []airoute.Problem) bool {
	return slices.ContainsFunc(problems, func(p airoute.Problem) bool { return p.Condition == kind })
}

// all tells of all problems, or of as many as there is room for.
func all(problems []airoute.Problem) string {
	var b strings.Builder
	for i, p := range problems {
		text := p.Message
		if p.Field != "" {
			text = p.Field + ": " + p.Message
		}
		if i > 0 {
			if b.Len()+len("; ")+len(text) > maxMessage-andMore {
				fmt.Fprintf(&b, "; and %d more", len(problems)-i)
				break
			}
			b.WriteString("; ")
		} else if len(problems) > 1 {
			text = cut(text, maxMessage-andMore)
		}
		b.WriteString(text)
	}
	return shorten(b.String())
}

func shorten(s string) string { return cut(s, maxMessage) }

// cut makes a string fit into so many bytes.
func cut(s string, most int) string {
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most-3], "") + "..."
}

// compareFields orders fields as they are in the object: rules[2] before rules[10].
func compareFields(a, b string) int {
	x, y := split(a), split(b)
	for i := range min(len(x), len(y)) {
		n, errN := strconv.Atoi(x[i])
		m, errM := strconv.Atoi(y[i])
		c := strings.Compare(x[i], y[i])
		if errN == nil && errM == nil {
			c = cmp.Compare(n, m)
		}
		if c != 0 {
			return c
		}
	}
	return cmp.Compare(len(x), len(y))
}

func split(field string) []string {
	return strings.FieldsFunc(field, func(r rune) bool { return r == '.' || r == '[' || r == ']' })
}

// facts are what the conditions of an AIRoute follow from.
type facts struct {
	route  *v1alpha1.AIRoute
	result *airoute.RouteResult
	config *airoute.Config
	// httpRoute is the AIRoute's HTTPRoute, nil when there is none.
	httpRoute *gatewayv1.HTTPRoute
	// foreign says that an HTTPRoute of that name is somebody else's.
	foreign bool
	// refused is why the HTTPRoute could not be written, or nil.
	refused *finding
	class   gatewayv1.GatewayController
}

// served is whether the AIRoute should have an HTTPRoute.
func (f *facts) served() bool {
	return f.result != nil && f.route.DeletionTimestamp.IsZero() && len(f.route.Spec.ParentRefs) > 0 && !has(Accepted, f.result.Problems)
}

// accepted is the condition of that name.
func (f *facts) accepted() finding {
	if f.foreign {
		return no(ReasonHTTPRouteConflict, "metadata.name: there is an HTTPRoute %s that this AIRoute did not make, and the AIRoute needs one of that name: delete or rename one of the two.",
			f.result.Name)
	}
	return judge(Accepted, "The route is valid.", f.result.Problems)
}

// conditions are those of one parent, without dates.
func (f *facts) conditions(parent gatewayv1.ParentReference) []metav1.Condition {
	accepted := f.accepted()
	return []metav1.Condition{
		accepted.condition(Accepted, f.route.Generation),
		judge(ResolvedRefs, "All that the route names is there.", f.result.Problems).condition(ResolvedRefs, f.route.Generation),
		f.programmed(parent, accepted.status == metav1.ConditionTrue).condition(Programmed, f.route.Generation),
	}
}
