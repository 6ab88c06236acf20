package bedrock

import (
	"strings"
	"testing"

	"github.com/fairway-ai/fairway/aibackend/chat"
)

// TestMarksInResultsMove: a mark inside of a tool's result stands behind it.
func TestMarksInResultsMove(t *testing.T) {
	q := &chat.Request{N: 1, Messages: []chat.Message{{Parts: []chat.Part{
		{Kind: chat.ToolResult, ID: "a", Content: []chat.Part{{Text: "x", Cache: chat.Cache{On: true}}}},
		{Text: "y"},
	}}}}
	body, err := AppendRequest(nil, q, Options{})
	want := `{"toolResult":{"toolUseId":"a","content":[{"text":"x"}]}},{"cachePoint":{"type":"default"}},{"text":"y"}`
	if err != nil || !strings.Contains(string(body), want) {
		t.Errorf("%s, %v", body, err)
	}
}

// TestToolsCannotBeForbidden: Converse has no word for "none", and needs the tools
// where calls of them are in the conversation.
func TestToolsCannotBeForbidden(t *testing.T) {
	q := &chat.Request{
		N: 1, Tools: []chat.Tool{{Name: "f"}}, ToolChoice: chat.ToolChoice{Mode: chat.ToolNone},
		Messages: []chat.Message{{Parts: []chat.Part{{Kind: chat.ToolResult, ID: "a"}}}},
	}
	if _, err := AppendRequest(nil, q, Options{}); err == nil || err.Status != 422 {
		t.Errorf("got %v", err)
	}
	q.Messages[0].Parts[0] = chat.Part{Text: "x"}
	if body, err := AppendRequest(nil, q, Options{}); err != nil || strings.Contains(string(body), "toolConfig") {
		t.Errorf("got %s, %v", body, err)
	}
}
