package server

import (
	"encoding/json"
	"net/http"
	"strings"
)

type responsesRequest struct {
	Model              string          `json:"model"`
	Input              json.RawMessage `json:"input"`
	Instructions       json.RawMessage `json:"instructions"`
	Tools              json.RawMessage `json:"tools"`
	MaxOutputTokens    *int            `json:"max_output_tokens"`
	PreviousResponseID string          `json:"previous_response_id"`
	Stream             bool            `json:"stream"`
	CacheSalt          string          `json:"cache_salt"`
	transfers
}

// responseObject is the answer of /v1/responses.
type responseObject struct {
	ID                string             `json:"id"`
	Object            string             `json:"object"`
	CreatedAt         int64              `json:"created_at"`
	Status            string             `json:"status"`
	IncompleteDetails *incompleteDetails `json:"incomplete_details"`
	Model             string             `json:"model"`
	Output            []responseItem     `json:"output"`
	ParallelToolCalls bool               `json:"parallel_tool_calls"`
	MaxOutputTokens   *int               `json:"max_output_tokens"`
	Usage             *responseUsage     `json:"usage"`
	KV                any                `json:"kv_transfer_params"`
}

type incompleteDetails struct {
	Reason string `json:"reason"`
}

type responseItem struct {
	ID      string         `json:"id"`
	Type    string         `json:"type"`
	Role    string         `json:"role"`
	Status  string         `json:"status"`
	Content []responsePart `json:"content"`
}

type responsePart struct {
	Type        string `json:"type"`
	Text        string `json:"text"`
	Annotations []any  `json:"annotations"`
}

type responseUsage struct {
	InputTokens        int           `json:"input_tokens"`
	InputTokensDetails promptDetails `json:"input_tokens_details"`
	OutputTokens       int           `json:"output_tokens"`
	OutputDetails      struct {
		ReasoningTokens int `json:"reasoning_tokens"`
	} `json:"output_tokens_details"`
	TotalTokens int `json:"total_tokens"`
}

func (s *Server) responses(w http.ResponseWriter, r *http.Request, body []byte) {
	var q responsesRequest
	j, err := s.parseResponses(body, &q)
	if err == nil {
		j.elsewhere = cachedElsewhere(r)
		err = s.begin(r, j, q.transfers, q.Stream)
	}
	if err != nil {
		openAIStyle.write(w, err)
		return
	}
	if q.Model == "" {
		q.Model = s.cfg.Model
	}
	id := s.id("resp_", r)
	rs := &responseStream{itemID: "msg_" + strings.TrimPrefix(id, "resp_"), response: responseObject{
		ID: id, Object: "response", CreatedAt: s.clock.Now().Unix(), Status: "in_progress", Model: q.Model,
		Output: []responseItem{}, ParallelToolCalls: true, MaxOutputTokens: q.MaxOutputTokens,
	}}
	if q.Stream {
		rs.sse = newSSE(w)
		rs.emit("response.created", `"response":`+encode(rs.response))
		rs.emit("response.in_progress", `"response":`+encode(rs.response))
		if rs.flush() != nil {
			s.driver.cancel(j.answers)
			return
		}
		_ = s.follow(r.Context(), j, rs) // nobody is left to tell
		return
	}
	kv, _, gone := s.finish(r, j)
	if gone != nil {
		panic(http.ErrAbortHandler)
	}
	rs.response.KV = kv
	rs.complete(j)
	writeJSON(w, http.StatusOK, rs.response)
}

func (s *Server) parseResponses(body []byte, q *responsesRequest) (*job, *apiError) {
	if err := decode(body, q); err != nil {
		return nil, err
	}
	adapter, err := s.adapter(q.Model)
	if err != nil {
		return nil, err
	}
	if q.PreviousResponseID != "" {
		return nil, &apiError{http.StatusNotFound, "invalid_request_error",
			"the simulated server keeps no responses; send the whole conversation as input", "previous_response_id"}
	}
	if !given(q.Input) {
		return nil, badRequest("input is required", "input")
	}
	var messages []message
	if q.Input[0] == '[' {
		if err := decode(q.Input, &messages); err != nil {
			return nil, err
		}
	} else {
		messages = []message{{Role: "user", Content: q.Input}}
	}
	p, err := flattenChat(q.Instructions, messages, q.Tools)
	if err != nil {
		return nil, err
	}
	return s.prepare([]*prompt{p}, adapter, "", sampling{limit: q.MaxOutputTokens, salt: q.CacheSalt})
}

// responseStream writes the events of a response.
type responseStream struct {
	*sse
	response responseObject
	itemID   string
	seq      int
}

func (rs *responseStream) emit(kind string, fields string) {
	rs.event(kind, `{"type":`, quote(kind), `,"sequence_number":`, itoa(rs.seq), `,`, fields, `}`)
	rs.seq++
}

// at is the position of the only content part.
func (rs *responseStream) at() string {
	return `"item_id":` + quote(rs.itemID) + `,"output_index":0,"content_index":0`
}

func (rs *responseStream) begin(*job) {
	item := responseItem{ID: rs.itemID, Type: "message", Role: "assistant", Status: "in_progress", Content: []responsePart{}}
	rs.emit("response.output_item.added", `"output_index":0,"item":`+encode(item))
	rs.emit("response.content_part.added", rs.at()+`,"part":`+encode(responsePart{"output_text", "", []any{}}))
}

func (rs *responseStream) token(_ int, text string) {
	rs.emit("response.output_text.delta", rs.at()+`,"delta":`+quote(text)+`,"logprobs":[]`)
}

func (rs *responseStream) end(int, *answer) {}

func (rs *responseStream) close(j *job) {
	rs.complete(j)
	item := rs.response.Output[0]
	rs.emit("response.output_text.done", rs.at()+`,"text":`+quote(item.Content[0].Text)+`,"logprobs":[]`)
	rs.emit("response.content_part.done", rs.at()+`,"part":`+encode(item.Content[0]))
	rs.emit("response.output_item.done", `"output_index":0,"item":`+encode(item))
	rs.emit("response.completed", `"response":`+encode(rs.response))
}

// complete fills in the output and the usage.
func (rs *responseStream) complete(j *job) {
	a := j.answers[0]
	rs.response.Status = "completed"
	if a.reason == "length" {
		rs.response.Status = "incomplete"
		rs.response.IncompleteDetails = &incompleteDetails{"max_output_tokens"}
	}
	n := j.generated()
	rs.response.Output = []responseItem{{
		ID: rs.itemID, Type: "message", Role: "assistant", Status: rs.response.Status,
		Content: []responsePart{{"output_text", a.text.first(a.req.OutputTokens), []any{}}},
	}}
	rs.response.Usage = &responseUsage{
		InputTokens: j.prompt, InputTokensDetails: promptDetails{j.cached()}, OutputTokens: n, TotalTokens: j.prompt + n,
	}
}
