package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// AIRoute says which models go where: to AIBackends and InferencePools, in order of
// priority, split by weight.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:categories=fairway,shortName=air
// +kubebuilder:printcolumn:name="Hostnames",type=string,JSONPath=`.spec.hostnames`
// +kubebuilder:printcolumn:name="Accepted",type=string,JSONPath=`.status.parents[0].conditions[?(@.type=="Accepted")].status`
// +kubebuilder:printcolumn:name="Programmed",type=string,JSONPath=`.status.parents[0].conditions[?(@.type=="Programmed")].status`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type AIRoute struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// +required
	Spec AIRouteSpec `json:"spec"`
	// +optional
	Status AIRouteStatus `json:"status,omitempty"`
}

// AIRouteList is a list of AIRoutes.
//
// +kubebuilder:object:root=true
type AIRouteList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []AIRoute `json:"items"`
}

// AIRouteSpec says which models go where.
type AIRouteSpec struct {
	// ParentRefs are the Gateways whose clients the route serves.
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:XValidation:rule="self.all(r, (!has(r.kind) || r.kind == 'Gateway') && (!has(r.group) || r.group == 'gateway.networking.k8s.io'))",message="parentRefs: only Gateways can be parents"
	// +kubebuilder:validation:XValidation:rule="self.all(a, self.exists_one(b, b.name == a.name && (has(b.__namespace__) ? b.__namespace__ : '') == (has(a.__namespace__) ? a.__namespace__ : '')) || (has(a.sectionName) && a.sectionName != '' && self.exists_one(b, b.name == a.name && (has(b.__namespace__) ? b.__namespace__ : '') == (has(a.__namespace__) ? a.__namespace__ : '') && has(b.sectionName) && b.sectionName == a.sectionName)))",message="parentRefs: those to the same Gateway must each name another sectionName"
	// +listType=atomic
	// +optional
	ParentRefs []gatewayv1.ParentReference `json:"parentRefs,omitempty"`
	// Hostnames are those the route answers to; all of the listener when empty.
	// +kubebuilder:validation:MaxItems=16
	// +listType=atomic
	// +optional
	Hostnames []gatewayv1.Hostname `json:"hostnames,omitempty"`
	// Rules are tried in order; the first that matches a request takes it.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:XValidation:rule="self.all(a, !has(a.name) || self.exists_one(b, has(b.name) && b.name == a.name))",message="rules: names must be unique"
	// +listType=atomic
	// +required
	Rules []AIRouteRule `json:"rules"`
}

// AIRouteRule sends what matches to its backends.
//
// +kubebuilder:validation:XValidation:rule="!has(self.limits) || self.limits.all(l, !has(l.cost) || (has(self.costs) && self.costs.exists(c, c.name == l.cost)))",message="limits: cost must name one of the rule's costs"
type AIRouteRule struct {
	// Name is the rule's in status, logs and metrics.
	// +optional
	Name *gatewayv1.SectionName `json:"name,omitempty"`
	// Matches are alternatives; a rule without any takes every AI request.
	// +kubebuilder:validation:MaxItems=128
	// +listType=atomic
	// +optional
	Matches []AIRouteMatch `json:"matches,omitempty"`
	// BackendRefs are where requests go: to those of the lowest priority, split by
	// weight, and to the next priority as Fallback says.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	// +listType=atomic
	// +required
	BackendRefs []AIBackendRef `json:"backendRefs"`
	// Fallback says when the next priority is tried.
	// +optional
	Fallback *Fallback `json:"fallback,omitempty"`
	// Timeouts bound a request. Without them a request may take as long as something
	// moves.
	// +optional
	Timeouts *gatewayv1.HTTPRouteTimeouts `json:"timeouts,omitempty"`
	// Costs are numbers computed from what the backend reports, for access logs and
	// rate limits.
	// +kubebuilder:validation:MaxItems=36
	// +listType=map
	// +listMapKey=name
	// +optional
	Costs []Cost `json:"costs,omitempty"`
	// Limits bound what clients may use of the rule. A request must be within all of
	// them; one that is not is answered with status 429, before anything is sent.
	// +kubebuilder:validation:MaxItems=8
	// +listType=atomic
	// +optional
	Limits []Limit `json:"limits,omitempty"`
	// ModelsOwnedBy and ModelsCreatedAt describe the rule's models in /v1/models.
	// +kubebuilder:default=fairway
	// +kubebuilder:validation:MaxLength=256
	// +optional
	ModelsOwnedBy string `json:"modelsOwnedBy,omitempty"`
	// +optional
	ModelsCreatedAt *metav1.Time `json:"modelsCreatedAt,omitempty"`
}

// AIRouteMatch is a condition on a request; all that is set must hold.
type AIRouteMatch struct {
	// Model is the model that the request's body names.
	// +optional
	Model *ModelMatch `json:"model,omitempty"`
	// Headers are matched as HTTPRoute does.
	// +kubebuilder:validation:MaxItems=16
	// +listType=map
	// +listMapKey=name
	// +optional
	Headers []gatewayv1.HTTPHeaderMatch `json:"headers,omitempty"`
	// Path is matched as HTTPRoute does.
	// +optional
	Path *PathMatch `json:"path,omitempty"`
}

// PathMatch compares a path, with the types and the meaning of HTTPRoute's.
//
// +kubebuilder:validation:XValidation:rule="self.type == 'RegularExpression' || self.value.matches(r\"\"\"^/([-A-Za-z0-9/._~!$&'()*+,;=:@]|%[0-9A-Fa-f]{2})*$\"\"\")",message="path: must begin with / and have only characters that paths have"
// +kubebuilder:validation:XValidation:rule="self.type == 'RegularExpression' || !self.value.matches('//|/[.][.]?(/|$)|%2[Ff]')",message="path: must not have //, /./, /../ or %2F"
type PathMatch struct {
	// +kubebuilder:default=PathPrefix
	// +kubebuilder:validation:Enum=Exact;PathPrefix;RegularExpression
	// +optional
	Type *gatewayv1.PathMatchType `json:"type,omitempty"`
	// +kubebuilder:default=/
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=200
	// +optional
	Value *string `json:"value,omitempty"`
}

// ModelMatchType is a way of comparing a model's name.
//
// +kubebuilder:validation:Enum=Exact;Prefix;RegularExpression
type ModelMatchType string

// Ways of comparing.
const (
	ModelMatchExact             ModelMatchType = "Exact"
	ModelMatchPrefix            ModelMatchType = "Prefix"
	ModelMatchRegularExpression ModelMatchType = "RegularExpression"
)

// ModelMatch compares a model's name.
type ModelMatch struct {
	// +kubebuilder:default=Exact
	// +optional
	Type ModelMatchType `json:"type,omitempty"`
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	// +required
	Value string `json:"value"`
}

// AIBackendRef names an AIBackend or an InferencePool.
//
// +kubebuilder:validation:XValidation:rule="(self.group == 'fairway.dev' && self.kind == 'AIBackend') || (self.group == 'inference.networking.k8s.io' && self.kind == 'InferencePool')",message="backendRefs: must be an AIBackend (group fairway.dev) or an InferencePool (group inference.networking.k8s.io)"
type AIBackendRef struct {
	// +kubebuilder:default=fairway.dev
	// +kubebuilder:validation:MaxLength=253
	// +optional
	Group string `json:"group,omitempty"`
	// +kubebuilder:default=AIBackend
	// +kubebuilder:validation:MaxLength=63
	// +optional
	Kind string `json:"kind,omitempty"`
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +required
	Name string `json:"name"`
	// Namespace is the backend's, the route's own when empty. Another one must allow
	// it by a ReferenceGrant.
	// +optional
	Namespace *gatewayv1.Namespace `json:"namespace,omitempty"`
	// Priority orders the backends, lowest first.
	// +kubebuilder:default=0
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=31
	// +optional
	Priority int32 `json:"priority"`
	// Weight splits requests between backends of the same priority.
	// +kubebuilder:default=1
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1000000
	// +optional
	Weight *int32 `json:"weight,omitempty"`
	// Model replaces the model's name for this backend.
	// +kubebuilder:validation:MaxLength=256
	// +optional
	Model string `json:"model,omitempty"`
}

// FallbackTrigger is a reason to try the next priority.
//
// +kubebuilder:validation:Enum=ConnectFailure;"5xx";"429";NoEndpoints;Saturated;PickerUnavailable
type FallbackTrigger string

// Reasons to try the next priority.
const (
	FallbackConnectFailure    FallbackTrigger = "ConnectFailure"
	Fallback5xx               FallbackTrigger = "5xx"
	Fallback429               FallbackTrigger = "429"
	FallbackNoEndpoints       FallbackTrigger = "NoEndpoints"
	FallbackSaturated         FallbackTrigger = "Saturated"
	FallbackPickerUnavailable FallbackTrigger = "PickerUnavailable"
)

// Fallback says when, how often and how soon the next backend is tried.
type Fallback struct {
	// When has the reasons; all of them when empty. (Not called "on": YAML as kubectl
	// reads it makes a boolean of that word.)
	// +kubebuilder:validation:MaxItems=6
	// +listType=set
	// +optional
	When []FallbackTrigger `json:"when,omitempty"`
	// Attempts bounds how many backends a request is sent to, the first included;
	// one for each priority when 0.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=32
	// +optional
	Attempts int32 `json:"attempts,omitempty"`
	// FirstByteTimeout bounds how long one backend may take to begin its answer.
	// +optional
	FirstByteTimeout *gatewayv1.Duration `json:"firstByteTimeout,omitempty"`
}

// CostType is what a cost counts.
//
// +kubebuilder:validation:Enum=InputToken;CachedInputToken;CacheCreationInputToken;OutputToken;ReasoningToken;TotalToken;CEL
type CostType string

// Kinds of costs.
const (
	CostInputToken              CostType = "InputToken"
	CostCachedInputToken        CostType = "CachedInputToken"
	CostCacheCreationInputToken CostType = "CacheCreationInputToken"
	CostOutputToken             CostType = "OutputToken"
	CostReasoningToken          CostType = "ReasoningToken"
	CostTotalToken              CostType = "TotalToken"
	CostCEL                     CostType = "CEL"
)

// Cost is a number, under a name.
//
// +kubebuilder:validation:XValidation:rule="self.type == 'CEL' ? has(self.cel) : !has(self.cel)",message="cel: must be set for type CEL, and only then"
type Cost struct {
	// Name is the key in dynamic metadata.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:Pattern=`^[A-Za-z_][-A-Za-z0-9_.]*$`
	// +required
	Name string `json:"name"`
	// +required
	Type CostType `json:"type"`
	// CEL is an expression of model, backend, route_name, input_tokens,
	// cached_input_tokens, cache_creation_input_tokens, output_tokens,
	// reasoning_tokens and total_tokens that gives a whole number.
	// +kubebuilder:validation:MaxLength=1024
	// +optional
	CEL string `json:"cel,omitempty"`
}

// AIRouteStatus is what Fairway found out.
type AIRouteStatus struct {
	// Parents has an entry for every Gateway, with these conditions: Accepted, that
	// the route is valid and the Gateway takes it; ResolvedRefs, that all it names is
	// there and may be named; Programmed, that requests are routed as it says.
	// +kubebuilder:validation:MaxItems=32
	// +listType=atomic
	// +optional
	Parents []gatewayv1.RouteParentStatus `json:"parents,omitempty"`
}
