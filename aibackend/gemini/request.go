package gemini

import (
	"math"
	"strings"

	"github.com/fairway-ai/fairway/aibackend/chat"
	"github.com/fairway-ai/fairway/aibackend/internal/jsonx"
)

// Options say how a backend wants its requests.
type Options struct {
	// EffortAsBudget is for models that know no thinking level.
	EffortAsBudget bool
}

// AppendRequest writes a request for a provider. It notes in q what it drops.
func AppendRequest(dst []byte, q *chat.Request, o Options) ([]byte, *chat.Error) {
	switch {
	case q.N > 1 && q.Stream:
		return nil, q.Refuse(chat.FieldN, provider, "it streams one answer")
	case q.ParallelTools != nil && !*q.ParallelTools && len(q.Tools) > 0:
		return nil, q.Refuse(chat.FieldParallelTools, provider, "it cannot forbid parallel calls")
	}
	if q.User != "" {
		q.Drop(chat.FieldUser)
	}
	w := jsonx.Writer{B: dst}
	w.Open()
	if len(q.System) > 0 {
		w.OpenKey("systemInstruction")
		w.OpenArrayKey("parts")
		for i := range q.System {
			dropCache(q, &q.System[i])
			w.Open()
			w.String("text", q.System[i].Text)
			w.Close()
		}
		w.CloseArray()
		w.Close()
	}
	c := contents{Writer: &w, q: q, names: map[string]string{}}
	if err := c.append(); err != nil {
		return nil, err
	}
	appendTools(&w, q)
	appendConfig(&w, q, o)
	w.Close()
	return w.B, nil
}

func dropCache(q *chat.Request, p *chat.Part) {
	if p.Cache.On {
		q.Drop(chat.FieldCache)
	}
}

func appendTools(w *jsonx.Writer, q *chat.Request) {
	if len(q.Tools) == 0 {
		return
	}
	w.OpenArrayKey("tools")
	w.Open()
	w.OpenArrayKey("functionDeclarations")
	for i := range q.Tools {
		t := &q.Tools[i]
		w.Open()
		w.String("name", t.Name)
		w.Text("description", t.Description)
		if t.Schema != nil {
			w.Document("parametersJsonSchema", t.Schema)
		}
		w.Close()
		if t.Strict != nil && *t.Strict {
			q.DropNamed("tools.strict")
		}
		if t.Cache.On {
			q.Drop(chat.FieldCache)
		}
	}
	w.CloseArray()
	w.Close()
	w.CloseArray()
	mode := ""
	switch q.ToolChoice.Mode {
	case chat.ToolAuto:
		mode = "AUTO"
	case chat.ToolNone:
		mode = "NONE"
	case chat.ToolRequired, chat.ToolNamed:
		mode = "ANY"
	default:
		return
	}
	w.OpenKey("toolConfig")
	w.OpenKey("functionCallingConfig")
	w.String("mode", mode)
	if q.ToolChoice.Mode == chat.ToolNamed {
		w.Strings("allowedFunctionNames", []string{q.ToolChoice.Name})
	}
	w.Close()
	w.Close()
}

func appendConfig(w *jsonx.Writer, q *chat.Request, o Options) {
	start := len(w.B)
	w.OpenKey("generationConfig")
	empty := len(w.B)
	w.Float("temperature", q.Temperature)
	w.Float("topP", q.TopP)
	w.IntPtr("topK", q.TopK)
	if q.N > 1 {
		w.Int("candidateCount", q.N)
	}
	if q.MaxTokens > 0 {
		w.Int("maxOutputTokens", q.MaxTokens)
	}
	w.Strings("stopSequences", q.Stop)
	w.Float("presencePenalty", q.PresencePenalty)
	w.Float("frequencyPenalty", q.FrequencyPenalty)
	if s := q.Seed; s != nil && *s >= math.MinInt32 && *s <= math.MaxInt32 {
		w.Int("seed", *s)
	} else if s != nil {
		q.Drop(chat.FieldSeed)
	}
	if q.Format.Mode != chat.FormatText {
		w.String("responseMimeType", "application/json")
	}
	if q.Format.Mode == chat.FormatSchema {
		w.Document("responseJsonSchema", q.Format.Schema)
	}
	appendThinking(w, q, o)
	if len(w.B) == empty {
		w.B = w.B[:start]
		return
	}
	w.Close()
}

func appendThinking(w *jsonx.Writer, q *chat.Request, o Options) {
	t := q.Thinking
	if t.Effort == "none" {
		t = chat.Thinking{Mode: chat.ThinkingOff}
	}
	if t.Mode == chat.ThinkingDefault && t.Effort == "" {
		return
	}
	w.OpenKey("thinkingConfig")
	switch {
	case t.Mode == chat.ThinkingOff:
		w.Int("thinkingBudget", 0)
	case t.Mode == chat.ThinkingBudget:
		w.Int("thinkingBudget", t.Budget)
		if t.Effort != "" {
			q.Drop(chat.FieldEffort)
		}
	case t.Effort == "":
		w.Int("thinkingBudget", -1) // the model decides
	case o.EffortAsBudget:
		w.Int("thinkingBudget", chat.BudgetOf(t.Effort))
	default:
		if t.Effort == "xhigh" || t.Effort == "max" {
			q.DropNamed(q.Name(chat.FieldEffort) + " above high")
			t.Effort = "high"
		}
		w.String("thinkingLevel", strings.ToUpper(t.Effort))
	}
	if t.Mode != chat.ThinkingOff && t.Display != "omitted" {
		w.Bool("includeThoughts", true)
	}
	w.Close()
}
