package aibackend

import (
	"github.com/fairway-ai/fairway/aibackend/anthropic"
	"github.com/fairway-ai/fairway/aibackend/chat"
	"github.com/fairway-ai/fairway/aibackend/openai"
)

// client is a schema that clients speak.
type client interface {
	// fail writes an error, failEvent one inside of a stream.
	fail(dst []byte, e *chat.Error) []byte
	failEvent(dst []byte, e *chat.Error) []byte
	// requestID is the header in which the schema's SDKs look for the request's name.
	requestID() string
}

// chatClient is one that has an API for chat.
type chatClient interface {
	client
	parse(body []byte) (*chat.Request, *chat.Error)
	// response writes a whole answer.
	response(dst []byte, r *chat.Response, m meta) []byte
	// stream makes the writer of a streamed answer.
	stream(q *chat.Request, m meta) writer
}

// writer writes a streamed answer in a client's schema.
type writer interface {
	Append(dst []byte, e *chat.Event) []byte
}

type (
	openAIClient    struct{}
	anthropicClient struct{}
)

func (openAIClient) parse(body []byte) (*chat.Request, *chat.Error) {
	return openai.ParseRequest(body)
}

func (openAIClient) response(dst []byte, r *chat.Response, m meta) []byte {
	return openai.AppendResponse(dst, r, m.created)
}

func (openAIClient) stream(q *chat.Request, m meta) writer {
	return openai.NewStreamWriter(q, m.created)
}

func (openAIClient) fail(dst []byte, e *chat.Error) []byte { return openai.AppendError(dst, e) }

func (openAIClient) failEvent(dst []byte, e *chat.Error) []byte {
	return openai.AppendErrorEvent(dst, e)
}

func (openAIClient) requestID() string { return "x-request-id" }

func (anthropicClient) parse(body []byte) (*chat.Request, *chat.Error) {
	return anthropic.ParseRequest(body)
}

func (anthropicClient) response(dst []byte, r *chat.Response, _ meta) []byte {
	return anthropic.AppendResponse(dst, r)
}

func (anthropicClient) stream(*chat.Request, meta) writer { return anthropic.NewStreamWriter() }

func (anthropicClient) fail(dst []byte, e *chat.Error) []byte {
	return anthropic.AppendError(dst, e)
}

func (anthropicClient) failEvent(dst []byte, e *chat.Error) []byte {
	return anthropic.AppendErrorEvent(dst, e)
}

func (anthropicClient) requestID() string { return "request-id" }
