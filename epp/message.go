package epp

import (
	"encoding/json"
	"slices"

	"github.com/fairway-ai/fairway/epp/kvcache"
	"github.com/fairway-ai/fairway/epp/tokens"
	"github.com/fairway-ai/fairway/extproc/scan"
)

// fromMessage puts the prompt of a gRPC request in the place of its message: its token
// ids, or the same request as HTTP has it. It is false where there is neither.
func fromMessage(p *kvcache.Prompt) bool {
	call := scan.CallFromPath(p.Path)
	in, ok := scan.InnerOf(call, p.Body)
	switch {
	case !ok:
		return false
	case in.JSON != nil:
		p.Path, p.Body = map[scan.API]string{
			scan.ChatCompletions: "/v1/chat/completions", scan.Completions: "/v1/completions", scan.Responses: "/v1/responses",
		}[call.API()], in.JSON
		return p.Path != ""
	case in.Text != nil:
		p.Path = "/v1/completions"
		text, err := json.Marshal(string(in.Text))
		p.Body = slices.Concat([]byte(`{"prompt":`), text, []byte(`}`))
		return err == nil
	}
	t := &tokens.Tokens{IDs: in.IDs, Count: len(in.IDs), Exact: true, Model: p.Model}
	end := 0
	for _, item := range in.Items {
		at, length := int(item.At), int(item.Length)
		if length < 1 || at < end || at+length > len(in.IDs) {
			return false
		}
		end = at + length
		t.Images = append(t.Images, tokens.Image{Hash: item.Hash, At: at, Length: length})
	}
	p.Known = t
	return true
}
