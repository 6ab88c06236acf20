package server

import (
	"encoding/json"
	"net/http"
)

// usage is OpenAI's count of tokens.
type usage struct {
	PromptTokens     int            `json:"prompt_tokens"`
	TotalTokens      int            `json:"total_tokens"`
	CompletionTokens int            `json:"completion_tokens"`
	Details          *promptDetails `json:"prompt_tokens_details"`
}

type promptDetails struct {
	CachedTokens int `json:"cached_tokens"`
}

func (j *job) usage() usage {
	// A prompt counts once however many answers it gets.
	n := j.generated()
	return usage{j.prompt, j.prompt + n, n, &promptDetails{j.cached() / max(1, j.answers[0].n)}}
}

type streamOptions struct {
	IncludeUsage         bool `json:"include_usage"`
	ContinuousUsageStats bool `json:"continuous_usage_stats"`
}

// completionRequest is the body of /v1/chat/completions and /v1/completions.
type completionRequest struct {
	Model               string          `json:"model"`
	Messages            []message       `json:"messages"`
	Prompt              json.RawMessage `json:"prompt"`
	Tools               json.RawMessage `json:"tools"`
	MaxTokens           *int            `json:"max_tokens"`
	MaxCompletionTokens *int            `json:"max_completion_tokens"`
	MinTokens           int             `json:"min_tokens"`
	N                   *int            `json:"n"`
	Stream              bool            `json:"stream"`
	StreamOptions       streamOptions   `json:"stream_options"`
	CacheSalt           string          `json:"cache_salt"`
	transfers
}

// completionAPI is what differs between the two.
type completionAPI struct {
	prefix, object, chunk string
	chat                  bool
}

func (s *Server) chat(w http.ResponseWriter, r *http.Request, body []byte) {
	s.complete(w, r, body, completionAPI{"chatcmpl-", "chat.completion", "chat.completion.chunk", true})
}

func (s *Server) completions(w http.ResponseWriter, r *http.Request, body []byte) {
	s.complete(w, r, body, completionAPI{"cmpl-", "text_completion", "text_completion", false})
}

func (s *Server) complete(w http.ResponseWriter, r *http.Request, body []byte, api completionAPI) {
	var q completionRequest
	j, id, err := s.parseCompletion(r, body, api, &q)
	if err == nil {
		err = s.begin(r, j, q.transfers, q.Stream)
	}
	if err != nil {
		openAIStyle.write(w, err)
		return
	}
	if q.Model == "" {
		q.Model = s.cfg.Model
	}
	created := s.clock.Now().Unix()
	if q.Stream {
		c := &completionStream{sse: newSSE(w), api: api, options: q.StreamOptions, job: j}
		c.head = `{"id":` + quote(id) + `,"object":` + quote(api.chunk) + `,"created":` + itoa(int(created)) +
			`,"model":` + quote(q.Model) + `,"system_fingerprint":` + quote(s.cfg.Name) + `,"choices":[`
		_ = s.follow(r.Context(), j, c) // nobody is left to tell
		return
	}
	kv, ec, gone := s.finish(r, j)
	if gone != nil {
		panic(http.ErrAbortHandler)
	}
	choices := make([]any, len(j.answers))
	for i, a := range j.answers {
		text := a.text.first(a.req.OutputTokens)
		choice := map[string]any{"index": i, "logprobs": nil, "finish_reason": a.reason, "stop_reason": nil}
		if api.chat {
			choice["message"] = map[string]any{"role": "assistant", "content": text, "refusal": nil, "tool_calls": []any{}, "reasoning_content": nil}
		} else {
			choice["text"] = text
		}
		choices[i] = choice
	}
	answer := map[string]any{
		"id": id, "object": api.object, "created": created, "model": q.Model, "choices": choices,
		"usage": j.usage(), "system_fingerprint": s.cfg.Name, "kv_transfer_params": kv,
	}
	if ec != nil {
		answer["ec_transfer_params"] = ec
	}
	writeJSON(w, http.StatusOK, answer)
}

func (s *Server) parseCompletion(r *http.Request, body []byte, api completionAPI, q *completionRequest) (*job, string, *apiError) {
	if err := decode(body, q); err != nil {
		return nil, "", err
	}
	adapter, err := s.adapter(q.Model)
	if err != nil {
		return nil, "", err
	}
	var prompts []*prompt
	p := sampling{limit: q.MaxTokens, min: q.MinTokens, n: 1, salt: q.CacheSalt}
	if q.N != nil {
		if p.n = *q.N; p.n < 1 {
			return nil, "", badRequest("n must be at least 1", "n")
		}
	}
	if api.chat {
		if len(q.Messages) == 0 {
			return nil, "", badRequest("messages is required and must not be empty", "messages")
		}
		one, err := flattenChat(nil, q.Messages, q.Tools)
		if err != nil {
			return nil, "", err
		}
		prompts = []*prompt{one}
		if q.MaxCompletionTokens != nil {
			p.limit = q.MaxCompletionTokens
		}
	} else if prompts, err = flattenInput("prompt", q.Prompt); err != nil {
		return nil, "", err
	}
	id := s.id(api.prefix, r)
	j, err := s.prepare(prompts, adapter, id, p)
	if j != nil {
		j.elsewhere = cachedElsewhere(r)
	}
	return j, id, err
}

// completionStream writes a chat or text completion as vLLM streams it.
type completionStream struct {
	*sse
	api     completionAPI
	head    string
	options streamOptions
	job     *job
}

// chunk adds one choice's chunk.
func (c *completionStream) chunk(choice ...string) {
	tail := `}]}`
	if c.options.IncludeUsage && c.options.ContinuousUsageStats {
		tail = `}],"usage":` + encode(c.job.usage()) + `}`
	}
	c.data(append(append([]string{c.head}, choice...), tail)...)
}

func (c *completionStream) begin(j *job) {
	if !c.api.chat {
		return
	}
	for i := range j.answers {
		c.chunk(`{"index":`, itoa(i), `,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null`)
	}
}

func (c *completionStream) token(i int, text string) {
	if c.api.chat {
		c.chunk(`{"index":`, itoa(i), `,"delta":{"content":`, quote(text), `},"logprobs":null,"finish_reason":null`)
		return
	}
	c.chunk(`{"index":`, itoa(i), `,"text":`, quote(text), `,"logprobs":null,"finish_reason":null,"stop_reason":null`)
}

func (c *completionStream) end(i int, a *answer) {
	field := `,"text":""`
	if c.api.chat {
		field = `,"delta":{"content":""}`
	}
	c.chunk(`{"index":`, itoa(i), field, `,"logprobs":null,"finish_reason":`, quote(a.reason), `,"stop_reason":null`)
}

func (c *completionStream) close(j *job) {
	if c.options.IncludeUsage {
		c.data(c.head, `],"usage":`, encode(j.usage()), `}`)
	}
	c.data("[DONE]")
}
