package aibackend

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/fairway-ai/fairway/aibackend/chat"
)

// api is one API of a client's schema, known by the end of its path.
type api struct {
	path   string
	client client
	// chat says that requests can be translated. Others only pass, unchanged.
	chat bool
	// backends are the schemas whose providers have it, where it only passes.
	backends []Schema
	// modelOptional says that the schema lets a request leave the model to the provider.
	modelOptional bool
}

var (
	onlyOpenAI    = []Schema{OpenAI}
	openAIs       = []Schema{OpenAI, AzureOpenAI}
	onlyAnthropic = []Schema{Anthropic}
)

// apis are looked through in this order: the end of one may be the end of another.
var apis = [...]api{
	{path: chatCompletions, client: openAIClient{}, chat: true},
	{path: messages, client: anthropicClient{}, chat: true},
	{path: "/messages/count_tokens", client: anthropicClient{}, backends: onlyAnthropic},
	{path: "/completions", client: openAIClient{}, backends: openAIs},
	{path: "/embeddings", client: openAIClient{}, backends: openAIs},
	{path: responses, client: openAIClient{}, backends: openAIs, modelOptional: true},
	{path: "/images/generations", client: openAIClient{}, backends: openAIs, modelOptional: true},
	{path: "/audio/speech", client: openAIClient{}, backends: openAIs},
	{path: "/moderations", client: openAIClient{}, backends: onlyOpenAI, modelOptional: true},
}

// forms are APIs of OpenAI whose requests are no JSON: nothing in them can be edited.
var forms = [...]string{"/audio/transcriptions", "/audio/translations", "/images/edits", "/images/variations"}

// apiOf is the API of a path, with or without a query. Where there is none that is
// known, the client is the likeliest one.
func apiOf(path string) (a api, known bool) {
	path, _, _ = strings.Cut(path, "?")
	for _, a := range apis {
		if strings.HasSuffix(path, a.path) {
			return a, true
		}
	}
	if strings.Contains(path, "/v1/messages/") {
		return api{client: anthropicClient{}}, false
	}
	return api{client: openAIClient{}}, false
}

// unknownPath refuses what is no API of the table.
func unknownPath(path string) *chat.Error {
	e := &chat.Error{
		Status: http.StatusNotFound, Code: "unknown_path",
		Message: fmt.Sprintf("the path %s is not supported through an AI backend", clip(path, 128)),
	}
	for _, form := range forms {
		if strings.HasSuffix(path, form) {
			e.Message = fmt.Sprintf("requests for %s are forms, which are not supported through an AI backend yet", form)
		}
	}
	return e
}

// providerFor is the provider for this API's requests, or the refusal that says who
// else could serve them.
func (a api) providerFor(b Backend) (provider, *chat.Error) {
	if !a.chat && !slices.Contains(a.backends, b.Schema) {
		names := make([]string, len(a.backends))
		for i, s := range a.backends {
			names[i] = string(s)
		}
		return nil, &chat.Error{
			Status: http.StatusUnprocessableEntity, Code: "unsupported_by_backend",
			Message: fmt.Sprintf("requests for %s cannot be translated for a backend of schema %.64q; backends of schema %s can serve them",
				a.path, string(b.Schema), strings.Join(names, " and ")),
		}
	}
	return providerOf(b)
}
