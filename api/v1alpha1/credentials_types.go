package v1alpha1

import gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

// CredentialsType is a way of being let in.
//
// +kubebuilder:validation:Enum=APIKey;AWS;Azure;GCP;FromRequestHeader
type CredentialsType string

// Ways of being let in.
const (
	CredentialsAPIKey            CredentialsType = "APIKey"
	CredentialsAWS               CredentialsType = "AWS"
	CredentialsAzure             CredentialsType = "Azure"
	CredentialsGCP               CredentialsType = "GCP"
	CredentialsFromRequestHeader CredentialsType = "FromRequestHeader"
)

// Credentials are one way of being let in, the one that type says. For AWS, Azure
// and GCP, an empty object means the default chain of the provider's SDK.
//
// +kubebuilder:validation:XValidation:rule="self.type == 'APIKey' ? has(self.apiKey) : !has(self.apiKey)",message="apiKey: must be set for type APIKey, and only then"
// +kubebuilder:validation:XValidation:rule="self.type == 'AWS' ? has(self.aws) : !has(self.aws)",message="aws: must be set for type AWS, and only then"
// +kubebuilder:validation:XValidation:rule="self.type == 'Azure' ? has(self.azure) : !has(self.azure)",message="azure: must be set for type Azure, and only then"
// +kubebuilder:validation:XValidation:rule="self.type == 'GCP' ? has(self.gcp) : !has(self.gcp)",message="gcp: must be set for type GCP, and only then"
// +kubebuilder:validation:XValidation:rule="self.type == 'FromRequestHeader' ? has(self.fromRequestHeader) : !has(self.fromRequestHeader)",message="fromRequestHeader: must be set for type FromRequestHeader, and only then"
type Credentials struct {
	// Type says which of the others is set.
	// +required
	Type CredentialsType `json:"type"`
	// +optional
	APIKey *APIKeyCredentials `json:"apiKey,omitempty"`
	// +optional
	AWS *AWSCredentials `json:"aws,omitempty"`
	// +optional
	Azure *AzureCredentials `json:"azure,omitempty"`
	// +optional
	GCP *GCPCredentials `json:"gcp,omitempty"`
	// +optional
	FromRequestHeader *HeaderCredentials `json:"fromRequestHeader,omitempty"`
}

// SecretKey is a key of a Secret in the AIBackend's namespace.
type SecretKey struct {
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +required
	Name string `json:"name"`
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +optional
	Key string `json:"key,omitempty"`
}

// APIKeyCredentials are a key that is sent in a header.
type APIKeyCredentials struct {
	// SecretRef is where the key is; its key defaults to apiKey.
	// +required
	SecretRef SecretKey `json:"secretRef"`
	// Header is the header's name. It defaults to what the schema asks for:
	// x-api-key for Anthropic, api-key for AzureOpenAI, x-goog-api-key for
	// GCPVertexAI, Authorization with "Bearer " for the others.
	// +optional
	Header *gatewayv1.HTTPHeaderName `json:"header,omitempty"`
	// Prefix comes before the key in the header named here.
	// +kubebuilder:validation:MaxLength=64
	// +optional
	Prefix *string `json:"prefix,omitempty"`
}

// OIDC gets a token from an OpenID Connect issuer by the client credentials grant. The
// cloud takes it in exchange for one of its own.
//
// +kubebuilder:validation:XValidation:rule="!self.issuer.matches('(?i)^https://(([^/:]*[.])?localhost|127[.][0-9.]*|0[0-9.]*|169[.]254[.][0-9.]*)[.]?([:/]|$)')",message="issuer: must not be the gateway's own machine or link"
type OIDC struct {
	// Issuer is its URL, with https; where tokens are given out is discovered there. A
	// Service of the cluster is named in full, and if it is in another namespace, must
	// allow it by a ReferenceGrant.
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:Pattern=`^https://[A-Za-z0-9]([-A-Za-z0-9.]*[A-Za-z0-9])?(:[0-9]{1,5})?(/[-A-Za-z0-9._~/%]*)?$`
	// +required
	Issuer string `json:"issuer"`
	// ClientID is the gateway's name at the issuer.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	// +required
	ClientID string `json:"clientID"`
	// SecretRef is the client's secret at the issuer; its key defaults to client-secret.
	// +required
	SecretRef SecretKey `json:"secretRef"`
	// Scopes are asked for.
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=256
	// +listType=set
	// +optional
	Scopes []string `json:"scopes,omitempty"`
	// Audience is asked for, of issuers that have the parameter.
	// +kubebuilder:validation:MaxLength=1024
	// +optional
	Audience string `json:"audience,omitempty"`
}

// AWSCredentials sign requests with Signature Version 4.
//
// +kubebuilder:validation:XValidation:rule="!has(self.oidc) || (has(self.roleARN) && !has(self.secretRef) && !has(self.webIdentityTokenFile) && !has(self.profile) && !has(self.externalID))",message="aws: oidc needs roleARN, and goes without secretRef, profile, externalID and webIdentityTokenFile"
// +kubebuilder:validation:XValidation:rule="!(has(self.secretRef) && has(self.webIdentityTokenFile))",message="aws: set secretRef or webIdentityTokenFile, not both"
// +kubebuilder:validation:XValidation:rule="!has(self.webIdentityTokenFile) || has(self.roleARN)",message="aws: webIdentityTokenFile needs roleARN"
type AWSCredentials struct {
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	// +required
	Region string `json:"region"`
	// SecretRef is a credentials file as the AWS tools read it; its key defaults to
	// credentials.
	// +optional
	SecretRef *SecretKey `json:"secretRef,omitempty"`
	// Profile is the part of that file to use, "default" when empty.
	// +kubebuilder:validation:MaxLength=128
	// +optional
	Profile string `json:"profile,omitempty"`
	// RoleARN is a role to assume.
	// +kubebuilder:validation:MaxLength=2048
	// +kubebuilder:validation:Pattern=`^arn:[-a-z]+:iam::[0-9]{12}:role/.+$`
	// +optional
	RoleARN string `json:"roleARN,omitempty"`
	// ExternalID is sent when the role is assumed.
	// +kubebuilder:validation:MaxLength=1224
	// +optional
	ExternalID string `json:"externalID,omitempty"`
	// WebIdentityTokenFile is the path of a projected service account token.
	// +kubebuilder:validation:MaxLength=4096
	// +optional
	WebIdentityTokenFile string `json:"webIdentityTokenFile,omitempty"`
	// OIDC gets the token with which the role is assumed.
	// +optional
	OIDC *OIDC `json:"oidc,omitempty"`
}

// AzureCredentials get a token from Entra ID.
//
// +kubebuilder:validation:XValidation:rule="!has(self.oidc) || (has(self.tenantID) && has(self.clientID) && !has(self.secretRef))",message="azure: oidc needs tenantID and clientID, and goes without secretRef"
// +kubebuilder:validation:XValidation:rule="!has(self.secretRef) || (has(self.tenantID) && has(self.clientID))",message="azure: secretRef needs tenantID and clientID"
type AzureCredentials struct {
	// +kubebuilder:validation:MaxLength=64
	// +optional
	TenantID string `json:"tenantID,omitempty"`
	// +kubebuilder:validation:MaxLength=64
	// +optional
	ClientID string `json:"clientID,omitempty"`
	// SecretRef is the client's secret; its key defaults to client-secret. Without
	// it, and without oidc, a workload or managed identity is used.
	// +optional
	SecretRef *SecretKey `json:"secretRef,omitempty"`
	// OIDC gets a token that a federated credential of the client trusts.
	// +optional
	OIDC *OIDC `json:"oidc,omitempty"`
}

// GCPCredentials get a token from Google Cloud.
//
// +kubebuilder:validation:XValidation:rule="has(self.oidc) ? has(self.workloadIdentityProvider) && !has(self.secretRef) : !has(self.workloadIdentityProvider)",message="gcp: oidc and workloadIdentityProvider go together, and without secretRef"
type GCPCredentials struct {
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	// +required
	Project string `json:"project"`
	// Location is the region, or global.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	// +required
	Location string `json:"location"`
	// SecretRef is a service account's key or a user's credentials, as gcloud writes
	// them; its key defaults to service_account.json. Without it, and without oidc,
	// application default credentials are used.
	// +optional
	SecretRef *SecretKey `json:"secretRef,omitempty"`
	// OIDC gets a token that a workload identity provider trusts.
	// +optional
	OIDC *OIDC `json:"oidc,omitempty"`
	// WorkloadIdentityProvider is that provider's name in full:
	// projects/NUMBER/locations/global/workloadIdentityPools/POOL/providers/PROVIDER.
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:Pattern=`^projects/[-a-z0-9.:]+/locations/global/workloadIdentityPools/[-a-z0-9]+/providers/[-a-z0-9]+$`
	// +optional
	WorkloadIdentityProvider string `json:"workloadIdentityProvider,omitempty"`
	// Impersonate is a service account to act as.
	// +kubebuilder:validation:MaxLength=256
	// +optional
	Impersonate string `json:"impersonate,omitempty"`
}

// HeaderCredentials pass on what the client sent.
type HeaderCredentials struct {
	// Name is the header that the client sends.
	// +required
	Name gatewayv1.HTTPHeaderName `json:"name"`
	// Header is the header the backend gets it in, and Prefix what comes before it.
	// They default to what the schema asks for, as for APIKey.
	// +optional
	Header *gatewayv1.HTTPHeaderName `json:"header,omitempty"`
	// +kubebuilder:validation:MaxLength=64
	// +optional
	Prefix *string `json:"prefix,omitempty"`
}
