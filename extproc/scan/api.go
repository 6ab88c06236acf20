package scan

import "strings"

// apis are what is known of each API. No path is the end of another one.
var apis = [...]struct {
	name string
	// path is the end of its paths.
	path string
	// form says that its requests may be multipart/form-data.
	form bool
}{
	ChatCompletions:  {name: "chat/completions", path: "/chat/completions"},
	Completions:      {name: "completions", path: "/v1/completions"},
	Embeddings:       {name: "embeddings", path: "/v1/embeddings"},
	Responses:        {name: "responses", path: "/v1/responses"},
	Messages:         {name: "messages", path: "/v1/messages"},
	CountTokens:      {name: "messages/count_tokens", path: "/v1/messages/count_tokens"},
	ImageGenerations: {name: "images/generations", path: "/images/generations"},
	ImageEdits:       {name: "images/edits", path: "/images/edits", form: true},
	ImageVariations:  {name: "images/variations", path: "/images/variations", form: true},
	Speech:           {name: "audio/speech", path: "/audio/speech"},
	Transcriptions:   {name: "audio/transcriptions", path: "/audio/transcriptions", form: true},
	Translations:     {name: "audio/translations", path: "/audio/translations", form: true},
	Moderations:      {name: "moderations", path: "/v1/moderations"},
	Rerank:           {name: "rerank", path: "/rerank"},
	Tokenize:         {name: "tokenize", path: "/tokenize"},
	Detokenize:       {name: "detokenize", path: "/detokenize"},
	Generate:         {name: "generate", path: "/generate"},
}

// APIFromPath tells the API from a request's path, with or without a query. The
// path's end decides, so that a prefix a gateway adds does no harm.
func APIFromPath(path string) API {
	path, _, _ = strings.Cut(path, "?")
	for a := ChatCompletions; int(a) < len(apis); a++ {
		if strings.HasSuffix(path, apis[a].path) {
			return a
		}
	}
	return Other
}

// String names the API as its path does.
func (a API) String() string {
	if a == Other || int(a) >= len(apis) {
		return "other"
	}
	return apis[a].name
}

// Anthropic reports whether the API is Anthropic's.
func (a API) Anthropic() bool { return a == Messages || a == CountTokens }
