package aibackend

import (
	"cmp"
	"strings"

	"github.com/fairway-ai/fairway/aibackend/chat"
)

// MaxBuffered bounds an answer that has to be read whole before any of it can be
// translated, in bytes after decoding.
const MaxBuffered = 64 << 20

// Header is a header to set. Names are in lower case.
type Header struct{ Name, Value string }

// Headers are a message's headers. Get returns the first value of a header given in
// lower case, "" when absent. An http.Header is one.
type Headers interface{ Get(name string) string }

// Request is what is sent to the provider.
type Request struct {
	Method string
	// Path has the query, if any.
	Path string
	// Headers replace those of their names.
	Headers []Header
	// RemoveHeaders are removed first. The client's credentials are always among them;
	// the provider's are to be set afterwards.
	RemoveHeaders []string
	Body          []byte
	// Dropped names, in the client's words, the fields that were left out because this
	// provider cannot express them and the answer does not depend on them.
	Dropped []string
	// Model is the name that was sent to the provider.
	Model string
	// Stream says that the client asked for a stream.
	Stream bool
}

// Head says what becomes of a response's headers.
type Head struct {
	// Status is for the client.
	Status int
	Set    []Header
	Remove []string
	// Buffered says that Body gives nothing before the end, and that its error may
	// change the status: the headers should be held back until then. Where that is not
	// possible, the body is still right and only the status is not.
	Buffered bool
}

// Exchange is one try of one request. Its methods are called in the order they are
// declared, Body repeatedly, and never from two goroutines at once.
type Exchange interface {
	Request() Request
	// Response is told the provider's status and headers. It frees the request: Request
	// has no body after it.
	Response(status int, headers Headers) Head
	// Body turns a chunk of the provider's body into what the client gets, which may be
	// nothing. It is valid until the next call. end marks the last chunk, which may be
	// empty. An error says that the response was a failure, that the provider's bytes
	// could not be read, or that they told of a failure inside a stream. out then already
	// tells the client so in its schema; the error is for logs, metrics and, with
	// Head.Buffered, the status. It is given once. What comes after it is swallowed.
	Body(chunk []byte, end bool) (out []byte, err *Error)
	// Usage is what is known so far. Known is false if nothing is.
	Usage() chat.Usage
	// AnsweredModel is the model that the provider says has answered, of at most 256
	// bytes; "" as long as it is not known, and for APIs whose answers do not tell. A
	// provider chose it.
	AnsweredModel() string
	// Close frees what is held when the exchange ends before its body's end. It may be
	// called at any time and more than once.
	Close()
}

// maxModel bounds the name of a model that a provider tells, in bytes.
const maxModel = 256

// toldModel is a model's name as a provider told it, if it is the first.
func toldModel(before, name string) string {
	if before != "" || len(name) <= maxModel {
		return cmp.Or(before, name)
	}
	return strings.ToValidUTF8(strings.Clone(name[:maxModel]), "")
}

// NewExchange prepares a try. clientPath is the path the client called, with or
// without a query; body is the client's whole body, which is not changed and must
// not change as long as the Exchange's Request is used. The error is for the client:
// 400 where the request is wrong, 404 where the path is no API that is known, 413, and 422
// where this backend cannot serve it although another might.
func NewExchange(clientPath string, clientHeaders Headers, body []byte, b Backend) (Exchange, *Error) {
	path, query, _ := strings.Cut(clientPath, "?")
	a, known := apiOf(path)
	if !known {
		if clientHeaders.Get("anthropic-version") != "" {
			a.client = anthropicClient{}
		}
		return nil, render(a.client, unknownPath(path))
	}
	c := &call{api: a, client: a.client, path: path, query: query, headers: clientHeaders, body: body, backend: b}
	x, err := c.exchange()
	if err != nil {
		return nil, render(a.client, err)
	}
	return x, nil
}
