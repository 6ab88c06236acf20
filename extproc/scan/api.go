package scan

import "strings"

// APIFromPath tells the API from a request's path, with or without a query. The
// path's end decides, so that a prefix a gateway adds does no harm.
func APIFromPath(path string) API {
	path, _, _ = strings.Cut(path, "?")
	switch {
	case strings.HasSuffix(path, "/chat/completions"):
		return ChatCompletions
	case strings.HasSuffix(path, "/v1/completions"):
		return Completions
	case strings.HasSuffix(path, "/v1/embeddings"):
		return Embeddings
	case strings.HasSuffix(path, "/v1/responses"):
		return Responses
	case strings.HasSuffix(path, "/v1/messages"):
		return Messages
	}
	return Other
}

// String names the API as its path does.
func (a API) String() string {
	switch a {
	case ChatCompletions:
		return "chat/completions"
	case Completions:
		return "completions"
	case Embeddings:
		return "embeddings"
	case Responses:
		return "responses"
	case Messages:
		return "messages"
	}
	return "other"
}
