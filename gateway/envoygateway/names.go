package envoygateway

import (
	"slices"
	"strconv"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/proto"
	"k8s.io/apimachinery/pkg/types"
)

// Envoy Gateway 1.9 tells which rule of which HTTPRoute a route or cluster was made
// for by its name alone:
//
//	route    httproute/NAMESPACE/NAME/rule/N/match/M/HOST
//	         httproute/NAMESPACE/NAME/rule/N/match/M/cors-preflight/HOST
//	cluster  httproute/NAMESPACE/NAME/rule/N              all its Services together
//	         httproute/NAMESPACE/NAME/rule/N/backend/M    one backendRef alone
//
// M is -1 in a route's name where the rule has no match. HOST is the host name with
// dots replaced by underscores. Mirrors have a suffix after N and are none of these.
// Annotations of the HTTPRoute that begin with gateway.envoyproxy.io/ are, without that,
// in the route's metadata, under "envoy-gateway", "resources", 0, "annotations".
//
// This is the only file that knows.

// invalidCluster is the cluster that Envoy Gateway names, and never makes, for the
// share of backends that cannot be reached.
const invalidCluster = "invalid-backend-cluster"

// hashAnnotation is, after gateway.envoyproxy.io/, the state of an AIRoute that its
// HTTPRoute was written for.
const hashAnnotation = "fairway-hash"

// rule is one rule of an HTTPRoute.
type rule struct {
	route types.NamespacedName
	index int
}

// wholeRule is the backend index of a cluster that is not of one backendRef alone.
const wholeRule = -1

// cluster is Envoy Gateway's name for the cluster of the rule's backendRef.
func (r rule) cluster(backend int) string {
	return "httproute/" + r.route.Namespace + "/" + r.route.Name + "/rule/" + strconv.Itoa(r.index) + "/backend/" + strconv.Itoa(backend)
}

// parseRoute is the rule that Envoy's route was made for.
func parseRoute(name string) (rule, bool) {
	r, rest, ok := parseRule(name)
	if !ok {
		return rule{}, false
	}
	rest, ok = strings.CutPrefix(rest, "/match/")
	if !ok {
		return rule{}, false
	}
	match, host, ok := strings.Cut(rest, "/")
	if !ok || host == "" || match != "-1" && !isIndex(match) {
		return rule{}, false
	}
	return r, true
}

// parseCluster is the rule and the backendRef that Envoy's cluster was made for, the
// latter [wholeRule] where it was made for several.
func parseCluster(name string) (rule, int, bool) {
	r, rest, ok := parseRule(name)
	switch {
	case !ok:
		return rule{}, 0, false
	case rest == "":
		return r, wholeRule, true
	}
	backend, ok := strings.CutPrefix(rest, "/backend/")
	if !ok || !isIndex(backend) {
		return rule{}, 0, false
	}
	n, err := strconv.Atoi(backend)
	return r, n, err == nil
}

// parseRule splits off "httproute/NAMESPACE/NAME/rule/N".
func parseRule(name string) (r rule, rest string, ok bool) {
	rest, ok = strings.CutPrefix(name, "httproute/")
	if !ok {
		return rule{}, "", false
	}
	namespace, rest, _ := strings.Cut(rest, "/")
	route, rest, _ := strings.Cut(rest, "/")
	rest, ok = strings.CutPrefix(rest, "rule/")
	if !ok || namespace == "" || route == "" {
		return rule{}, "", false
	}
	index := rest
	if i := strings.IndexByte(rest, '/'); i >= 0 {
		index = rest[:i]
	}
	if !isIndex(index) {
		return rule{}, "", false
	}
	n, err := strconv.Atoi(index)
	if err != nil {
		return rule{}, "", false
	}
	return rule{types.NamespacedName{Namespace: namespace, Name: route}, n}, rest[len(index):], true
}

// isIndex is whether s is a number as Envoy Gateway prints indices.
func isIndex(s string) bool {
	if s == "" || len(s) > 6 || len(s) > 1 && s[0] == '0' {
		return false
	}
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}

// isPreflight is whether a route is one for the questions that browsers ask before a
// request.
func isPreflight(name string) bool {
	parts := strings.Split(name, "/")
	return slices.Contains(parts[min(len(parts), 5):], "cors-preflight")
}

// seenHash is the hash in the metadata of an encoded route, "" without.
func seenHash(route []byte) (hash string) {
	err := inField(route, routeMetadata, func(b []byte) error {
		m := new(corev3.Metadata)
		if err := proto.Unmarshal(b, m); err != nil {
			return err
		}
		for _, r := range m.GetFilterMetadata()["envoy-gateway"].GetFields()["resources"].GetListValue().GetValues() {
			annotations := r.GetStructValue().GetFields()["annotations"].GetStructValue().GetFields()
			hash = annotations[hashAnnotation].GetStringValue()
			break
		}
		return nil
	})
	if err != nil {
		return ""
	}
	return hash
}
