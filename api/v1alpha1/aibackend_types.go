package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// AIBackend is one place that answers AI requests: where it is, which API it
// speaks, how it is trusted, and what a request must carry to be let in.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:categories=fairway,shortName=aib
// +kubebuilder:printcolumn:name="Schema",type=string,JSONPath=`.spec.schema.name`
// +kubebuilder:printcolumn:name="Destination",type=string,JSONPath=`.spec.destination.type`
// +kubebuilder:printcolumn:name="Accepted",type=string,JSONPath=`.status.conditions[?(@.type=="Accepted")].status`
// +kubebuilder:printcolumn:name="Programmed",type=string,JSONPath=`.status.conditions[?(@.type=="Programmed")].status`
// +kubebuilder:printcolumn:name="Credentials",type=string,JSONPath=`.status.conditions[?(@.type=="CredentialsReady")].status`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type AIBackend struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// +required
	Spec AIBackendSpec `json:"spec"`
	// +optional
	Status AIBackendStatus `json:"status,omitempty"`
}

// AIBackendList is a list of AIBackends.
//
// +kubebuilder:object:root=true
type AIBackendList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []AIBackend `json:"items"`
}

// AIBackendSpec says where the backend is and how to speak to it.
//
// +kubebuilder:validation:XValidation:rule="!has(self.destination.service) || !has(self.destination.service.endpointPicker) || !has(self.tls) || self.tls.mode == 'None'",message="tls: endpoints that a picker chooses are reached without TLS; remove it"
// +kubebuilder:validation:XValidation:rule="self.destination.type != 'InferencePool' || !has(self.tls)",message="tls: pods of an InferencePool are reached without TLS; remove it"
// +kubebuilder:validation:XValidation:rule="!has(self.credentials) || self.credentials.type != 'AWS' || self.schema.name in ['AWSBedrock','AWSAnthropic']",message="credentials: type AWS goes with schema AWSBedrock or AWSAnthropic"
// +kubebuilder:validation:XValidation:rule="!has(self.credentials) || self.credentials.type != 'Azure' || self.schema.name == 'AzureOpenAI'",message="credentials: type Azure goes with schema AzureOpenAI"
// +kubebuilder:validation:XValidation:rule="!has(self.credentials) || self.credentials.type != 'GCP' || self.schema.name in ['GCPVertexAI','GCPAnthropic']",message="credentials: type GCP goes with schema GCPVertexAI or GCPAnthropic"
type AIBackendSpec struct {
	// Schema is the API that the backend speaks. Requests and answers are translated
	// to and from the API that the client speaks.
	// +required
	Schema BackendSchema `json:"schema"`
	// Destination is where the backend is.
	// +required
	Destination Destination `json:"destination"`
	// TLS is how the backend is trusted. A host name is reached with TLS and the
	// system's certificate authorities unless this says otherwise; a Service without
	// TLS unless this is there.
	// +optional
	TLS *BackendTLS `json:"tls,omitempty"`
	// Credentials is what a request must carry to be let in.
	// +optional
	Credentials *Credentials `json:"credentials,omitempty"`
	// Headers changes the headers of requests to the backend, after credentials of
	// the client were removed and before those of the backend are added.
	// +optional
	Headers *gatewayv1.HTTPHeaderFilter `json:"headers,omitempty"`
	// Body changes top-level fields of the JSON body sent to the backend.
	// +optional
	Body *BodyMutation `json:"body,omitempty"`
	// Models are the models the backend serves, for the catalogue of models; any
	// model when empty.
	// +kubebuilder:validation:MaxItems=256
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=256
	// +listType=set
	// +optional
	Models []string `json:"models,omitempty"`
}

// SchemaName names an API of a provider.
//
// +kubebuilder:validation:Enum=OpenAI;AzureOpenAI;Anthropic;AWSBedrock;AWSAnthropic;GCPVertexAI;GCPAnthropic;Cohere
type SchemaName string

// Schemas of providers.
const (
	SchemaOpenAI       SchemaName = "OpenAI"
	SchemaAzureOpenAI  SchemaName = "AzureOpenAI"
	SchemaAnthropic    SchemaName = "Anthropic"
	SchemaAWSBedrock   SchemaName = "AWSBedrock"
	SchemaAWSAnthropic SchemaName = "AWSAnthropic"
	SchemaGCPVertexAI  SchemaName = "GCPVertexAI"
	SchemaGCPAnthropic SchemaName = "GCPAnthropic"
	SchemaCohere       SchemaName = "Cohere"
)

// BackendSchema is an API and its variant.
//
// +kubebuilder:validation:XValidation:rule="!has(self.pathPrefix) || self.name in ['OpenAI','Anthropic','Cohere']",message="pathPrefix: only OpenAI, Anthropic and Cohere have one"
type BackendSchema struct {
	// Name is the API.
	// +required
	Name SchemaName `json:"name"`
	// Version is the API's version where it has several: the api-version of Azure
	// OpenAI, the anthropic_version of Anthropic.
	// +kubebuilder:validation:MaxLength=64
	// +optional
	Version string `json:"version,omitempty"`
	// PathPrefix replaces "/v1" in paths.
	// +kubebuilder:validation:MaxLength=256
	// +kubebuilder:validation:Pattern=`^/[-A-Za-z0-9._~/]*$`
	// +optional
	PathPrefix string `json:"pathPrefix,omitempty"`
}

// DestinationType is a kind of place.
//
// +kubebuilder:validation:Enum=Hostname;Service;InferencePool
type DestinationType string

// Kinds of destinations.
const (
	DestinationHostname      DestinationType = "Hostname"
	DestinationService       DestinationType = "Service"
	DestinationInferencePool DestinationType = "InferencePool"
)

// Destination is one place, of the kind that type says.
//
// +kubebuilder:validation:XValidation:rule="self.type == 'Hostname' ? has(self.hostname) : !has(self.hostname)",message="hostname: must be set for type Hostname, and only then"
// +kubebuilder:validation:XValidation:rule="self.type == 'Service' ? has(self.service) : !has(self.service)",message="service: must be set for type Service, and only then"
// +kubebuilder:validation:XValidation:rule="self.type == 'InferencePool' ? has(self.inferencePool) : !has(self.inferencePool)",message="inferencePool: must be set for type InferencePool, and only then"
type Destination struct {
	// Type says which of the others is set.
	// +required
	Type DestinationType `json:"type"`
	// +optional
	Hostname *HostnameDestination `json:"hostname,omitempty"`
	// +optional
	Service *ServiceDestination `json:"service,omitempty"`
	// +optional
	InferencePool *PoolDestination `json:"inferencePool,omitempty"`
}

// HostnameDestination is a host outside the cluster, by name or IP address.
type HostnameDestination struct {
	// Host is a DNS name or an IP address.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[A-Za-z0-9]([-A-Za-z0-9.:]*[A-Za-z0-9])?$`
	// +required
	Host string `json:"host"`
	// Port defaults to 443, and to 80 where tls.mode is None.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	// +optional
	Port *int32 `json:"port,omitempty"`
}

// ServiceDestination is a Kubernetes Service.
type ServiceDestination struct {
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +required
	Name string `json:"name"`
	// Namespace is the Service's, the AIBackend's own when empty. Another one must
	// allow it by a ReferenceGrant.
	// +optional
	Namespace *gatewayv1.Namespace `json:"namespace,omitempty"`
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	// +required
	Port int32 `json:"port"`
	// EndpointPicker is a picker that chooses among the Service's ready endpoints, where
	// there is no InferencePool. They are reached without TLS then.
	// +optional
	EndpointPicker *EndpointPicker `json:"endpointPicker,omitempty"`
}

// EndpointPicker is a Service that speaks the endpoint picker protocol.
type EndpointPicker struct {
	// Name is the Service's. It is in the namespace of the Service whose endpoints it
	// chooses; where that is not the AIBackend's own, the ReferenceGrant must allow both.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +required
	Name string `json:"name"`
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	// +kubebuilder:default=9002
	// +optional
	Port int32 `json:"port,omitempty"`
	// FailureMode says what becomes of requests while the picker is down, or its Service
	// is not there: FailOpen sends them to any endpoint, with FailClose the rule's next
	// backend is tried, and without one the answer is 503.
	// +kubebuilder:validation:Enum=FailOpen;FailClose
	// +kubebuilder:default=FailClose
	// +optional
	FailureMode string `json:"failureMode,omitempty"`
}

// PoolDestination is an InferencePool.
type PoolDestination struct {
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +required
	Name string `json:"name"`
	// Namespace is the pool's, the AIBackend's own when empty. Another one must
	// allow it by a ReferenceGrant.
	// +optional
	Namespace *gatewayv1.Namespace `json:"namespace,omitempty"`
}

// TLSMode says whether and how a backend's certificate is checked.
//
// +kubebuilder:validation:Enum=Verify;Insecure;None
type TLSMode string

// Modes of TLS.
const (
	TLSVerify   TLSMode = "Verify"
	TLSInsecure TLSMode = "Insecure"
	TLSNone     TLSMode = "None"
)

// BackendTLS is how a backend is trusted.
//
// +kubebuilder:validation:XValidation:rule="self.mode == 'Verify' || !has(self.caCertificateRefs)",message="caCertificateRefs: only mode Verify checks certificates"
type BackendTLS struct {
	// Mode Verify checks the certificate, Insecure does not, None uses no TLS.
	// +kubebuilder:default=Verify
	// +optional
	Mode TLSMode `json:"mode,omitempty"`
	// ServerName is the name sent and checked; that of the destination when empty.
	// +kubebuilder:validation:MaxLength=253
	// +optional
	ServerName string `json:"serverName,omitempty"`
	// CACertificateRefs are ConfigMaps or Secrets with a key ca.crt that replace the
	// system's certificate authorities.
	// +kubebuilder:validation:MaxItems=8
	// +listType=atomic
	// +optional
	CACertificateRefs []gatewayv1.LocalObjectReference `json:"caCertificateRefs,omitempty"`
}

// BodyMutation changes top-level fields of a JSON body.
type BodyMutation struct {
	// Set are fields and the JSON values they get.
	// +kubebuilder:validation:MaxItems=16
	// +listType=map
	// +listMapKey=name
	// +optional
	Set []BodyField `json:"set,omitempty"`
	// Remove are fields that are taken out.
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=256
	// +listType=set
	// +optional
	Remove []string `json:"remove,omitempty"`
}

// BodyField is a field and its value.
type BodyField struct {
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	// +required
	Name string `json:"name"`
	// Value is JSON: "flex" in quotes, true, 3.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=4096
	// +required
	Value string `json:"value"`
}

// AIBackendStatus is what Fairway found out.
type AIBackendStatus struct {
	// Conditions are Accepted, that the backend is valid; ResolvedRefs, that all it
	// names is there and may be named; Programmed, that a route leads to it and
	// requests can be sent; CredentialsReady, that what lets requests in was obtained
	// and has not run out.
	// +kubebuilder:validation:MaxItems=8
	// +listType=map
	// +listMapKey=type
	// +optional
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}
