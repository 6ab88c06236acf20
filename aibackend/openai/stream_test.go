package openai

import (
	"strings"
	"testing"

	"github.com/fairway-ai/fairway/aibackend/chat"
)

func read(events ...string) string {
	var b strings.Builder
	r := NewStreamReader(func(e *chat.Event) {
		switch e.Kind {
		case chat.PartStart:
			b.WriteString("[" + e.Part.String() + " " + e.CallID + " " + e.Name)
		case chat.Delta:
			b.WriteString(string(e.Text))
		case chat.PartStop:
			b.WriteString("]")
		case chat.Ended:
			b.WriteString(" end")
		case chat.Failed:
			b.WriteString(" failed: " + e.Err.Message)
		}
	}, "n")
	for _, e := range events {
		r.Event([]byte(e))
	}
	r.Close()
	return b.String()
}

func call(s string) string {
	return `{"choices":[{"index":0,"delta":{"tool_calls":[` + s + `]}}]}`
}

func TestCallsInStreams(t *testing.T) {
	const end = `{"choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}]}`
	for _, tc := range []struct {
		name   string
		events []string
		want   string
	}{
		{"whole calls without an index", []string{call(`{"id":"a","function":{"name":"f","arguments":"{}"}},{"id":"b","function":{"name":"g","arguments":"{}"}}`), end},
			`[tool_use a f"{}"][tool_use b g"{}"] end`},
		{"no ID", []string{call(`{"index":0,"function":{"name":"f","arguments":"{\"a\":1}"}}`), end}, `[tool_use call_n_1 f"{\"a\":1}"] end`},
		{"no arguments", []string{call(`{"index":0,"id":"a","function":{"name":"f"}}`), end}, `[tool_use a f"{}"] end`},
		{"no name", []string{call(`{"index":0,"id":"a","function":{"arguments":"{}"}}`), end}, ` failed: the answer of the OpenAI backend could not be read: a call has no name`},
		{"mixed", []string{call(`{"index":0,"id":"a","function":{"name":"f"}}`), call(`{"index":1,"id":"b","function":{"name":"g"}}`), call(`{"index":0,"function":{"arguments":"{}"}}`), end},
			`[tool_use a f"{}"][tool_use b g failed: the answer of the OpenAI backend could not be read: the pieces of two calls are mixed`},
		{"text inside of a call", []string{call(`{"index":0,"id":"a","function":{"name":"f","arguments":"{"}}`), `{"choices":[{"index":0,"delta":{"content":"x"}}]}`, call(`{"index":0,"function":{"arguments":"}"}}`), end},
			`[tool_use a f"{"][text  "x" failed: the answer of the OpenAI backend could not be read: arguments came without a call`},
		{"no JSON", []string{`{"choices":`}, ` failed: the answer of the OpenAI backend could not be read: unexpected end of JSON input`},
	} {
		if got := read(tc.events...); got != tc.want {
			t.Errorf("%s: got %s\nwant %s", tc.name, got, tc.want)
		}
	}
}
