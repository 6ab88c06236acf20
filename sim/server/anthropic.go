package server

import (
	"encoding/json"
	"net/http"
)

type messagesRequest struct {
	Model     string          `json:"model"`
	System    json.RawMessage `json:"system"`
	Messages  []message       `json:"messages"`
	Tools     json.RawMessage `json:"tools"`
	MaxTokens *int            `json:"max_tokens"`
	Stream    bool            `json:"stream"`
}

// messagesUsage is Anthropic's count: InputTokens are those not read from cache.
type messagesUsage struct {
	InputTokens   int `json:"input_tokens"`
	CacheCreation int `json:"cache_creation_input_tokens"`
	CacheRead     int `json:"cache_read_input_tokens"`
	OutputTokens  int `json:"output_tokens"`
}

func (j *job) messagesUsage() messagesUsage {
	cached := j.cached()
	return messagesUsage{InputTokens: j.prompt - cached, CacheRead: cached, OutputTokens: j.generated()}
}

func (s *Server) parseMessages(body []byte, q *messagesRequest) (p *prompt, adapter string, err *apiError) {
	if err := decode(body, q); err != nil {
		return nil, "", err
	}
	if adapter, err = s.adapter(q.Model); err != nil {
		return nil, "", err
	}
	if len(q.Messages) == 0 {
		return nil, "", badRequest("messages is required and must not be empty", "messages")
	}
	p, err = flattenChat(q.System, q.Messages, q.Tools)
	return p, adapter, err
}

func (s *Server) countTokens(w http.ResponseWriter, _ *http.Request, body []byte) {
	p, _, err := s.parseMessages(body, new(messagesRequest))
	if err != nil {
		anthropicStyle.write(w, err)
		return
	}
	writeJSON(w, http.StatusOK, map[string]int{"input_tokens": p.tokens()})
}

func (s *Server) messages(w http.ResponseWriter, r *http.Request, body []byte) {
	var q messagesRequest
	p, adapter, err := s.parseMessages(body, &q)
	if err == nil && q.MaxTokens == nil {
		err = badRequest("max_tokens is required", "max_tokens")
	}
	var j *job
	id := s.id("msg_", r)
	if err == nil {
		j, err = s.prepare([]*prompt{p}, adapter, id, sampling{limit: q.MaxTokens})
	}
	if err == nil {
		err = s.begin(r, j, transfers{}, q.Stream)
	}
	if err != nil {
		anthropicStyle.write(w, err)
		return
	}
	if q.Model == "" {
		q.Model = s.cfg.Model
	}
	if q.Stream {
		_ = s.follow(r.Context(), j, &messagesStream{sse: newSSE(w), id: id, model: q.Model}) // nobody is left to tell
		return
	}
	if s.follow(r.Context(), j, discard{}) != nil {
		panic(http.ErrAbortHandler)
	}
	a := j.answers[0]
	m := messageObject(id, q.Model)
	m["content"] = []any{map[string]string{"type": "text", "text": a.text.first(a.req.OutputTokens)}}
	m["stop_reason"] = stopReason(a)
	m["usage"] = j.messagesUsage()
	writeJSON(w, http.StatusOK, m)
}

func messageObject(id, model string) map[string]any {
	return map[string]any{
		"id": id, "type": "message", "role": "assistant", "model": model, "content": []any{},
		"stop_reason": nil, "stop_sequence": nil,
	}
}

func stopReason(a *answer) string {
	if a.reason == "length" {
		return "max_tokens"
	}
	return "end_turn"
}

// messagesStream writes the events of a message.
type messagesStream struct {
	*sse
	id, model string
}

func (m *messagesStream) begin(j *job) {
	o := messageObject(m.id, m.model)
	u := j.messagesUsage()
	u.OutputTokens = 0
	o["usage"] = u
	m.event("message_start", `{"type":"message_start","message":`, encode(o), `}`)
	m.event("content_block_start", `{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}`)
}

func (m *messagesStream) token(_ int, text string) {
	m.event("content_block_delta", `{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":`, quote(text), `}}`)
}

func (m *messagesStream) end(_ int, a *answer) {
	m.event("content_block_stop", `{"type":"content_block_stop","index":0}`)
}

func (m *messagesStream) close(j *job) {
	m.event("message_delta", `{"type":"message_delta","delta":{"stop_reason":`, quote(stopReason(j.answers[0])),
		`,"stop_sequence":null},"usage":`, encode(j.messagesUsage()), `}`)
	m.event("message_stop", `{"type":"message_stop"}`)
}
