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
	// chat says that requests are turned into those of every schema that can chat.
	chat bool
	// backends are the schemas whose providers have it: its requests pass to them.
	backends []Schema
	// turns are for schemas whose providers have something like it.
	turns []turn
	// modelOptional says that the schema lets a request leave the model to the provider.
	modelOptional bool
	// form says that requests may be multipart/form-data.
	form bool
}

// turn makes a request for a provider of another schema.
type turn struct {
	schema Schema
	make   func(c *call) (*turned, *chat.Error)
}

const (
	embeddings  = "/embeddings"
	rerank      = "/rerank"
	countTokens = "/messages/count_tokens"
	tokenize    = "/tokenize"
	detokenize  = "/detokenize"
)

var (
	onlyOpenAI = []Schema{OpenAI}
	openAIs    = []Schema{OpenAI, AzureOpenAI}
)

// apis are looked through in this order: the end of one may be the end of another.
var apis = [...]api{
	{path: chatCompletions, client: openAIClient{}, chat: true},
	{path: messages, client: anthropicClient{}, chat: true},
	{path: countTokens, client: anthropicClient{}, backends: []Schema{Anthropic, GCPAnthropic}, turns: []turn{
		{AWSAnthropic, countOnBedrock},
	}},
	{path: "/completions", client: openAIClient{}, backends: openAIs},
	{path: embeddings, client: openAIClient{}, backends: openAIs, turns: []turn{
		{AWSBedrock, embedOnBedrock}, {GCPVertexAI, embedOnVertex}, {Cohere, embedAtCohere},
	}},
	{path: responses, client: openAIClient{}, backends: openAIs, modelOptional: true},
	{path: "/images/generations", client: openAIClient{}, backends: openAIs, modelOptional: true, turns: []turn{
		{GCPVertexAI, paintOnVertex},
	}},
	{path: "/images/edits", client: openAIClient{}, backends: openAIs, modelOptional: true, form: true},
	{path: "/images/variations", client: openAIClient{}, backends: onlyOpenAI, modelOptional: true, form: true},
	{path: "/audio/speech", client: openAIClient{}, backends: openAIs},
	{path: "/audio/transcriptions", client: openAIClient{}, backends: openAIs, form: true},
	{path: "/audio/translations", client: openAIClient{}, backends: openAIs, form: true},
	{path: "/moderations", client: openAIClient{}, backends: onlyOpenAI, modelOptional: true},
	{path: rerank, client: cohereClient{}, modelOptional: true, backends: []Schema{OpenAI, Cohere}, turns: []turn{
		{AWSBedrock, rankOnBedrock},
	}},
	{path: detokenize, client: openAIClient{}, backends: onlyOpenAI, modelOptional: true},
	{path: tokenize, client: openAIClient{}, backends: onlyOpenAI, modelOptional: true},
}

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
	return &chat.Error{
		Status: http.StatusNotFound, Code: "unknown_path",
		Message: fmt.Sprintf("the path %s is not supported through an AI backend", clip(path, 128)),
	}
}

// turnFor makes this API's requests for backends of a schema that does not have it,
// nil where it cannot or need not.
func (a api) turnFor(s Schema) func(*call) (*turned, *chat.Error) {
	for _, t := range a.turns {
		if t.schema == s {
			return t.make
		}
	}
	return nil
}

// providerFor is the provider for this API's requests, or the refusal that says who
// else could serve them.
func (a api) providerFor(b Backend) (provider, *chat.Error) {
	if !a.chat && !slices.Contains(a.backends, b.Schema) && a.turnFor(b.Schema) == nil {
		var names []string
		for _, s := range a.backends {
			names = append(names, string(s))
		}
		for _, t := range a.turns {
			names = append(names, string(t.schema))
		}
		list := names[0]
		if n := len(names) - 1; n > 0 {
			list = strings.Join(names[:n], ", ") + " and " + names[n]
		}
		return nil, &chat.Error{
			Status: http.StatusUnprocessableEntity, Code: "unsupported_by_backend",
			Message: fmt.Sprintf("requests for %s cannot be translated for a backend of schema %.64q; backends of schema %s can serve them",
				a.path, string(b.Schema), list),
		}
	}
	return providerOf(b)
}
