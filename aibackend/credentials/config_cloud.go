package credentials

import "time"

// AWS are credentials for Amazon Bedrock. At most one source is set: APIKey,
// Static, SharedFile, Profile, WebIdentity or Container. None means the SDK's
// default chain: environment, shared files, web identity (IRSA), container and
// Pod Identity, instance metadata.
type AWS struct {
	// Region signs and selects the STS endpoint. "" means that of a Bedrock host
	// name, or else what the SDK finds in environment and shared files.
	Region string
	// Service is the signed service name; "" means bedrock.
	Service string
	// APIKey is a Bedrock API key, sent as a bearer token. Nothing is signed.
	APIKey *Value
	// Static are access keys.
	Static *AWSStatic
	// SharedFile is the text of a shared credentials file, for example in a Secret.
	SharedFile *AWSSharedFile
	// Profile names a profile of this machine's shared files, with all that such a
	// profile may say.
	Profile string
	// WebIdentity exchanges an OpenID Connect token for a role.
	WebIdentity *AWSWebIdentity
	// Container asks an ECS or EKS Pod Identity agent.
	Container *AWSContainer
	// AssumeRole are roles to assume after that, one from another, in order.
	AssumeRole []AWSRole
}

// AWSStatic are access keys.
type AWSStatic struct {
	AccessKeyID     Value
	SecretAccessKey Value
	// SessionToken goes with temporary keys.
	SessionToken *Value
}

// AWSSharedFile is the text of a shared credentials file. Only keys are read from
// it: a profile that names a program, a role or another profile is refused.
type AWSSharedFile struct {
	Content Value
	// Profile is the section; "" means default.
	Profile string
}

// AWSWebIdentity assumes a role with an OpenID Connect token.
type AWSWebIdentity struct {
	RoleARN string
	// SessionName shows in CloudTrail; "" means fairway.
	SessionName string
	Token       IdentityToken
	// Duration of the credentials; 0 means the STS default, one hour.
	Duration time.Duration
}

// AWSContainer is a container credentials endpoint.
type AWSContainer struct {
	// Endpoint is its URL: https, or http to a loopback address or to the addresses
	// of the ECS and EKS agents. "" means what AWS_CONTAINER_CREDENTIALS_FULL_URI
	// or AWS_CONTAINER_CREDENTIALS_RELATIVE_URI say.
	Endpoint string
	// TokenFile holds the authorization token, and is read anew each time; "" means
	// what AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE or
	// AWS_CONTAINER_AUTHORIZATION_TOKEN say.
	TokenFile string
}

// AWSRole is one role to assume.
type AWSRole struct {
	RoleARN string
	// ExternalID, if the role's trust policy asks for one.
	ExternalID string
	// SessionName shows in CloudTrail; "" means fairway.
	SessionName string
	// Duration of the credentials; 0 means the SDK's default, 15 minutes.
	Duration time.Duration
}

// Azure are credentials for Azure OpenAI. At most one source is set: APIKey,
// ClientSecret, Federated or ManagedIdentity. None means azidentity's default
// chain.
type Azure struct {
	// APIKey is sent in the header api-key.
	APIKey *Value
	// TenantID and ClientID name the Entra application; required with ClientSecret
	// and with Federated. ClientID alone selects a user-assigned managed identity.
	TenantID, ClientID string
	ClientSecret       *Value
	// Federated is workload identity: a token of another issuer that the
	// application trusts.
	Federated       *IdentityToken
	ManagedIdentity bool
	// Scope of the token; "" means DefaultAzureScope.
	Scope string
	// Cloud is AzurePublic ("" too), AzureGovernment or AzureChina.
	Cloud string
}

// DefaultAzureScope is the scope for Azure OpenAI and the other Azure AI services.
const DefaultAzureScope = "https://cognitiveservices.azure.com/.default"

// The Azure clouds.
const (
	AzurePublic     = "AzurePublic"
	AzureGovernment = "AzureGovernment"
	AzureChina      = "AzureChina"
)

// GCP are credentials for Vertex AI. At most one source is set: APIKey,
// CredentialsJSON, WorkloadIdentity or Metadata. None means application default
// credentials.
type GCP struct {
	// APIKey is sent in the header x-goog-api-key.
	APIKey *Value
	// CredentialsJSON is a service account key, a user's credentials
	// (authorized_user) or, unless it is read from a Secret, a workload identity
	// federation configuration with a token in a file (external_account).
	CredentialsJSON *Value
	// WorkloadIdentity exchanges a token of another issuer.
	WorkloadIdentity *GCPWorkloadIdentity
	// Metadata asks the metadata server of Compute Engine, GKE or Cloud Run.
	Metadata bool
	// ServiceAccount selects one at the metadata server; "" means default.
	ServiceAccount string
	// Impersonate is the e-mail address of a service account to act as, after that.
	Impersonate string
	// Delegates are service accounts between the two, in order.
	Delegates []string
	// QuotaProject is billed for the requests, if set (x-goog-user-project).
	QuotaProject string
	// Scopes of the token; nil means cloud-platform.
	Scopes []string
}

// GCPWorkloadIdentity is workload identity federation.
type GCPWorkloadIdentity struct {
	// Audience is the provider's full name:
	// //iam.googleapis.com/projects/NUMBER/locations/global/workloadIdentityPools/POOL/providers/PROVIDER
	Audience string
	Token    IdentityToken
}
