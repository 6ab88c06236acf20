package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// AIAccessPolicy says who may call which models through a Gateway: workloads with SPIFFE
// identities, which they prove by client certificates. What no rule allows is refused.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:categories=fairway,shortName=aiap,path=aiaccesspolicies
// +kubebuilder:printcolumn:name="Gateway",type=string,JSONPath=`.spec.targetRef.name`
// +kubebuilder:printcolumn:name="TrustDomain",type=string,JSONPath=`.spec.trust.trustDomain`
// +kubebuilder:printcolumn:name="Accepted",type=string,JSONPath=`.status.conditions[?(@.type=="Accepted")].status`
// +kubebuilder:printcolumn:name="Bundle",type=string,JSONPath=`.status.conditions[?(@.type=="BundleReady")].status`
// +kubebuilder:printcolumn:name="Programmed",type=string,JSONPath=`.status.conditions[?(@.type=="Programmed")].status`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type AIAccessPolicy struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// +required
	Spec AIAccessPolicySpec `json:"spec"`
	// +optional
	Status AIAccessPolicyStatus `json:"status,omitempty"`
}

// AIAccessPolicyList is a list of AIAccessPolicies.
//
// +kubebuilder:object:root=true
type AIAccessPolicyList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []AIAccessPolicy `json:"items"`
}

// AIAccessPolicySpec says who may call.
type AIAccessPolicySpec struct {
	// TargetRef is a Gateway of the policy's namespace, or one of its listeners. A policy
	// for a listener replaces one for its Gateway there.
	// +kubebuilder:validation:XValidation:rule="self.group == 'gateway.networking.k8s.io' && self.kind == 'Gateway'",message="targetRef: must be a Gateway (group gateway.networking.k8s.io)"
	// +required
	TargetRef gatewayv1.LocalPolicyTargetReferenceWithSectionName `json:"targetRef"`
	// Trust says by which authorities client certificates are issued.
	// +required
	Trust AccessTrust `json:"trust"`
	// Rules allow models to identities; without any, nobody may call.
	// +kubebuilder:validation:MaxItems=64
	// +listType=atomic
	// +optional
	Rules []AccessRule `json:"rules,omitempty"`
}

// AccessTrust is a SPIFFE trust domain and its bundle.
type AccessTrust struct {
	// TrustDomain is that of the identities, without spiffe://.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=255
	// +kubebuilder:validation:Pattern=`^[a-z0-9._-]+$`
	// +required
	TrustDomain string `json:"trustDomain"`
	// BundleRef is where the trust bundle is.
	// +required
	BundleRef AccessBundleRef `json:"bundleRef"`
}

// AccessBundleRef names an entry of a ConfigMap or Secret of the policy's namespace: a
// SPIFFE bundle, in JSON with keys of use x509-svid, or certificates in PEM.
type AccessBundleRef struct {
	// +kubebuilder:default=ConfigMap
	// +kubebuilder:validation:Enum=ConfigMap;Secret
	// +optional
	Kind string `json:"kind,omitempty"`
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +required
	Name string `json:"name"`
	// Key is the entry's.
	// +kubebuilder:default=bundle.spiffe
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +optional
	Key string `json:"key,omitempty"`
}

// AccessRule allows models to identities.
type AccessRule struct {
	// Identities are those who may.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +listType=atomic
	// +required
	Identities []IdentityMatch `json:"identities"`
	// Models are what they may call. A request that names no model is allowed where a
	// regular expression matches nothing at all, as .* does.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +listType=atomic
	// +required
	Models []ModelMatch `json:"models"`
}

// IdentityMatch compares a SPIFFE ID, as in spiffe://example.org/ns/red/sa/agent.
//
// +kubebuilder:validation:XValidation:rule="self.type == 'RegularExpression' || self.value.startsWith('spiffe://')",message="value: must begin with spiffe://"
// +kubebuilder:validation:XValidation:rule="self.type != 'Prefix' || self.value.endsWith('/')",message="value: a prefix must end with /"
type IdentityMatch struct {
	// +kubebuilder:default=Exact
	// +optional
	Type ModelMatchType `json:"type,omitempty"`
	// Value is what is compared. A regular expression must match the whole identity.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	// +required
	Value string `json:"value"`
}

// AIAccessPolicyStatus is what Fairway found out.
type AIAccessPolicyStatus struct {
	// Conditions are Accepted, that the policy is valid and no older one is for the same
	// target; ResolvedRefs, that what it names is there; BundleReady, that the bundle has
	// a valid certificate; GatewayBound, that the Gateway's listeners can ask for client
	// certificates, and nobody else configures that; Programmed, that they do.
	// +kubebuilder:validation:MaxItems=8
	// +listType=map
	// +listMapKey=type
	// +optional
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}
