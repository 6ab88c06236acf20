package credentials

// Type says which member of a [Config] is in force.
type Type string

// The types of credential.
const (
	// TypeNone adds no credential, for servers of one's own. Other credentials are
	// still removed.
	TypeNone Type = "None"
	// TypeAPIKey adds a fixed key in a header.
	TypeAPIKey Type = "APIKey"
	// TypeAWS signs with AWS credentials, or adds an Amazon Bedrock API key.
	TypeAWS Type = "AWS"
	// TypeAzure adds an Azure OpenAI key or an Entra access token.
	TypeAzure Type = "Azure"
	// TypeGCP adds a Google access token or API key.
	TypeGCP Type = "GCP"
	// TypeFromRequestHeader passes a credential of the client on.
	TypeFromRequestHeader Type = "FromRequestHeader"
)

// Config says what a [Credential] is made of. The member that Type names must be
// set, except for TypeNone; no other may be.
type Config struct {
	Type              Type
	APIKey            *APIKey
	AWS               *AWS
	Azure             *Azure
	GCP               *GCP
	FromRequestHeader *FromRequestHeader
}

// Value says where a secret string is read from. Exactly one member is set. A
// file, a variable and a Secret are read again while the credential runs, and
// what changed is used from then on. Line ends and blanks around the string do
// not count.
type Value struct {
	// Literal is the string itself.
	Literal Secret
	// File is the path of a file that holds it.
	File string
	// Env is the name of an environment variable that holds it.
	Env string
	// SecretRef names an entry of a Secret that holds it.
	SecretRef *SecretRef
}

// SecretRef names one entry of a Secret.
type SecretRef struct {
	Namespace, Name, Key string
}

// APIKey is a fixed key in a header.
type APIKey struct {
	Value Value
	// Header is the header's name; "" means Authorization.
	Header string
	// Prefix comes before the key. nil means "Bearer " in Authorization and nothing
	// in any other header.
	Prefix *string
}

// FromRequestHeader passes on a credential that the client sends. A request
// without it is refused.
type FromRequestHeader struct {
	// Header is where the client sends it. Required.
	Header string
	// TrimPrefix, such as "Bearer ", is taken off the client's value if it is
	// there, whatever its letter case.
	TrimPrefix string
	// As is the header in which the provider expects it; "" means Header. The
	// client's header does not go upstream when it is another one.
	As string
	// Prefix is put before the value.
	Prefix string
}

// IdentityToken says where an OpenID Connect token comes from that is exchanged
// for a cloud's credential. Exactly one member is set.
type IdentityToken struct {
	// File holds the token, and is read anew for each exchange.
	File string
	// Value is where else it is read from.
	Value *Value
	// OIDC asks an issuer for it.
	OIDC *OIDC
}

// OIDC asks an OpenID Connect issuer for a token with the client credentials
// grant.
type OIDC struct {
	// Issuer is the issuer's https URL; its token endpoint is discovered. Ignored
	// if TokenURL is set.
	Issuer string
	// TokenURL is the https URL of the token endpoint.
	TokenURL     string
	ClientID     string
	ClientSecret Value
	Scopes       []string
	// Audience is sent as the parameter "audience", if set.
	Audience string
	// Guard is set where whoever chose the issuer is not who runs this process.
	Guard *Guard
}
