package server

import "net/http"

// rendered is a prompt as the engine would get it.
type rendered struct {
	RequestID string         `json:"request_id"`
	TokenIDs  []uint32       `json:"token_ids"`
	Features  *features      `json:"features"`
	Model     string         `json:"model"`
	Sampling  map[string]any `json:"sampling_params"`
	CacheSalt string         `json:"cache_salt,omitempty"`
}

// features are the items of a prompt that are not text, by their kind.
type features struct {
	Hashes map[string][]string `json:"mm_hashes"`
	Places map[string][]place  `json:"mm_placeholders"`
}

type place struct {
	Offset int `json:"offset"`
	Length int `json:"length"`
}

// features returns nil for a prompt of text alone.
func (p *prompt) features() *features {
	if len(p.media) == 0 {
		return nil
	}
	f := &features{map[string][]string{}, map[string][]place{}}
	for _, m := range p.media {
		f.Hashes[m.kind] = append(f.Hashes[m.kind], m.hash)
		f.Places[m.kind] = append(f.Places[m.kind], place{m.at, mediaTokens})
	}
	return f
}

// renderChat answers with the tokens of a chat, without computing anything.
func (s *Server) renderChat(w http.ResponseWriter, r *http.Request, body []byte) {
	s.render(w, r, body, true)
}

// renderCompletion answers with the tokens of each of a completion's prompts.
func (s *Server) renderCompletion(w http.ResponseWriter, r *http.Request, body []byte) {
	s.render(w, r, body, false)
}

func (s *Server) render(w http.ResponseWriter, r *http.Request, body []byte, chat bool) {
	var q completionRequest
	err := decode(body, &q)
	if err == nil {
		_, err = s.adapter(q.Model)
	}
	var prompts []*prompt
	prefix := "cmpl-"
	switch {
	case err != nil:
	case !chat:
		prompts, err = flattenInput("prompt", q.Prompt)
	case len(q.Messages) == 0:
		err = badRequest("messages is required and must not be empty", "messages")
	default:
		prefix = "chatcmpl-"
		var one *prompt
		one, err = flattenChat(nil, q.Messages, q.Tools)
		prompts = []*prompt{one}
	}
	if err != nil {
		openAIStyle.write(w, err)
		return
	}
	if q.Model == "" {
		q.Model = s.cfg.Model
	}
	out := make([]rendered, len(prompts))
	for i, p := range prompts {
		out[i] = rendered{RequestID: s.id(prefix, r), TokenIDs: p.tokenIDs(), Features: p.features(), Model: q.Model, Sampling: map[string]any{}, CacheSalt: q.CacheSalt}
	}
	if chat {
		writeJSON(w, http.StatusOK, out[0])
	} else {
		writeJSON(w, http.StatusOK, out)
	}
}
