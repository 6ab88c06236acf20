package aibackend

import (
	"strings"

	"github.com/fairway-ai/fairway/aibackend/chat"
	"github.com/fairway-ai/fairway/aibackend/cohere"
	"github.com/fairway-ai/fairway/aibackend/internal/jsonx"
	"github.com/fairway-ai/fairway/aibackend/openai"
)

// cohereProvider is Cohere's own API. It chats at its address for OpenAI's clients.
type cohereProvider struct{ openAIProvider }

func (cohereProvider) path(c *call, same bool) string {
	if c.api.path != rerank {
		return c.backend.prefix("") + "/compatibility/v1" + chatCompletions
	}
	return c.backend.prefix("") + c.rerankVersion("/v2") + rerank
}

// rerankVersion is that of the path that the client called, or the usual one.
func (c *call) rerankVersion(usual string) string {
	for _, v := range [...]string{"/v1", "/v2"} {
		if strings.HasSuffix(c.path, v+rerank) {
			return v
		}
	}
	return usual
}

func (cohereProvider) headers(*call, bool) (set []Header, remove []string) {
	return nil, foreignHeaders[:]
}

func (cohereProvider) write(q *chat.Request, c *call) ([]byte, bool, *chat.Error) {
	body, err := openai.AppendRequest(c.buffer(), q, openai.Options{Model: c.model, MaxTokens: true, NoStreamOptions: c.backend.NoStreamOptions})
	return body, false, err
}

// cohereClient is a client of the rerank API. It does not chat.
type cohereClient struct{}

func (cohereClient) fail(dst []byte, e *chat.Error) []byte { return cohere.AppendError(dst, e) }

func (cohereClient) failEvent(dst []byte, e *chat.Error) []byte {
	dst = append(dst, "data: "...)
	return append(cohere.AppendError(dst, e), "\n\n"...)
}

func (cohereClient) requestID() string { return "x-request-id" }

func isCohere(c client) bool { _, ok := c.(cohereClient); return ok }

// usageMember is where a whole answer tells its usage.
func usageMember(c client, p provider) jsonx.Member {
	if _, own := p.(cohereProvider); own && isCohere(c) {
		return jsonx.Member{Key: "meta", Other: "model"}
	}
	return jsonx.Member{Key: "usage", Other: "model"}
}
