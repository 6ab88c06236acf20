package cohere

import (
	"cmp"
	"encoding/json"

	"github.com/fairway-ai/fairway/aibackend/chat"
)

// ParseUsage reads the member meta of an answer, or the member usage of a server that
// has Cohere's rerank API and counts as OpenAI does. It is zero for anything else.
func ParseUsage(v []byte) (u chat.Usage) {
	var w *struct {
		Billed struct {
			Input  json.Number `json:"input_tokens"`
			Output json.Number `json:"output_tokens"`
			Search json.Number `json:"search_units"`
		} `json:"billed_units"`
		Tokens struct {
			Input  json.Number `json:"input_tokens"`
			Output json.Number `json:"output_tokens"`
		} `json:"tokens"`
		Prompt json.Number `json:"prompt_tokens"`
		Total  json.Number `json:"total_tokens"`
	}
	if json.Unmarshal(v, &w) != nil || w == nil {
		return u
	}
	input := cmp.Or(w.Billed.Input, w.Tokens.Input, w.Prompt, w.Total)
	output := cmp.Or(w.Billed.Output, w.Tokens.Output)
	u.Input, u.Output, u.SearchUnits = whole(input), whole(output), whole(w.Billed.Search)
	u.Known = input != "" || output != "" || w.Billed.Search != ""
	return u
}

// whole is a count, which some of Cohere's answers write as 5.0.
func whole(n json.Number) int64 {
	f, err := n.Float64()
	if err != nil || f < 0 || f > 1<<53 {
		return 0
	}
	return int64(f)
}
