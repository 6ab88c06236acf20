package aibackend

// Schema is what a provider speaks.
type Schema string

// The schemas.
const (
	OpenAI       Schema = "OpenAI"
	AzureOpenAI  Schema = "AzureOpenAI"
	Anthropic    Schema = "Anthropic"
	AWSBedrock   Schema = "AWSBedrock"   // Converse
	AWSAnthropic Schema = "AWSAnthropic" // InvokeModel with Anthropic's messages
	GCPVertexAI  Schema = "GCPVertexAI"  // Gemini
	GCPAnthropic Schema = "GCPAnthropic" // rawPredict with Anthropic's messages
	Cohere       Schema = "Cohere"       // chat at its address for OpenAI's clients, v2/embed, rerank
)

// Backend says how to speak to one provider.
type Backend struct {
	Schema Schema
	// Version is the api-version of AzureOpenAI ("" for its v1 API), the
	// anthropic-version of Anthropic, AWSAnthropic and GCPAnthropic, and the path's
	// version ("v1") on GCP. Empty takes the usual one.
	Version string
	// PathPrefix replaces the start of the path, "/v1" for OpenAI and Anthropic, and
	// stands before Cohere's and Bedrock's paths. It needs no slash at its end.
	PathPrefix string
	// Model replaces the client's model name when set.
	Model string
	// Deployment is AzureOpenAI's, when it differs from the model's name.
	Deployment string
	// Project and Region are GCP's.
	Project string
	Region  string

	// DefaultMaxTokens is sent to providers that need a bound when the client gave
	// none. 0 means 4096.
	DefaultMaxTokens int64
	// EffortAsBudget is for models that know a thinking budget but no effort (Claude up
	// to 4.5, Gemini 2.5): an effort is sent as a number of tokens.
	EffortAsBudget bool
	// FormatByTool is for Claude models without structured output: a JSON schema is
	// sent as a tool that the model must call, and its call comes back as text.
	FormatByTool bool
	// LegacyMaxTokens is for OpenAI-compatible servers that know max_tokens only.
	LegacyMaxTokens bool
	// NoStreamOptions is for OpenAI-compatible servers that refuse stream_options.
	// Their streams are accounted only if they tell the usage unasked.
	NoStreamOptions bool

	// Budget bounds what exchanges that share it hold of large answers; nil is no bound.
	Budget *Budget `json:"-"`
}
