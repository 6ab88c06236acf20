package accesspolicy

import (
	"strings"

	"k8s.io/apimachinery/pkg/types"
)

const (
	// markGateway comes after what a request may be for, before the listener that it came
	// in at, and markIdentity after that, if the listener proves who clients are.
	markGateway  = ";gateway="
	markIdentity = ";identity"
)

// Mark adds to a scope, which tells the picker what a request may be for, the listener
// with a policy that it came in at. identified says that the listener checks client
// certificates, and that no client can write [Header] there.
func Mark(scope string, t Target, identified bool) string {
	scope += markGateway + t.Gateway.String() + "/" + t.Section
	if identified {
		scope += markIdentity
	}
	return scope
}

// Unmark undoes Mark. marked is false for a scope without a mark, and a mark that cannot
// be read is one of no Gateway, which has no policy.
func Unmark(marked string) (scope string, t Target, identified, is bool) {
	scope, at, is := strings.Cut(marked, markGateway)
	if !is {
		return marked, Target{}, false, false
	}
	at, identified = strings.CutSuffix(at, markIdentity)
	namespace, rest, ok := strings.Cut(at, "/")
	name, section, both := strings.Cut(rest, "/")
	if !ok || !both || strings.ContainsAny(section, "/;") {
		return scope, Target{}, false, true
	}
	return scope, Target{Gateway: types.NamespacedName{Namespace: namespace, Name: name}, Section: section}, identified, true
}
