package gemini

import (
	"encoding/json"

	"github.com/fairway-ai/fairway/aibackend/chat"
	"github.com/fairway-ai/fairway/aibackend/internal/jsonx"
)

type wireUsage struct {
	Prompt     int64 `json:"promptTokenCount"`
	ToolPrompt int64 `json:"toolUsePromptTokenCount"`
	Candidates int64 `json:"candidatesTokenCount"`
	Thoughts   int64 `json:"thoughtsTokenCount"`
	Cached     int64 `json:"cachedContentTokenCount"`
}

// counts turns them into ours. Gemini counts the cached tokens in the prompt, and the
// thoughts beside the answer.
func (w *wireUsage) counts() chat.Usage {
	if w == nil {
		return chat.Usage{}
	}
	return chat.Usage{
		Input: w.Prompt + w.ToolPrompt, Output: w.Candidates + w.Thoughts,
		Cached: w.Cached, Reasoning: w.Thoughts,
		Known: w.Prompt+w.Candidates > 0, // the first events of a stream have other counts only
	}
}

// Document parts stay as they came, so that a stream copies them.
type wirePart struct {
	Text         json.RawMessage `json:"text"`
	Thought      bool            `json:"thought"`
	Signature    json.RawMessage `json:"thoughtSignature"`
	FunctionCall *struct {
		ID   string          `json:"id"`
		Name string          `json:"name"`
		Args json.RawMessage `json:"args"`
	} `json:"functionCall"`
	InlineData json.RawMessage `json:"inlineData"`
}

type wireCandidate struct {
	Content *struct {
		Parts []wirePart `json:"parts"`
	} `json:"content"`
	FinishReason  string `json:"finishReason"`
	FinishMessage string `json:"finishMessage"`
}

type wireResponse struct {
	Candidates []wireCandidate `json:"candidates"`
	Feedback   *struct {
		BlockReason string `json:"blockReason"`
		Message     string `json:"blockReasonMessage"`
	} `json:"promptFeedback"`
	Usage *wireUsage      `json:"usageMetadata"`
	Model string          `json:"modelVersion"`
	ID    string          `json:"responseId"`
	Error json.RawMessage `json:"error"`
}

// blocked is why the prompt was refused, if it was.
func (w *wireResponse) blocked() (string, bool) {
	if w.Feedback == nil || w.Feedback.BlockReason == "" {
		return "", false
	}
	if w.Feedback.Message != "" {
		return w.Feedback.Message, true
	}
	return "the prompt was blocked: " + w.Feedback.BlockReason, true
}

func finishOf(reason, message string) (chat.Finish, *chat.Error) {
	switch reason {
	case "MAX_TOKENS":
		return chat.FinishLength, nil
	case "SAFETY", "RECITATION", "LANGUAGE", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "MODEL_ARMOR",
		"IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION":
		return chat.FinishFilter, nil
	case "MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "TOO_MANY_TOOL_CALLS":
		if message == "" {
			message = reason
		}
		e := chat.Malformed(provider, "the model wrote what is no call of a tool: %s", message)
		e.Type = reason
		return 0, e
	}
	return chat.FinishStop, nil
}

func noMedia() *chat.Error {
	return chat.Malformed(provider, "it holds media, for which chat has no place")
}

// ParseResponse reads a whole answer.
func ParseResponse(body []byte) (*chat.Response, *chat.Error) {
	var w wireResponse
	if err := json.Unmarshal(body, &w); err != nil {
		return nil, chat.Malformed(provider, "%v", err)
	}
	r := &chat.Response{ID: w.ID, Model: w.Model, Usage: w.Usage.counts()}
	for _, candidate := range w.Candidates {
		c, err := candidate.choice()
		if err != nil {
			return nil, err
		}
		r.Choices = append(r.Choices, c)
	}
	if len(r.Choices) == 0 {
		why, blocked := w.blocked()
		if !blocked {
			return nil, chat.Malformed(provider, "it has no candidates")
		}
		r.Choices = []chat.Choice{{Finish: chat.FinishFilter, Why: why}}
	}
	return r, nil
}

func (w *wireCandidate) choice() (c chat.Choice, err *chat.Error) {
	if w.Content != nil {
		for i := range w.Content.Parts {
			if err := addPart(&c, &w.Content.Parts[i]); err != nil {
				return c, err
			}
		}
	}
	c.Finish, err = finishOf(w.FinishReason, w.FinishMessage)
	if c.Finish == chat.FinishFilter {
		c.Why = w.FinishMessage
	}
	return c, err
}

// addPart adds a part. Pieces of one text are joined.
func addPart(c *chat.Choice, w *wirePart) *chat.Error {
	text, _ := jsonx.Unquote(w.Text)
	signature, _ := jsonx.Unquote(w.Signature)
	var p chat.Part
	switch {
	case w.InlineData != nil:
		return noMedia()
	case w.FunctionCall != nil:
		p = chat.Part{Kind: chat.ToolUse, ID: w.FunctionCall.ID, Name: w.FunctionCall.Name, Args: w.FunctionCall.Args, Signature: signature}
		if p.Args == nil {
			p.Args = json.RawMessage("{}")
		}
		if jsonx.KindOf(p.Args) != jsonx.Object {
			return chat.Malformed(provider, "the arguments of a call to %q are no JSON object", p.Name)
		}
	case w.Thought:
		p = chat.Part{Kind: chat.Thinks, Text: text}
		if signature != "" {
			p.Signature = chat.GeminiSignature + signature
		}
	default:
		p = chat.Part{Kind: chat.Text, Text: text}
	}
	if n := len(c.Parts); n > 0 && p.Kind != chat.ToolUse && c.Parts[n-1].Kind == p.Kind {
		last := &c.Parts[n-1]
		last.Text += p.Text
		if p.Signature != "" {
			last.Signature = p.Signature
		}
		return nil
	}
	if p.Kind != chat.Text || p.Text != "" {
		c.Parts = append(c.Parts, p)
	}
	return nil
}

// StreamReader reads a streamed answer, event by event.
type StreamReader struct {
	out chat.Emitter
	buf []byte
}

// NewStreamReader makes a reader that gives its events to sink. name is used where
// the provider gives no IDs, see chat.Emitter.
func NewStreamReader(sink chat.Sink, name string) *StreamReader {
	return &StreamReader{out: chat.Emitter{Sink: sink, Provider: provider, Name: name}}
}

// Event reads the data of one event.
func (s *StreamReader) Event(data []byte) {
	if len(data) == 0 || s.out.Done() {
		return
	}
	var w wireResponse
	if err := json.Unmarshal(data, &w); err != nil {
		s.out.Fail(chat.Malformed(provider, "%v", err))
		return
	}
	if w.Error != nil {
		e := ParseError(0, data)
		if e == nil {
			e = &chat.Error{Status: 500, Message: "the provider failed without saying why"}
		}
		s.out.Fail(e)
		return
	}
	s.out.Begin(w.ID, w.Model, w.Usage.counts())
	if u := w.Usage.counts(); u.Known {
		s.out.Count(u)
	}
	if len(w.Candidates) == 0 {
		if why, blocked := w.blocked(); blocked {
			s.out.Finish(chat.FinishFilter, "", why)
		}
		return
	}
	c := &w.Candidates[0]
	if c.Content != nil {
		for i := range c.Content.Parts {
			s.part(&c.Content.Parts[i])
		}
	}
	if c.FinishReason == "" {
		return
	}
	finish, err := finishOf(c.FinishReason, c.FinishMessage)
	if err != nil {
		s.out.Fail(err)
		return
	}
	why := ""
	if finish == chat.FinishFilter {
		why = c.FinishMessage
	}
	s.out.Finish(finish, "", why)
}

func (s *StreamReader) part(p *wirePart) {
	switch {
	case p.InlineData != nil:
		s.out.Fail(noMedia())
	case p.FunctionCall != nil:
		s.out.Open(chat.ToolUse, p.FunctionCall.ID, p.FunctionCall.Name, nil)
		s.out.Sign(chat.ToolUse, p.Signature)
		if p.FunctionCall.Args != nil {
			args := jsonx.AppendCompact(nil, p.FunctionCall.Args)
			s.buf = jsonx.AppendQuoted(s.buf[:0], args)
			s.out.Write(chat.ToolUse, s.buf)
		}
		s.out.Shut()
	case p.Thought:
		s.out.Write(chat.Thinks, p.Text)
		if sig, ok := jsonx.Unquote(p.Signature); ok {
			s.buf = jsonx.AppendString(s.buf[:0], chat.GeminiSignature+sig)
			s.out.Sign(chat.Thinks, s.buf)
		}
	default:
		s.out.Write(chat.Text, p.Text)
	}
}

// Close tells that the stream has ended. Vertex sends no end marker but the reason in
// the last event.
func (s *StreamReader) Close() { s.out.Close() }
