package anthropic

import (
	"github.com/fairway-ai/fairway/aibackend/chat"
	"github.com/fairway-ai/fairway/aibackend/internal/jsonx"
)

const provider = "the Anthropic backend"

// Variant is where the schema is spoken.
type Variant uint8

// The variants.
const (
	Direct Variant = iota
	AWS            // InvokeModel: model and stream are in the path
	GCP            // rawPredict: the model is in the path
)

// Version is the usual anthropic_version of a variant, which Direct has in a header.
func (v Variant) Version() string {
	return [...]string{Direct: "2023-06-01", AWS: "bedrock-2023-05-31", GCP: "vertex-2023-10-16"}[v]
}

// Options say how a backend wants its requests.
type Options struct {
	Variant Variant
	Model   string
	Version string
	// MaxTokens is sent when the client gave no bound.
	MaxTokens int64
	// EffortAsBudget and FormatByTool are for older models, see aibackend.Backend.
	EffortAsBudget bool
	FormatByTool   bool
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
	switch o.Variant {
	case AWS, GCP:
		w.String("anthropic_version", o.Version)
	default:
		w.String("model", o.Model)
	}
	thinking, maxTokens := q.Plan(o.EffortAsBudget, o.MaxTokens)
	w.Int("max_tokens", maxTokens)
	if len(q.System) > 0 {
		w.OpenArrayKey("system")
		for i := range q.System {
			appendText(&w, &q.System[i])
		}
		w.CloseArray()
	}
	if err := appendMessages(&w, q); err != nil {
		return nil, err
	}
	if err := appendTools(&w, q, o); err != nil {
		return nil, err
	}
	AppendThinking(&w, thinking)
	appendOutput(&w, q, o, thinking)
	appendSampling(&w, q)
	w.Strings("stop_sequences", q.Stop)
	if q.User != "" {
		w.OpenKey("metadata")
		w.String("user_id", q.User)
		w.Close()
	}
	if q.Stream && o.Variant != AWS {
		w.Bool("stream", true)
	}
	w.Close()
	return w.B, nil
}

// AppendThinking writes the thinking member. Bedrock takes it too.
func AppendThinking(w *jsonx.Writer, t chat.Thinking) {
	if t.Mode == chat.ThinkingDefault {
		return
	}
	w.OpenKey("thinking")
	switch t.Mode {
	case chat.ThinkingOff:
		w.String("type", "disabled")
	case chat.ThinkingBudget:
		w.String("type", "enabled")
		w.Int("budget_tokens", t.Budget)
		w.Text("display", t.Display)
	case chat.ThinkingAdaptive:
		w.String("type", "adaptive")
		w.Text("display", t.Display)
	}
	w.Close()
}

func appendOutput(w *jsonx.Writer, q *chat.Request, o Options, t chat.Thinking) {
	schema := q.Format.Mode == chat.FormatSchema && !o.ByTool(q.Format)
	if t.Effort == "" && !schema {
		return
	}
	w.OpenKey("output_config")
	w.Text("effort", t.Effort)
	if schema {
		w.OpenKey("format")
		w.String("type", "json_schema")
		w.Document("schema", q.Format.Schema)
		w.Close()
	}
	w.Close()
}

func appendSampling(w *jsonx.Writer, q *chat.Request) {
	if t := q.Temperature; t != nil && *t > 1 {
		q.DropNamed(q.Name(chat.FieldTemperature) + " above 1")
		one := 1.0
		w.Float("temperature", &one)
	} else {
		w.Float("temperature", t)
	}
	w.Float("top_p", q.TopP)
	w.IntPtr("top_k", q.TopK)
	if q.Seed != nil {
		q.Drop(chat.FieldSeed)
	}
	if p := q.FrequencyPenalty; p != nil && *p != 0 {
		q.Drop(chat.FieldFrequencyPenalty)
	}
	if p := q.PresencePenalty; p != nil && *p != 0 {
		q.Drop(chat.FieldPresencePenalty)
	}
}

var emptySchema = []byte(`{"type":"object","properties":{}}`)

// Schema is the JSON Schema of a tool's input, which must say that it is an object.
func Schema(t *chat.Tool) []byte {
	if t.Schema == nil {
		return emptySchema
	}
	s, err := jsonx.Apply(t.Schema, []jsonx.Edit{{Key: "type", Value: []byte(`"object"`), Keep: true}})
	if err != nil {
		return t.Schema
	}
	return s
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
	w.OpenArrayKey("tools")
	for i := range q.Tools {
		t := &q.Tools[i]
		w.Open()
		w.String("name", t.Name)
		w.Text("description", t.Description)
		w.Document("input_schema", Schema(t))
		if t.Strict != nil && *t.Strict {
			w.Bool("strict", true)
		}
		appendCache(w, t.Cache)
		w.Close()
	}
	w.CloseArray()
	AppendToolChoice(w, q)
	return nil
}

func appendFormatTool(w *jsonx.Writer, f chat.Format) {
	w.OpenArrayKey("tools")
	w.Open()
	w.String("name", chat.FormatTool)
	w.String("description", f.ToolDescription())
	if f.Schema == nil {
		w.Raw("input_schema", []byte(`{"type":"object","additionalProperties":true}`))
	} else {
		w.Document("input_schema", Schema(&chat.Tool{Schema: f.Schema}))
	}
	w.Close()
	w.CloseArray()
	w.OpenKey("tool_choice")
	w.String("type", "tool")
	w.String("name", chat.FormatTool)
	w.Close()
}

// AppendToolChoice writes the tool_choice member. Bedrock takes it too, for what Converse
// has no words for.
func AppendToolChoice(w *jsonx.Writer, q *chat.Request) {
	single := q.ParallelTools != nil && !*q.ParallelTools
	kind := ""
	switch q.ToolChoice.Mode {
	case chat.ToolAuto:
		kind = "auto"
	case chat.ToolNone:
		kind, single = "none", false
	case chat.ToolRequired:
		kind = "any"
	case chat.ToolNamed:
		kind = "tool"
	default:
		if !single {
			return
		}
		kind = "auto"
	}
	w.OpenKey("tool_choice")
	w.String("type", kind)
	w.Text("name", q.ToolChoice.Name)
	if single {
		w.Bool("disable_parallel_tool_use", true)
	}
	w.Close()
}
