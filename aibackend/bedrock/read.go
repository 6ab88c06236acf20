package bedrock

import (
	"encoding/json"

	"github.com/fairway-ai/fairway/aibackend/chat"
	"github.com/fairway-ai/fairway/aibackend/internal/eventstream"
	"github.com/fairway-ai/fairway/aibackend/internal/fields"
	"github.com/fairway-ai/fairway/aibackend/internal/jsonx"
)

type wireUsage struct {
	Input   int64 `json:"inputTokens"`
	Output  int64 `json:"outputTokens"`
	Read    int64 `json:"cacheReadInputTokens"`
	Write   int64 `json:"cacheWriteInputTokens"`
	Details []struct {
		Input int64  `json:"inputTokens"`
		TTL   string `json:"ttl"`
	} `json:"cacheDetails"`
}

// counts turns them into ours. Converse counts the input without what was read from
// or written to the cache.
func (w *wireUsage) counts() chat.Usage {
	if w == nil {
		return chat.Usage{}
	}
	u := chat.Usage{
		Input: w.Input + w.Read + w.Write, Output: w.Output,
		Cached: w.Read, CacheWrite: w.Write, Known: true,
	}
	for _, d := range w.Details {
		if d.TTL == "1h" {
			u.CacheWriteHour += d.Input
		}
	}
	return u
}

type wireResponse struct {
	Output *struct {
		Message *struct {
			Content []struct {
				Text    string `json:"text"`
				ToolUse *struct {
					ID    string          `json:"toolUseId"`
					Name  string          `json:"name"`
					Input json.RawMessage `json:"input"`
				} `json:"toolUse"`
				Reasoning *struct {
					Text *struct {
						Text      string `json:"text"`
						Signature string `json:"signature"`
					} `json:"reasoningText"`
					Redacted string `json:"redactedContent"`
				} `json:"reasoningContent"`
				Citations *struct {
					Content []struct {
						Text string `json:"text"`
					} `json:"content"`
				} `json:"citationsContent"`
			} `json:"content"`
		} `json:"message"`
	} `json:"output"`
	StopReason string          `json:"stopReason"`
	Additional json.RawMessage `json:"additionalModelResponseFields"`
	Usage      *wireUsage      `json:"usage"`
}

// ParseResponse reads a whole answer.
func ParseResponse(body []byte) (*chat.Response, *chat.Error) {
	var w wireResponse
	if err := json.Unmarshal(body, &w); err != nil {
		return nil, chat.Malformed(provider, "%v", err)
	}
	if w.Output == nil || w.Output.Message == nil {
		return nil, chat.Malformed(provider, "it has no output.message")
	}
	var c chat.Choice
	for _, b := range w.Output.Message.Content {
		switch {
		case b.ToolUse != nil:
			if jsonx.KindOf(b.ToolUse.Input) != jsonx.Object {
				return nil, chat.Malformed(provider, "the input of a call to %q is no JSON object", b.ToolUse.Name)
			}
			c.Parts = append(c.Parts, chat.Part{Kind: chat.ToolUse, ID: b.ToolUse.ID, Name: b.ToolUse.Name, Args: b.ToolUse.Input})
		case b.Reasoning != nil && b.Reasoning.Text != nil:
			c.Parts = append(c.Parts, chat.Part{Kind: chat.Thinks, Text: b.Reasoning.Text.Text, Signature: b.Reasoning.Text.Signature})
		case b.Reasoning != nil:
			c.Parts = append(c.Parts, chat.Part{Kind: chat.Redacted, Signature: b.Reasoning.Redacted})
		case b.Citations != nil:
			p := chat.Part{}
			for _, t := range b.Citations.Content {
				p.Text += t.Text
			}
			c.Parts = append(c.Parts, p)
		case b.Text != "":
			c.Parts = append(c.Parts, chat.Part{Text: b.Text})
		}
	}
	var err *chat.Error
	if c.Finish, err = finishOf(w.StopReason); err != nil {
		return nil, err
	}
	c.StopSequence = stopSequence(w.Additional)
	return &chat.Response{Choices: []chat.Choice{c}, Usage: w.Usage.counts()}, nil
}

// stopSequence is in the model's own answer, of which the request asked for it.
func stopSequence(additional []byte) string {
	s, _ := jsonx.Unquote(fields.Member(additional, "stop_sequence"))
	return s
}

func finishOf(reason string) (chat.Finish, *chat.Error) {
	switch reason {
	case "max_tokens":
		return chat.FinishLength, nil
	case "stop_sequence":
		return chat.FinishStopSequence, nil
	case "tool_use":
		return chat.FinishToolUse, nil
	case "guardrail_intervened", "content_filtered":
		return chat.FinishFilter, nil
	case "model_context_window_exceeded":
		return chat.FinishContext, nil
	case "malformed_model_output", "malformed_tool_use":
		e := chat.Malformed(provider, "the model wrote what is no answer (%s)", reason)
		e.Type = reason
		return 0, e
	}
	return chat.FinishStop, nil
}

// StreamReader reads a streamed answer, frame by frame.
type StreamReader struct {
	out      chat.Emitter
	finished bool
}

// NewStreamReader makes a reader that gives its events to sink. name is used where
// the provider gives no IDs, and unwrap turns calls of chat.FormatTool into text; see
// chat.Emitter.
func NewStreamReader(sink chat.Sink, name string, unwrap bool) *StreamReader {
	return &StreamReader{out: chat.Emitter{Sink: sink, Provider: provider, Name: name, UnwrapFormat: unwrap}}
}

// delta is what counts of an event. All of it is parts of the frame.
type delta struct {
	text, input, thinking, signature, redacted []byte
	id, name                                   []byte
	stop, additional, usage                    []byte
	tool                                       bool
}

// member reads an event's member, and those of the unions inside.
func (d *delta) member(key, v []byte) error {
	switch string(key) {
	case "delta", "start":
		_, _ = jsonx.Each(v, d.member)
	case "toolUse":
		d.tool = true
		_, _ = jsonx.Each(v, d.member)
	case "reasoningContent":
		_, _ = jsonx.Each(v, d.reasoning)
	case "text":
		d.text = v
	case "input":
		d.input = v
	case "toolUseId":
		d.id = v
	case "name":
		d.name = v
	case "stopReason":
		d.stop = v
	case "additionalModelResponseFields":
		d.additional = v
	case "usage":
		d.usage = v
	}
	return nil
}

func (d *delta) reasoning(key, v []byte) error {
	switch string(key) {
	case "text":
		d.thinking = v
	case "signature":
		d.signature = v
	case "redactedContent":
		d.redacted = v
	}
	return nil
}

// Frame reads one frame. The error is the frame's, or says that it is broken; the
// stream is over then.
func (s *StreamReader) Frame(f eventstream.Frame) error {
	if string(f.Kind) != "event" {
		return ParseFailure(f)
	}
	if err := jsonx.Valid(f.Payload); err != nil {
		return err
	}
	var d delta
	if ok, _ := jsonx.Each(f.Payload, d.member); !ok {
		return chat.Malformed(provider, "an event is no JSON object")
	}
	switch string(f.Name) {
	case "messageStart":
		s.out.Begin("", "", chat.Usage{})
	case "contentBlockStart":
		if d.tool {
			id, _ := jsonx.Unquote(d.id)
			name, _ := jsonx.Unquote(d.name)
			s.out.Open(chat.ToolUse, id, name, nil)
		}
	case "contentBlockDelta":
		s.write(&d)
	case "contentBlockStop":
		s.out.Shut()
	case "messageStop":
		reason, _ := jsonx.Unquote(d.stop)
		finish, err := finishOf(reason)
		if err != nil {
			return err
		}
		s.out.Finish(finish, stopSequence(d.additional), "")
		s.finished = true
	case "metadata":
		var u *wireUsage
		if json.Unmarshal(d.usage, &u) == nil && u != nil {
			s.out.Count(u.counts())
		}
		if s.finished { // nothing comes after it
			s.out.Close()
		}
	}
	return nil
}

func (s *StreamReader) write(d *delta) {
	s.out.Begin("", "", chat.Usage{})
	s.out.Write(chat.Text, d.text)
	s.out.Write(chat.Thinks, d.thinking)
	s.out.Sign(chat.Thinks, d.signature)
	if len(d.redacted) > 2 {
		s.out.Open(chat.Redacted, "", "", d.redacted)
	}
	if jsonx.KindOf(d.input) == jsonx.String {
		s.out.Write(chat.ToolUse, d.input)
	}
}

// Close tells that the stream has ended.
func (s *StreamReader) Close() { s.out.Close() }
