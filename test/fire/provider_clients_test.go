package fire

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/anthropics/anthropic-sdk-go"
	anthropicoption "github.com/anthropics/anthropic-sdk-go/option"
	"github.com/openai/openai-go/v3"
	openaioption "github.com/openai/openai-go/v3/option"
)

// asked is what a client asks: in which API, of which model, streamed or not.
type asked struct {
	path, model string
	stream      bool
	act         string
	text        string // of the prompt
	header      []string
}

func (q asked) String() string {
	how := "whole"
	if q.stream {
		how = "streamed"
	}
	return fmt.Sprintf("%s %s of %s: %s", q.path, how, q.model, q.act)
}

// heard is what came of it: what the vendor's own client library made of the answer, and
// the bytes that it read.
type heard struct {
	status int
	header http.Header
	raw    bytes.Buffer
	// cut is why the answer could not be read to its end, nil when it could.
	cut error
	// text is what the model said, failed why the library takes the answer for a failure.
	text   string
	failed error
}

// RoundTrip notes the answer on its way to the library.
func (h *heard) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		h.cut = err
		return nil, err
	}
	h.status, h.header = resp.StatusCode, resp.Header
	resp.Body = struct {
		io.Reader
		io.Closer
	}{&noted{resp.Body, h}, resp.Body}
	return resp, nil
}

type noted struct {
	io.Reader
	h *heard
}

func (n *noted) Read(p []byte) (int, error) {
	k, err := n.Reader.Read(p)
	if n.h.raw.Len() < 1<<20 {
		n.h.raw.Write(p[:k])
	}
	if err != nil && err != io.EOF {
		n.h.cut = err
	}
	return k, err
}

// hear asks through the vendor's client library.
func (p *program) hear(ctx context.Context, q asked) *heard {
	h := &heard{}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if q.text == "" {
		q.text = "hello"
	}
	if q.path == messages {
		h.anthropic(ctx, p.url, q)
	} else {
		h.openAI(ctx, p.url, q)
	}
	if ctx.Err() != nil && h.cut == nil {
		h.cut = fmt.Errorf("it hangs: %w", ctx.Err())
	}
	return h
}

func (h *heard) openAI(ctx context.Context, url string, q asked) {
	o := []openaioption.RequestOption{
		openaioption.WithBaseURL(url + "/v1"), openaioption.WithAPIKey(clientsSecret), openaioption.WithMaxRetries(0),
		openaioption.WithHTTPClient(&http.Client{Transport: h}), openaioption.WithHeader(actHeader, q.act),
	}
	for i := 0; i+1 < len(q.header); i += 2 {
		o = append(o, openaioption.WithHeader(q.header[i], q.header[i+1]))
	}
	client := openai.NewClient(o...)
	params := openai.ChatCompletionNewParams{Model: q.model, Messages: []openai.ChatCompletionMessageParamUnion{openai.UserMessage(q.text)}}
	if q.stream {
		st := client.Chat.Completions.NewStreaming(ctx, params)
		for st.Next() {
			for _, c := range st.Current().Choices {
				h.text += c.Delta.Content
			}
		}
		h.failed = st.Err()
		return
	}
	answer, err := client.Chat.Completions.New(ctx, params)
	if h.failed = err; err == nil && len(answer.Choices) > 0 {
		h.text = answer.Choices[0].Message.Content
	}
}

func (h *heard) anthropic(ctx context.Context, url string, q asked) {
	o := []anthropicoption.RequestOption{
		anthropicoption.WithBaseURL(url), anthropicoption.WithAPIKey(clientsSecret), anthropicoption.WithMaxRetries(0),
		anthropicoption.WithHTTPClient(&http.Client{Transport: h}), anthropicoption.WithHeader(actHeader, q.act),
	}
	for i := 0; i+1 < len(q.header); i += 2 {
		o = append(o, anthropicoption.WithHeader(q.header[i], q.header[i+1]))
	}
	client := anthropic.NewClient(o...)
	params := anthropic.MessageNewParams{
		Model: anthropic.Model(q.model), MaxTokens: 50,
		Messages: []anthropic.MessageParam{anthropic.NewUserMessage(anthropic.NewTextBlock(q.text))},
	}
	if q.stream {
		st := client.Messages.NewStreaming(ctx, params)
		for st.Next() {
			h.text += st.Current().Delta.Text
		}
		h.failed = st.Err()
		return
	}
	answer, err := client.Messages.New(ctx, params)
	if h.failed = err; err == nil && len(answer.Content) > 0 {
		h.text = answer.Content[0].Text
	}
}

// What an exchange may come to, as a client sees it.
const (
	answered = "an answer"      // whole and right
	refused  = "an error"       // an HTTP status and an error in the client's schema
	told     = "an error event" // in the client's schema, inside of a stream that does not end well
	cut      = "a broken connection"
	// What passes unseen because the provider speaks the client's API:
	unreadable = "an answer that the library refuses"
	encoded    = "an answer in an encoding that nobody asked for"
	own        = "the provider's own words"
)

// verdict is which of them it was; anything else is what a client must never see.
func (h *heard) verdict(q asked) string {
	raw := h.raw.String()
	end := "data: [DONE]"
	if q.path == messages {
		end = "event: message_stop"
	}
	ended := q.stream && strings.Contains(raw, end)
	switch {
	case h.cut != nil && strings.Contains(h.cut.Error(), "deadline"):
		return fmt.Sprintf("hangs after %q", raw)
	case h.failed == nil && h.status == 200 && (h.text == "Hello" || h.text == "piece 0 piece 1 ") && (ended || !q.stream):
		return answered
	case h.status == 200 && h.header.Get("content-encoding") == "br":
		return encoded
	case h.failed == nil && h.status == 200 && strings.Contains(raw, onFire) && !q.stream:
		return own
	case h.failed == nil:
		return fmt.Sprintf("silently wrong: status %d, text %q: %.3000q", h.status, h.text, raw)
	case ended:
		return fmt.Sprintf("fails and ends well: %q", raw)
	case h.cut != nil:
		return cut
	case h.status >= 400:
		if err := errorOf(h, q); err != nil {
			return fmt.Sprintf("status %d, not an error of the API's: %v: %.300q", h.status, err, raw)
		}
		return refused
	}
	return h.toldBy(q)
}

// errorOf checks a whole answer that is an error.
func errorOf(h *heard, q asked) error {
	if ct := h.header.Get("content-type"); !strings.HasPrefix(ct, "application/json") {
		return fmt.Errorf("its content-type is %q", ct)
	}
	return errorIn(h.raw.Bytes(), q)
}

// errorIn checks an error object of the API's.
func errorIn(text []byte, q asked) error {
	var e struct {
		Type  string
		Error *struct{ Type, Message string }
	}
	switch err := json.Unmarshal(text, &e); {
	case err != nil:
		return err
	case e.Error == nil || e.Error.Type == "" || e.Error.Message == "" || (e.Type == "error") != (q.path == messages):
		return fmt.Errorf("not in the API's schema")
	}
	return nil
}

// toldBy checks the last event of a stream that failed.
func (h *heard) toldBy(q asked) string {
	events := strings.Split(strings.TrimRight(h.raw.String(), "\n"), "\n\n")
	last := events[len(events)-1]
	_, data, found := strings.Cut("\n"+last, "\ndata: ")
	if !q.stream && h.status == 200 {
		return unreadable
	}
	if !found {
		return fmt.Sprintf("status %d, fails without a word: %.300q", h.status, h.raw.String())
	}
	if err := errorIn([]byte(data), q); err != nil {
		return fmt.Sprintf("the last event is no error of the API's: %v: %q", err, last)
	}
	return told
}

// want checks that an exchange came to one of the outcomes that are allowed.
func (h *heard) want(t *testing.T, q asked, allowed ...string) {
	t.Helper()
	got := h.verdict(q)
	for _, a := range allowed {
		if got == a {
			return
		}
	}
	t.Errorf("%v: got %s, want %s (the library says: %v)", q, got, strings.Join(allowed, " or "), h.failed)
}
