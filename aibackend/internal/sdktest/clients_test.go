package sdktest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/anthropics/anthropic-sdk-go"
	anthropicoption "github.com/anthropics/anthropic-sdk-go/option"
	"github.com/google/go-cmp/cmp"
	"github.com/openai/openai-go/v3"
	openaioption "github.com/openai/openai-go/v3/option"

	"github.com/fairway-ai/fairway/aibackend/internal/transcript"
)

// canned answers every request with one response.
type canned struct {
	status int
	header http.Header
	body   []byte
}

func (c canned) Do(*http.Request) (*http.Response, error) {
	return &http.Response{
		StatusCode: c.status, Header: c.header,
		Body: io.NopCloser(bytes.NewReader(c.body)),
	}, nil
}

func (c canned) RoundTrip(q *http.Request) (*http.Response, error) {
	r, err := c.Do(q)
	r.Request = q
	return r, err
}

func cannedOf(r *transcript.Result, tr *transcript.Transcript) canned {
	c := canned{status: r.Status, header: tr.Out.Headers.Clone(), body: r.Body}
	if c.header == nil {
		c.header = http.Header{}
	}
	for _, name := range r.Removed {
		c.header.Del(name)
	}
	for _, h := range r.Headers {
		c.header.Set(h.Name, h.Value)
	}
	return c
}

// said is an answer as an SDK tells it.
type said struct {
	Text, Thinking, Signature, Redacted string
	Calls                               []string
	Finish                              string
	Input, Output, Cached               int64
}

// TestSDKsUnderstand gives what clients get to the official SDKs. They must raise an
// error exactly where there is one; and a stream must say what the same answer says
// when it is not streamed.
func TestSDKsUnderstand(t *testing.T) {
	plain := map[string]said{}
	var streamed []string
	answers := map[string]said{}
	for _, tr := range transcript.All(t, "../../testdata") {
		r := tr.Run(t)
		if r.Status == 0 {
			continue
		}
		t.Run(tr.File, func(t *testing.T) {
			stream := strings.Contains(tr.In.Body, `"stream": true`)
			var got said
			var err error
			if ask, known := others[otherOf(tr.In.Line)]; known {
				err = ask(cannedOf(&r, tr), stream)
				if (err != nil) != (r.Err != nil) {
					t.Fatalf("the SDK says %v where we say %v, to\n%s", err, r.Err, r.Body)
				}
				return
			}
			if strings.Contains(tr.In.Line, "/messages") {
				got, err = askAnthropic(cannedOf(&r, tr), stream)
			} else {
				got, err = askOpenAI(cannedOf(&r, tr), stream)
			}
			if (err != nil) != (r.Err != nil) {
				t.Fatalf("the SDK says %v where we say %v, to\n%s", err, r.Err, r.Body)
			}
			if err != nil {
				return
			}
			if b := new(bytes.Buffer); json.Compact(b, []byte(got.Text)) == nil {
				got.Text = b.String()
			}
			name := strings.TrimSuffix(tr.File, ".txt")
			answers[name] = got
			if base, ok := strings.CutSuffix(name, "-stream"); ok {
				streamed = append(streamed, base)
			} else {
				plain[name] = got
			}
		})
	}
	compared := 0
	for _, name := range streamed {
		whole, ok := plain[name]
		if !ok {
			continue
		}
		compared++
		got := answers[name+"-stream"]
		if got.Input == 0 { // not asked for
			got.Input, got.Output, got.Cached = whole.Input, whole.Output, whole.Cached
		}
		if !reflect.DeepEqual(whole, got) {
			t.Errorf("%s: (-whole +streamed)\n%s", name, cmp.Diff(whole, got))
		}
	}
	if compared < 50 {
		t.Errorf("only %d streams were compared", compared)
	}
}

func askOpenAI(c canned, stream bool) (s said, err error) {
	client := openai.NewClient(openaioption.WithAPIKey("k"), openaioption.WithMaxRetries(0),
		openaioption.WithHTTPClient(&http.Client{Transport: c}))
	params := openai.ChatCompletionNewParams{Model: "m", Messages: []openai.ChatCompletionMessageParamUnion{openai.UserMessage("x")}}
	var answer *openai.ChatCompletion
	raw := ""
	if stream {
		var acc openai.ChatCompletionAccumulator
		st := client.Chat.Completions.NewStreaming(context.Background(), params)
		for st.Next() {
			chunk := st.Current()
			if !acc.AddChunk(chunk) {
				return s, fmt.Errorf("the accumulator refused %s", chunk.RawJSON())
			}
			for _, ch := range chunk.Choices {
				s.addThinking(ch.Delta.RawJSON())
			}
		}
		if st.Err() != nil {
			return s, st.Err()
		}
		answer = &acc.ChatCompletion
	} else {
		if answer, err = client.Chat.Completions.New(context.Background(), params); err != nil {
			return s, err
		}
		raw = answer.Choices[0].Message.RawJSON()
		s.addThinking(raw)
	}
	if len(answer.Choices) == 0 {
		return s, fmt.Errorf("no choices")
	}
	m := answer.Choices[0].Message
	s.Text, s.Finish = m.Content+m.Refusal, answer.Choices[0].FinishReason
	for _, call := range m.ToolCalls {
		s.call(call.ID, call.Function.Name, call.Function.Arguments)
	}
	s.Input, s.Output, s.Cached = answer.Usage.PromptTokens, answer.Usage.CompletionTokens, answer.Usage.PromptTokensDetails.CachedTokens
	return s, nil
}

func (s *said) addThinking(raw string) {
	var w struct {
		Reasoning string `json:"reasoning_content"`
		Blocks    []struct{ Thinking, Signature, Data string }
		Wire      []struct{ Thinking, Signature, Data string } `json:"thinking_blocks"`
	}
	_ = json.Unmarshal([]byte(raw), &w)
	s.Thinking += w.Reasoning
	for _, b := range w.Wire {
		s.Signature += b.Signature
		s.Redacted += b.Data
	}
}

var generated = regexp.MustCompile("^call_[0-9a-f]{16}_[0-9]+$")

func (s *said) call(id, name, args string) {
	var v any
	if err := json.Unmarshal([]byte(args), &v); err != nil {
		v = err.Error()
	}
	back, _ := json.Marshal(v)
	if generated.MatchString(id) { // from a hash of the request
		id = "generated"
	}
	s.Calls = append(s.Calls, fmt.Sprintf("%s %s %s", id, name, back))
}

func askAnthropic(c canned, stream bool) (s said, err error) {
	client := anthropic.NewClient(anthropicoption.WithAPIKey("k"), anthropicoption.WithMaxRetries(0),
		anthropicoption.WithHTTPClient(&http.Client{Transport: c}))
	params := anthropic.MessageNewParams{Model: "m", MaxTokens: 1, Messages: []anthropic.MessageParam{anthropic.NewUserMessage(anthropic.NewTextBlock("x"))}}
	var m anthropic.Message
	if stream {
		st := client.Messages.NewStreaming(context.Background(), params)
		for st.Next() {
			if err := m.Accumulate(st.Current()); err != nil {
				return s, err
			}
		}
		if st.Err() != nil {
			return s, st.Err()
		}
	} else {
		p, err := client.Messages.New(context.Background(), params)
		if err != nil {
			return s, err
		}
		m = *p
	}
	for _, b := range m.Content {
		switch b.Type {
		case "text":
			s.Text += b.Text
		case "thinking":
			s.Thinking += b.Thinking
			s.Signature += b.Signature
		case "redacted_thinking":
			s.Redacted += b.Data
		case "tool_use":
			s.call(b.ID, b.Name, string(b.Input))
		}
	}
	s.Finish = string(m.StopReason)
	s.Input, s.Output, s.Cached = m.Usage.InputTokens, m.Usage.OutputTokens, m.Usage.CacheReadInputTokens
	return s, nil
}
