package aibackend

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/fairway-ai/fairway/aibackend/chat"
	"github.com/fairway-ai/fairway/aibackend/internal/fields"
	"github.com/fairway-ai/fairway/aibackend/internal/jsonx"
	"github.com/fairway-ai/fairway/internal/forms"
)

// maxName bounds a model's name in bytes, because it may go into a path.
const maxName = 512

// call is a request on its way to becoming an Exchange.
type call struct {
	api     api
	client  client
	path    string // without its query
	query   string
	headers Headers
	body    []byte
	backend Backend

	model  string
	stream bool
	form   *form // nil for JSON
}

func (c *call) exchange() (Exchange, *chat.Error) {
	p, err := c.api.providerFor(c.backend)
	if err != nil {
		return nil, err
	}
	if err := c.peek(); err != nil {
		return nil, err
	}
	if from := c.api.turnFor(c.backend.Schema); from != nil {
		return newTurned(c, p, from)
	}
	if p.speaks(c.client) {
		return newPassthrough(c, p)
	}
	return newTranslation(c, p)
}

// peek reads what is needed of every body: the model and whether to stream.
func (c *call) peek() *chat.Error {
	read := c.peekJSON
	if c.api.form && forms.Is(c.headers.Get("content-type")) {
		read = c.peekForm
	}
	if err := read(); err != nil {
		return err
	}
	if c.backend.Model != "" {
		c.model = c.backend.Model
	}
	return c.checkModel()
}

func (c *call) peekJSON() *chat.Error {
	if err := jsonx.Valid(c.body); err != nil {
		return &chat.Error{
			Status: http.StatusBadRequest, Code: "invalid_json",
			Message: fmt.Sprintf("the request body is not valid JSON: %v", err),
		}
	}
	var r fields.Reader
	r.Each(c.body, func(key, v []byte) {
		switch string(key) {
		case "model":
			c.model = r.String(v)
		case "stream":
			c.stream = r.Bool(v)
		}
	})
	return r.Err
}

func (c *call) checkModel() *chat.Error {
	switch {
	case c.model == "" && c.api.modelOptional && c.backend.Schema == OpenAI: // Azure finds a deployment by it
	case c.model == "":
		return chat.Invalid("model", "must be given")
	case c.model == "." || c.model == "..": // it may go into a path
		return chat.Invalid("model", "must be a name")
	case len(c.model) > maxName:
		return chat.Invalid("model", "is longer than %d bytes", maxName)
	}
	return nil
}

// clientCredentials are the headers in which clients send keys. None of them may
// reach a provider that did not issue it.
var clientCredentials = [...]string{"authorization", "x-api-key", "api-key", "x-goog-api-key"}

// request is what all exchanges have in common.
func (c *call) request(p provider, same bool) Request {
	r := Request{
		Method: http.MethodPost,
		Path:   p.path(c, same),
		Model:  c.model,
		Stream: c.stream,
	}
	r.RemoveHeaders = append(r.RemoveHeaders, clientCredentials[:]...)
	r.RemoveHeaders = append(r.RemoveHeaders, "content-length", "accept-encoding")
	if c.api.chat { // else the answer may be of any type, and is the client's to choose
		r.RemoveHeaders = append(r.RemoveHeaders, "accept")
	}
	contentType := "application/json"
	if c.form != nil {
		contentType = c.form.contentType
	}
	r.Headers = append(r.Headers, Header{"content-type", contentType})
	return r
}

// buffer is for a translated body, which is seldom much larger than the client's.
func (c *call) buffer() []byte { return make([]byte, 0, len(c.body)+len(c.body)/8+512) }

// forget frees what is not needed once the provider answers: streams last long, and
// there are many of them.
func (c *call) forget() { c.body, c.headers = nil, nil }

// meta is what an answer needs besides the provider's body.
type meta struct {
	// created is in seconds since 1970, from the provider's date header; 0 if unknown.
	created int64
	// id names an answer that has no name of its own.
	id string
	// requestID is the provider's.
	requestID string
	// errorName is AWS's name of an error.
	errorName string
	// counted is what AWS counted where the body does not tell it.
	counted chat.Usage
}

var requestIDHeaders = [...]string{"x-request-id", "request-id", "x-amzn-requestid", "apim-request-id", "x-ms-request-id"}

func metaOf(h Headers, digest uint64) meta {
	m := meta{errorName: h.Get("x-amzn-errortype")}
	for _, name := range requestIDHeaders {
		if v := h.Get(name); v != "" {
			m.requestID = clip(v, 256)
			break
		}
	}
	if n, err := strconv.ParseInt(h.Get("x-amzn-bedrock-input-token-count"), 10, 64); err == nil && n >= 0 {
		m.counted = chat.Usage{Input: n, Known: true}
	}
	if t, err := time.Parse(http.TimeFormat, h.Get("date")); err == nil {
		m.created = t.Unix()
	}
	m.id = strings.Map(func(r rune) rune {
		if r == '-' || r == '_' || '0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' {
			return r
		}
		return -1
	}, m.requestID)
	if m.id == "" {
		m.id = fmt.Sprintf("%016x", digest)
	}
	return m
}

func mediaType(h Headers) string {
	t, _, _ := strings.Cut(h.Get("content-type"), ";")
	return strings.ToLower(strings.TrimSpace(t))
}
