package airoute

import (
	"strconv"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	inferencev1 "sigs.k8s.io/gateway-api-inference-extension/api/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/fairway-ai/fairway/api/v1alpha1"
	"github.com/fairway-ai/fairway/gateway/accesspolicy"
)

// Input is what a cluster has of AIRoutes and of what they lead to.
type Input struct {
	Routes   []*v1alpha1.AIRoute
	Backends []*v1alpha1.AIBackend
	// HTTPRoutes may have rules that send to AIBackends; all others are ignored.
	HTTPRoutes []*gatewayv1.HTTPRoute
	// Policies say who may call.
	Policies []*v1alpha1.AIAccessPolicy

	// Pool, Service and ConfigMap find an object, nil when there is none.
	Pool      func(types.NamespacedName) *inferencev1.InferencePool
	Service   func(types.NamespacedName) *corev1.Service
	ConfigMap func(types.NamespacedName) *corev1.ConfigMap
	// SecretKeys are the keys of a Secret's entries; false when there is none.
	SecretKeys func(types.NamespacedName) ([]string, bool)
	// Certificate is the entry ca.crt of a Secret, which is no secret; nil when there
	// is none.
	Certificate func(types.NamespacedName) []byte
	// Granted says whether an object of kind From in namespace From.Namespace may name
	// To: always within a namespace, and otherwise when a ReferenceGrant says so.
	Granted func(from, to Reference) bool
	// OwnIdentity says whether the AIBackends of a namespace may use the identity that
	// the gateway itself has at a cloud: default credential chains and files.
	OwnIdentity func(namespace string) bool
	// ClusterDomain ends the names of Services, as in cluster.local.
	ClusterDomain string
}

// Reference is an object, by group and kind.
type Reference struct {
	Group, Kind string
	types.NamespacedName
}

// Result is what an Input comes to. What is wrong with one object costs that object
// alone.
type Result struct {
	// Config is what is served. Rules of AIRoutes come first, those of the oldest route
	// before others and then in the order of the routes' names, and after them those of
	// HTTPRoutes. Its Backends are all AIBackends without problems, whether a rule leads
	// to them or not, and those that a rule sends another model.
	Config *Config
	// Routes are the AIRoutes of the input, Backends its AIBackends.
	Routes   map[types.NamespacedName]*RouteResult
	Backends map[types.NamespacedName]*BackendResult
	// Direct are the HTTPRoutes of the input with a rule that sends to AIBackends.
	Direct map[types.NamespacedName]*DirectResult
	// Policies are the AIAccessPolicies of the input.
	Policies map[types.NamespacedName]*accesspolicy.Result
}

// RouteResult is an AIRoute.
type RouteResult struct {
	// Name is "namespace/name", Generation the object's.
	Name       string
	Generation int64
	// Hostnames are the route's.
	Hostnames []gatewayv1.Hostname
	// Rules are the names of its rules in Config, in order. A rule without any target
	// left is there without groups, and answers 500. It is empty for a route that is
	// not accepted.
	Rules []string
	// Matches are what Envoy's routes to it match before its rules are looked at: the
	// paths of its rules or, for rules without, those of the AI APIs.
	Matches []gatewayv1.HTTPRouteMatch
	// Hash changes whenever anything does that Envoy must know of the route: rules,
	// targets, addresses and trust of its backends, failure modes of its pools.
	Hash string
	// Problems are what is wrong with it, each once; none when all is well.
	Problems []Problem
}

// BackendResult is an AIBackend.
type BackendResult struct {
	Name       string
	Generation int64
	Problems   []Problem
	// Used says that a rule that is served leads to it.
	Used bool
}

// DirectResult is an HTTPRoute with rules that send to AIBackends.
type DirectResult struct {
	// Rules are names of rules in Config, by the index of the HTTPRoute's rule.
	Rules map[int]string
	// Hash is as a RouteResult's.
	Hash     string
	Problems []Problem
}

// Problem is something wrong with an object, for its status.
type Problem struct {
	// Condition is the type of the condition that is false for it: Accepted for what
	// is wrong in itself, ResolvedRefs for what it names.
	Condition string
	// Reason is the condition's: one word for each cause.
	Reason string
	// Field is where, as in spec.rules[0].backendRefs[1].name.
	Field string
	// Message says what is wrong and how to mend it, without the field.
	Message string
}

// Reasons of problems.
const (
	// Of Accepted.
	ReasonInvalid         = "Invalid"              // the value is not one of those allowed
	ReasonUnsupported     = "UnsupportedValue"     // well-formed, and not served
	ReasonNotTranslatable = "UntranslatableSchema" // no rule could ever be answered by it
	// Of ResolvedRefs.
	ReasonNotFound     = "BackendNotFound"      // AIBackend, InferencePool or Service
	ReasonNotPermitted = "RefNotPermitted"      // no ReferenceGrant
	ReasonInvalidKind  = "InvalidKind"          // of a reference
	ReasonBackend      = "BackendNotAccepted"   // the AIBackend has a problem of its own
	ReasonSecret       = "SecretNotFound"       // or the key in it
	ReasonCertificate  = "CertificateNotFound"  // caCertificateRefs
	ReasonIdentity     = "IdentityNotPermitted" // the gateway's own identity is not for this namespace
)

// HTTPRouteRuleName is the name in Config of a rule of an HTTPRoute.
func HTTPRouteRuleName(route types.NamespacedName, rule int) string {
	return "httproute/" + route.String() + "/" + strconv.Itoa(rule)
}
