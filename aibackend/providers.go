package aibackend

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/fairway-ai/fairway/aibackend/chat"
	"github.com/fairway-ai/fairway/aibackend/internal/jsonx"
)

// provider is a schema that providers speak.
type provider interface {
	// speaks reports whether the client's schema is the provider's.
	speaks(c client) bool
	// path is where the request goes. same says that it is in the client's schema.
	path(c *call, same bool) string
	// headers are those of the schema. same is as above.
	headers(c *call, same bool) (set []Header, remove []string)

	// write writes a request's body. It also says whether calls of chat.FormatTool stand
	// for the answer.
	write(q *chat.Request, c *call) (body []byte, unwrap bool, err *chat.Error)
	// read reads a whole answer.
	read(body []byte) (*chat.Response, *chat.Error)
	// stream makes the reader of a streamed answer.
	stream(sink chat.Sink, m meta, unwrap bool) reader
	// streamType is the media type of a streamed answer.
	streamType() string
	// fail reads a failed response; name is AWS's header with the error's name. It is nil
	// if the body is no error of the schema.
	fail(status int, name string, body []byte) *chat.Error

	// edits are the changes to a body that is in the provider's schema already.
	edits(c *call) []jsonx.Edit
}

// reader reads a streamed answer, framing included.
type reader interface {
	Write(chunk []byte)
	Close()
}

func providerOf(b Backend) (provider, *chat.Error) {
	switch b.Schema {
	case OpenAI:
		return openAIProvider{}, nil
	case AzureOpenAI:
		return openAIProvider{azure: true}, nil
	case Anthropic:
		return anthropicProvider{}, nil
	case AWSAnthropic:
		return awsAnthropicProvider{}, nil
	case GCPAnthropic:
		return gcpAnthropicProvider{}, nil
	case AWSBedrock:
		return bedrockProvider{}, nil
	case GCPVertexAI:
		return geminiProvider{}, nil
	case Cohere:
		return cohereProvider{}, nil
	}
	return nil, &chat.Error{
		Status: http.StatusUnprocessableEntity, Code: "unsupported_by_backend",
		Message: fmt.Sprintf("backends of schema %.64q have no chat API", string(b.Schema)),
	}
}

// CanTranslate reports whether requests for this path, with or without a query, can
// be served by backends of this schema, translated or unchanged. It is for the
// validation of configurations, and false exactly where NewExchange would always
// fail.
func CanTranslate(clientPath string, s Schema) bool {
	a, ok := apiOf(clientPath)
	if !ok {
		return false
	}
	_, err := a.providerFor(Backend{Schema: s})
	return err == nil
}

func isOpenAI(c client) bool    { _, ok := c.(openAIClient); return ok }
func isAnthropic(c client) bool { _, ok := c.(anthropicClient); return ok }

func (b Backend) prefix(usual string) string {
	if b.PathPrefix == "" {
		return usual
	}
	if p := strings.Trim(b.PathPrefix, "/"); p != "" {
		return "/" + p
	}
	return ""
}

func (b Backend) version(usual string) string {
	if b.Version == "" {
		return usual
	}
	return b.Version
}

func (b Backend) maxTokens() int64 {
	if b.DefaultMaxTokens > 0 {
		return b.DefaultMaxTokens
	}
	return 4096
}

func quoted(s string) []byte { return jsonx.AppendString(nil, s) }

// foreignHeaders mean something to one schema and must not reach another.
var foreignHeaders = [...]string{"anthropic-version", "anthropic-beta", "openai-organization", "openai-project", "openai-beta"}
