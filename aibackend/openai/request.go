package openai

import (
	"fmt"

	"github.com/fairway-ai/fairway/aibackend/chat"
	"github.com/fairway-ai/fairway/aibackend/internal/jsonx"
)

// Options say in what a server differs from OpenAI's.
type Options struct {
	Model string
	// MaxTokens sends max_tokens in place of max_completion_tokens.
	MaxTokens bool
	// NoStreamOptions sends no stream_options.
	NoStreamOptions bool
}

// AppendRequest writes a request for a provider. It notes in q what it drops.
func AppendRequest(dst []byte, q *chat.Request, o Options) ([]byte, *chat.Error) {
	if last := q.Messages; len(last) > 0 {
		if m := &last[len(last)-1]; m.Role == chat.Assistant && m.Parts[len(m.Parts)-1].Kind == chat.Text {
			return nil, chat.Unsupported(fmt.Sprintf("messages[%d]", m.At), provider, "an answer cannot be begun by the client")
		}
	}
	w := jsonx.Writer{B: dst}
	w.Open()
	w.String("model", o.Model)
	w.OpenArrayKey("messages")
	if len(q.System) > 0 {
		w.Open()
		w.String("role", "system")
		if err := appendContent(&w, q, nil, q.System); err != nil {
			return nil, err
		}
		w.Close()
	}
	for i := range q.Messages {
		var err *chat.Error
		if m := &q.Messages[i]; m.Role == chat.Assistant {
			appendAssistant(&w, q, m)
		} else {
			err = appendUser(&w, q, m)
		}
		if err != nil {
			return nil, err
		}
	}
	w.CloseArray()
	appendTools(&w, q)
	appendFormat(&w, q.Format)
	appendParameters(&w, q, o)
	w.Close()
	return w.B, nil
}

// appendParameters writes what is a number or a word.
func appendParameters(w *jsonx.Writer, q *chat.Request, o Options) {
	if q.MaxTokens > 0 {
		key := "max_completion_tokens"
		if o.MaxTokens {
			key = "max_tokens"
		}
		w.Int(key, q.MaxTokens)
	}
	w.Float("temperature", q.Temperature)
	w.Float("top_p", q.TopP)
	if q.TopK != nil {
		q.Drop(chat.FieldTopK)
	}
	w.IntPtr("seed", q.Seed)
	w.Float("frequency_penalty", q.FrequencyPenalty)
	w.Float("presence_penalty", q.PresencePenalty)
	if q.N > 1 {
		w.Int("n", q.N)
	}
	w.Strings("stop", q.Stop)
	w.Text("user", q.User)
	w.Text("reasoning_effort", effort(q.Thinking))
	if q.Stream {
		w.Bool("stream", true)
		if !o.NoStreamOptions {
			w.OpenKey("stream_options")
			w.Bool("include_usage", true)
			w.Close()
		}
	}
}

// effort is a budget in OpenAI's words. Models that do not reason refuse the field,
// so it is only sent when reasoning was asked for.
func effort(t chat.Thinking) string {
	switch {
	case t.Mode == chat.ThinkingOff:
		return ""
	case t.Effort != "":
		return t.Effort
	case t.Mode != chat.ThinkingBudget:
		return ""
	case t.Budget <= 2048:
		return "low"
	case t.Budget <= 16384:
		return "medium"
	}
	return "high"
}

func appendTools(w *jsonx.Writer, q *chat.Request) {
	if len(q.Tools) > 0 {
		w.OpenArrayKey("tools")
		for i := range q.Tools {
			t := &q.Tools[i]
			w.Open()
			w.String("type", "function")
			w.OpenKey("function")
			w.String("name", t.Name)
			w.Text("description", t.Description)
			if t.Schema != nil {
				w.Document("parameters", t.Schema)
			}
			w.BoolPtr("strict", t.Strict)
			w.Close()
			w.Close()
			if t.Cache.On {
				q.Drop(chat.FieldCache)
			}
		}
		w.CloseArray()
		w.BoolPtr("parallel_tool_calls", q.ParallelTools)
	}
	switch q.ToolChoice.Mode {
	case chat.ToolAuto:
		w.String("tool_choice", "auto")
	case chat.ToolNone:
		w.String("tool_choice", "none")
	case chat.ToolRequired:
		w.String("tool_choice", "required")
	case chat.ToolNamed:
		w.OpenKey("tool_choice")
		w.String("type", "function")
		w.OpenKey("function")
		w.String("name", q.ToolChoice.Name)
		w.Close()
		w.Close()
	}
}

func appendFormat(w *jsonx.Writer, f chat.Format) {
	switch f.Mode {
	case chat.FormatJSON:
		w.OpenKey("response_format")
		w.String("type", "json_object")
		w.Close()
	case chat.FormatSchema:
		w.OpenKey("response_format")
		w.String("type", "json_schema")
		w.OpenKey("json_schema")
		if f.Name == "" {
			f.Name = "answer"
		}
		w.String("name", f.Name)
		w.Text("description", f.Description)
		w.Document("schema", f.Schema)
		w.Bool("strict", f.Strict == nil || *f.Strict)
		w.Close()
		w.Close()
	}
}
