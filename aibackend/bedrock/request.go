package bedrock

import (
	"strings"

	"github.com/fairway-ai/fairway/aibackend/anthropic"
	"github.com/fairway-ai/fairway/aibackend/chat"
	"github.com/fairway-ai/fairway/aibackend/internal/jsonx"
)

// Options say how a backend wants its requests.
type Options struct {
	// Model is in the path; here it tells what the model understands.
	Model string
	// MaxTokens is sent when reasoning needs a bound and the client gave none.
	MaxTokens int64
	// EffortAsBudget and FormatByTool are for older models, see aibackend.Backend.
	EffortAsBudget bool
	FormatByTool   bool
}

func (o Options) claude() bool {
	return strings.Contains(o.Model, "anthropic") || strings.Contains(o.Model, "claude")
}

// ByTool reports whether structured output is asked for by a tool.
func (o Options) ByTool(f chat.Format) bool {
	return f.ByTool(o.FormatByTool)
}

// AppendRequest writes a request for a provider. It notes in q what it drops.
func AppendRequest(dst []byte, q *chat.Request, o Options) ([]byte, *chat.Error) {
	if q.N > 1 {
		return nil, q.Refuse(chat.FieldN, provider, "it gives one answer")
	}
	w := jsonx.Writer{B: dst}
	w.Open()
	if len(q.System) > 0 {
		w.OpenArrayKey("system")
		for i := range q.System {
			appendText(&w, q.System[i].Text)
			appendCache(&w, q.System[i].Cache)
		}
		w.CloseArray()
	}
	if err := appendMessages(&w, q); err != nil {
		return nil, err
	}
	thinking, bound := q.Plan(o.EffortAsBudget, o.MaxTokens)
	appendInference(&w, q, thinking, bound)
	if err := appendTools(&w, q, o); err != nil {
		return nil, err
	}
	appendAdditional(&w, q, o, thinking)
	appendOutput(&w, q, o, thinking)
	w.Close()
	drop(q, o)
	return w.B, nil
}

func drop(q *chat.Request, o Options) {
	if q.Seed != nil {
		q.Drop(chat.FieldSeed)
	}
	if p := q.FrequencyPenalty; p != nil && *p != 0 {
		q.Drop(chat.FieldFrequencyPenalty)
	}
	if p := q.PresencePenalty; p != nil && *p != 0 {
		q.Drop(chat.FieldPresencePenalty)
	}
	if q.User != "" {
		q.Drop(chat.FieldUser)
	}
	if q.TopK != nil && !o.claude() {
		q.Drop(chat.FieldTopK)
	}
}

func appendInference(w *jsonx.Writer, q *chat.Request, t chat.Thinking, bound int64) {
	if q.MaxTokens == 0 && t.Mode != chat.ThinkingBudget {
		bound = 0 // the model's own
	}
	if bound == 0 && q.Temperature == nil && q.TopP == nil && len(q.Stop) == 0 {
		return
	}
	w.OpenKey("inferenceConfig")
	if bound > 0 {
		w.Int("maxTokens", bound)
	}
	if t := q.Temperature; t != nil && *t > 1 {
		q.DropNamed(q.Name(chat.FieldTemperature) + " above 1")
		one := 1.0
		w.Float("temperature", &one)
	} else {
		w.Float("temperature", t)
	}
	w.Float("topP", q.TopP)
	w.Strings("stopSequences", q.Stop)
	w.Close()
}

func hasCalls(q *chat.Request) bool {
	for _, m := range q.Messages {
		for _, p := range m.Parts {
			if p.Kind == chat.ToolUse || p.Kind == chat.ToolResult {
				return true
			}
		}
	}
	return false
}

func appendTools(w *jsonx.Writer, q *chat.Request, o Options) *chat.Error {
	if o.ByTool(q.Format) {
		if err := q.CheckFormatTool(provider); err != nil {
			return err
		}
		appendFormatTool(w, q.Format)
		return nil
	}
	if len(q.Tools) == 0 {
		return nil
	}
	if q.ToolChoice.Mode == chat.ToolNone {
		if hasCalls(q) {
			return q.Refuse(chat.FieldToolChoice, provider, "after calls of tools, it cannot forbid more of them")
		}
		return nil
	}
	if q.ParallelTools != nil && !*q.ParallelTools && !o.claude() {
		return q.Refuse(chat.FieldParallelTools, provider, "it cannot forbid parallel calls")
	}
	w.OpenKey("toolConfig")
	w.OpenArrayKey("tools")
	for i := range q.Tools {
		t := &q.Tools[i]
		w.Open()
		w.OpenKey("toolSpec")
		w.String("name", t.Name)
		w.Text("description", t.Description)
		w.OpenKey("inputSchema")
		w.Document("json", anthropic.Schema(t))
		w.Close()
		if t.Strict != nil && *t.Strict {
			w.Bool("strict", true)
		}
		w.Close()
		w.Close()
		appendCache(w, t.Cache)
	}
	w.CloseArray()
	switch q.ToolChoice.Mode {
	case chat.ToolAuto:
		choice(w, "auto", "")
	case chat.ToolRequired:
		choice(w, "any", "")
	case chat.ToolNamed:
		choice(w, "tool", q.ToolChoice.Name)
	}
	w.Close()
	return nil
}

func choice(w *jsonx.Writer, kind, name string) {
	w.OpenKey("toolChoice")
	w.OpenKey(kind)
	w.Text("name", name)
	w.Close()
	w.Close()
}

func appendFormatTool(w *jsonx.Writer, f chat.Format) {
	w.OpenKey("toolConfig")
	w.OpenArrayKey("tools")
	w.Open()
	w.OpenKey("toolSpec")
	w.String("name", chat.FormatTool)
	w.String("description", f.ToolDescription())
	w.OpenKey("inputSchema")
	if f.Schema == nil {
		w.Raw("json", []byte(`{"type":"object","additionalProperties":true}`))
	} else {
		w.Document("json", anthropic.Schema(&chat.Tool{Schema: f.Schema}))
	}
	w.Close()
	w.Close()
	w.Close()
	w.CloseArray()
	choice(w, "tool", chat.FormatTool)
	w.Close()
}

// appendAdditional writes what only Claude models understand.
func appendAdditional(w *jsonx.Writer, q *chat.Request, o Options, t chat.Thinking) {
	topK := q.TopK != nil && o.claude()
	single := q.ParallelTools != nil && !*q.ParallelTools && len(q.Tools) > 0 && q.ToolChoice.Mode != chat.ToolNone
	thinks := t.Mode != chat.ThinkingDefault && (o.claude() || t.Mode == chat.ThinkingBudget)
	if topK || single || thinks {
		w.OpenKey("additionalModelRequestFields")
		if topK {
			w.Int("top_k", *q.TopK)
		}
		if thinks {
			anthropic.AppendThinking(w, t)
		}
		if single {
			anthropic.AppendToolChoice(w, q)
		}
		w.Close()
	}
	if len(q.Stop) > 0 && o.claude() {
		w.Strings("additionalModelResponseFieldPaths", []string{"/stop_sequence"})
	}
}

func appendOutput(w *jsonx.Writer, q *chat.Request, o Options, t chat.Thinking) {
	schema := q.Format.Mode == chat.FormatSchema && !o.ByTool(q.Format)
	if t.Effort == "" && !schema {
		return
	}
	w.OpenKey("outputConfig")
	w.Text("effort", t.Effort)
	if schema {
		w.OpenKey("textFormat")
		w.String("type", "json_schema")
		w.OpenKey("structure")
		w.OpenKey("jsonSchema")
		w.Text("name", q.Format.Name)
		w.Text("description", q.Format.Description)
		w.Quote("schema", jsonx.AppendCompact(nil, q.Format.Schema))
		w.Close()
		w.Close()
		w.Close()
	}
	w.Close()
}
