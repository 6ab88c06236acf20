package server

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"slices"
)

// Dimensions of an embedding.
const (
	defaultDimensions = 384
	maxDimensions     = 8192
)

type embeddingRequest struct {
	Model          string          `json:"model"`
	Input          json.RawMessage `json:"input"`
	Dimensions     *int            `json:"dimensions"`
	EncodingFormat string          `json:"encoding_format"`
}

func (s *Server) embeddings(w http.ResponseWriter, r *http.Request, body []byte) {
	var q embeddingRequest
	j, prompts, err := s.parseEmbedding(body, &q)
	if err == nil {
		err = s.submit(j)
	}
	if err != nil {
		openAIStyle.write(w, err)
		return
	}
	if s.follow(r.Context(), j, discard{}) != nil {
		panic(http.ErrAbortHandler)
	}
	data := make([]any, len(prompts))
	for i, p := range prompts {
		data[i] = map[string]any{"index": i, "object": "embedding", "embedding": embedding(p, *q.Dimensions, q.EncodingFormat)}
	}
	if q.Model == "" {
		q.Model = s.cfg.Model
	}
	writeJSON(w, http.StatusOK, map[string]any{
		"id": s.id("embd-", r), "object": "list", "created": s.clock.Now().Unix(), "model": q.Model, "data": data,
		"usage": usage{PromptTokens: j.prompt, TotalTokens: j.prompt},
	})
}

func (s *Server) parseEmbedding(body []byte, q *embeddingRequest) (*job, []*prompt, *apiError) {
	if err := decode(body, q); err != nil {
		return nil, nil, err
	}
	adapter, err := s.adapter(q.Model)
	if err != nil {
		return nil, nil, err
	}
	prompts, err := flattenInput("input", q.Input)
	if err != nil {
		return nil, nil, err
	}
	if q.Dimensions == nil {
		n := defaultDimensions
		q.Dimensions = &n
	}
	if *q.Dimensions < 1 || *q.Dimensions > maxDimensions {
		return nil, nil, badRequest(fmt.Sprintf("dimensions must be 1 to %d", maxDimensions), "dimensions")
	}
	if q.EncodingFormat != "" && q.EncodingFormat != "float" && q.EncodingFormat != "base64" {
		return nil, nil, badRequest("encoding_format must be float or base64", "encoding_format")
	}
	one := 1
	j, err := s.prepare(prompts, adapter, "", sampling{limit: &one})
	if err != nil {
		return nil, nil, err
	}
	for _, a := range j.answers {
		a.pooling, a.reason = true, "stop"
	}
	return j, prompts, nil
}

// embedding is a unit vector that depends on the prompt alone.
func embedding(p *prompt, dimensions int, format string) any {
	rng := rand.New(rand.NewPCG(p.hash(), 0))
	v, sum := make([]float32, dimensions), 0.0
	for i := range v {
		x := rng.NormFloat64()
		v[i] = float32(x)
		sum += x * x
	}
	norm := float32(math.Sqrt(sum))
	raw := make([]byte, 0, 4*dimensions)
	for i := range v {
		v[i] /= norm
		raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(v[i]))
	}
	if format == "base64" {
		return base64.StdEncoding.EncodeToString(raw)
	}
	return v
}

func (s *Server) models(w http.ResponseWriter, _ *http.Request) {
	created := s.started.Unix()
	card := func(id, root string, parent any, maxLen any) map[string]any {
		return map[string]any{
			"id": id, "object": "model", "created": created, "owned_by": "vllm", "root": root, "parent": parent, "max_model_len": maxLen,
			"permission": []any{map[string]any{
				"id": "modelperm-" + id, "object": "model_permission", "created": created, "allow_create_engine": false,
				"allow_sampling": true, "allow_logprobs": true, "allow_search_indices": false, "allow_view": true,
				"allow_fine_tuning": false, "organization": "*", "group": nil, "is_blocking": false,
			}},
		}
	}
	data := []any{card(s.cfg.Model, s.cfg.Model, nil, s.cfg.MaxModelLen)}
	s.mu.Lock()
	for _, a := range s.adapters {
		data = append(data, card(a, a, s.cfg.Model, nil))
	}
	s.mu.Unlock()
	writeJSON(w, http.StatusOK, map[string]any{"object": "list", "data": data})
}

type adapterRequest struct {
	Name string `json:"lora_name"`
	Path string `json:"lora_path"`
}

func (s *Server) loadAdapter(w http.ResponseWriter, _ *http.Request, body []byte) {
	var q adapterRequest
	if err := decode(body, &q); err != nil {
		openAIStyle.write(w, err)
		return
	}
	if err := checkName(q.Name); err != nil || q.Path == "" {
		openAIStyle.write(w, badRequest("Both 'lora_name' and 'lora_path' must be provided.", "lora_name"))
		return
	}
	s.mu.Lock()
	taken := q.Name == s.cfg.Model || slices.Contains(s.adapters, q.Name)
	full := len(s.adapters) >= maxAdapters
	if !taken && !full {
		s.adapters = append(s.adapters, q.Name)
		s.number(q.Name)
	}
	s.mu.Unlock()
	switch {
	case taken:
		openAIStyle.write(w, badRequest(fmt.Sprintf("The lora adapter '%s' has already been loaded.", q.Name), "lora_name"))
	case full:
		openAIStyle.write(w, badRequest(fmt.Sprintf("%d lora adapters are loaded; unload one first.", maxAdapters), "lora_name"))
	default:
		writeText(w, fmt.Sprintf("Success: LoRA adapter '%s' added successfully.", q.Name))
	}
}

func (s *Server) unloadAdapter(w http.ResponseWriter, _ *http.Request, body []byte) {
	var q adapterRequest
	if err := decode(body, &q); err != nil {
		openAIStyle.write(w, err)
		return
	}
	s.mu.Lock()
	i := slices.Index(s.adapters, q.Name)
	if i >= 0 {
		s.adapters = slices.Delete(s.adapters, i, i+1)
		delete(s.loraIDs, q.Name)
	}
	s.mu.Unlock()
	if i < 0 {
		openAIStyle.write(w, &apiError{http.StatusNotFound, "NotFoundError", "The lora adapter cannot be found.", "lora_name"})
		return
	}
	writeText(w, fmt.Sprintf("Success: LoRA adapter '%s' removed successfully.", q.Name))
}

func writeText(w http.ResponseWriter, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = w.Write([]byte(text))
}

func (s *Server) tokenize(w http.ResponseWriter, _ *http.Request, body []byte) {
	var q completionRequest
	err := decode(body, &q)
	if err == nil {
		_, err = s.adapter(q.Model)
	}
	var p *prompt
	if err == nil && len(q.Messages) > 0 {
		p, err = flattenChat(nil, q.Messages, q.Tools)
	} else if err == nil {
		var text string
		if json.Unmarshal(q.Prompt, &text) != nil {
			err = badRequest("either messages or a prompt is required", "prompt")
		}
		p = textPrompt(text)
	}
	if err != nil {
		openAIStyle.write(w, err)
		return
	}
	ids := p.tokenIDs()
	writeJSON(w, http.StatusOK, map[string]any{
		"count": len(ids), "max_model_len": s.cfg.MaxModelLen, "tokens": ids, "token_strs": nil,
	})
}

func (s *Server) detokenize(w http.ResponseWriter, _ *http.Request, body []byte) {
	var q struct {
		Tokens []uint32 `json:"tokens"`
	}
	if err := decode(body, &q); err != nil {
		openAIStyle.write(w, err)
		return
	}
	flat := idPrompt(q.Tokens).flat
	for len(flat) > 0 && flat[len(flat)-1] == 0 { // the last token's padding
		flat = flat[:len(flat)-1]
	}
	writeJSON(w, http.StatusOK, map[string]string{"prompt": string(flat)})
}
