package scan

import "github.com/fairway-ai/fairway/scheduler/prefix"

// API is the kind of endpoint a request called, known from its path.
type API uint8

const (
	// Other is any path that is none of the below; the body is not scanned.
	Other API = iota
	// ChatCompletions is OpenAI /v1/chat/completions.
	ChatCompletions
	// Completions is OpenAI /v1/completions.
	Completions
	// Embeddings is OpenAI /v1/embeddings.
	Embeddings
	// Responses is OpenAI /v1/responses.
	Responses
	// Messages is Anthropic /v1/messages.
	Messages
	// CountTokens is Anthropic /v1/messages/count_tokens.
	CountTokens
	// ImageGenerations is OpenAI /v1/images/generations.
	ImageGenerations
	// ImageEdits is OpenAI /v1/images/edits, a form or JSON.
	ImageEdits
	// ImageVariations is OpenAI /v1/images/variations, a form.
	ImageVariations
	// Speech is OpenAI /v1/audio/speech.
	Speech
	// Transcriptions is OpenAI /v1/audio/transcriptions, a form.
	Transcriptions
	// Translations is OpenAI /v1/audio/translations, a form.
	Translations
	// Moderations is OpenAI /v1/moderations.
	Moderations
	// Rerank is Cohere's /v1/rerank and /v2/rerank, which other servers have too.
	Rerank
	// Tokenize is vLLM's /tokenize.
	Tokenize
	// Detokenize is vLLM's /detokenize.
	Detokenize
	// Generate is SGLang's /generate and vLLM's /inference/v1/generate.
	Generate
)

// Result is what was found in a body.
type Result struct {
	// API is the scanner's API.
	API API
	// Model is the model asked for, "" when the body names none.
	Model string
	// ModelStart and ModelEnd bound the model's JSON string, quotes included, as
	// byte offsets in the body; both 0 when there is none. In a form they bound the
	// bare name.
	ModelStart, ModelEnd int64
	// Form says that the body is multipart/form-data.
	Form bool
	// GRPC says that the body is a gRPC message, in which the model's name cannot be
	// replaced: ModelStart and ModelEnd are 0.
	GRPC bool
	// Stream is true when the client asked for server-sent events.
	Stream bool
	// MaxTokens is the client's bound on output tokens, 0 when there is none.
	MaxTokens int64
	// User is OpenAI's user, or Anthropic's metadata.user_id.
	User string
	// CacheSalt is vLLM's cache_salt, or the LoRA adapter that a request to SGLang's gRPC
	// server names.
	CacheSalt string
	// PromptBytes is the length of the prompt's decoded text, keys included.
	// Images and other binary parts count in Images instead. A token id counts as
	// BytesPerToken. The package comment has the details.
	PromptBytes int64
	// Images counts image, audio and document parts.
	Images int
	// Blocks is the prompt as chained hashes with estimated tokens. Its memory
	// belongs to the scanner and is reused after Reset.
	Blocks []prefix.Block
	// Media are digests of what Images counts, each once and at most MaxMedia of them.
	// They are of the text that is or names the part, so a file under two URLs has two.
	// Their memory belongs to the scanner, too.
	Media []uint64
}

// PromptTokens estimates the prompt's length in tokens.
func (r *Result) PromptTokens() int64 {
	return (r.PromptBytes+BytesPerToken-1)/BytesPerToken + int64(r.Images)*TokensPerImage
}

const (
	// BytesPerToken is the assumed length of a token in bytes of decoded text,
	// the figure llm-d and GAIE use as well.
	BytesPerToken = 4
	// TokensPerImage is the assumed prompt length of an image, audio or document
	// part.
	TokensPerImage = 512
	// MaxMedia bounds Result.Media.
	MaxMedia = 64
)
