package tokens

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/fairway-ai/fairway/extproc/scan"
	"github.com/fairway-ai/fairway/internal/jsonscan"
)

// unread are the members of a request that do not change its prompt. What is not
// here is sent on and is part of the cache's key: a member missing here costs hits
// and never makes an answer wrong.
var unread = map[string]bool{
	"allowed_token_ids": true, "bad_words": true, "best_of": true, "cache_salt": true, "echo": true,
	"frequency_penalty": true, "ignore_eos": true, "include_stop_str_in_output": true,
	"kv_transfer_params": true, "length_penalty": true, "logit_bias": true, "logits_processors": true,
	"logprobs": true, "max_completion_tokens": true, "max_output_tokens": true, "max_tokens": true, "metadata": true, "min_p": true,
	"min_tokens": true, "n": true, "parallel_tool_calls": true, "presence_penalty": true, "priority": true,
	"prompt_cache_key": true, "prompt_logprobs": true, "repetition_penalty": true, "request_id": true,
	"return_token_ids": true, "return_tokens_as_token_ids": true, "safety_identifier": true, "seed": true,
	"service_tier": true, "skip_special_tokens": true, "spaces_between_special_tokens": true, "stop": true,
	"stop_sequences": true, "stop_token_ids": true, "store": true, "stream": true, "stream_options": true, "temperature": true,
	"top_k": true, "top_logprobs": true, "top_p": true, "use_beam_search": true, "user": true,
	"vllm_xargs": true,
}

// plain are the members with which /tokenize gives the same tokens as the API.
var plain = map[string]bool{
	"model": true, "messages": true, "prompt": true, "tools": true, "add_generation_prompt": true,
	"continue_final_message": true, "add_special_tokens": true, "chat_template": true,
	"chat_template_kwargs": true,
}

// usualMembers is how many members need no memory of their own.
const usualMembers = 16

// prompt is a request reduced to what its prompt is made of.
type prompt struct {
	chat  bool
	model string
	// render is the route that renders it, and turns the member with a chat's turns.
	render route
	turns  string
	// ids is true if the request must bring its token ids.
	ids  bool
	salt string
	// known are the ids if the request has them itself.
	known []uint32
	// images are those of known.
	images []Image
	// partial is true if there are prompts besides the first one.
	partial bool
	// authorization is the header that its endpoint is asked with; no part of key.
	authorization string
	// raw is the JSON of a completion's prompt that is text.
	raw []byte
	// special is false if the tokenizer must add no special tokens to the text.
	special bool
	// members are what an endpoint is asked, in the order of their names, and key is
	// the hash of that. They are in the request's memory.
	members []member
	key     [sha256.Size]byte
	few     [usualMembers]member // members' memory
	// tokenizable is true if /tokenize gives the same tokens as the API.
	tokenizable bool
	// body is what an endpoint is asked, nil until keep.
	body []byte
	// messages is the part of body whose name is turns.
	messages json.RawMessage
}

// readPrompt reads a request of at most limit bytes. The result refers to the request
// until keep is called.
func readPrompt(r Request, limit int) (*prompt, error) {
	p := &prompt{model: r.Model, authorization: r.Authorization, special: true, tokenizable: true}
	if err := p.byAPI(scan.APIFromPath(r.Path)); err != nil {
		return nil, err
	}
	if len(r.Body) > limit {
		return nil, ErrTooLarge
	}
	var ok bool
	if p.members, ok = readMembers(p.few[:0], r.Body); !ok {
		return nil, ErrMalformed
	}
	p.order()
	if p.text("cache_salt", &p.salt) != nil {
		return nil, fmt.Errorf("%w: cache_salt is not a string", ErrMalformed)
	}
	if p.model != "" {
		p.set("model", appendQuoted(nil, p.model))
	} else if p.text("model", &p.model) != nil {
		return nil, fmt.Errorf("%w: model is not a string", ErrMalformed)
	}
	if err := p.readText(); err != nil {
		return nil, err
	}
	if p.known == nil {
		p.seal()
	}
	return p, nil
}

// order sorts the members by name. Of those with the same name the last one stays.
func (p *prompt) order() {
	slices.SortStableFunc(p.members, func(a, b member) int { return bytes.Compare(a.name, b.name) })
	n := 0
	for i, m := range p.members {
		if i+1 < len(p.members) && bytes.Equal(m.name, p.members[i+1].name) {
			continue
		}
		p.members[n] = m
		n++
	}
	p.members = p.members[:n]
}

// find returns where the member is or would be, and whether it is there.
func (p *prompt) find(name string) (int, bool) {
	return slices.BinarySearchFunc(p.members, name, func(m member, name string) int { return cmp.Compare(string(m.name), name) })
}

// get returns a member's JSON, nil when it is absent.
func (p *prompt) get(name string) []byte {
	if i, ok := p.find(name); ok {
		return p.members[i].value
	}
	return nil
}

func (p *prompt) set(name string, value []byte) {
	i, ok := p.find(name)
	if !ok {
		p.members = slices.Insert(p.members, i, member{name: []byte(name), quoted: true})
	}
	p.members[i].value = value
}

// text reads a member that must be a string into dst, which stays when it is absent.
func (p *prompt) text(name string, dst *string) error {
	raw := p.get(name)
	if raw == nil {
		return nil
	}
	return unquote(raw, dst)
}

// unquote reads a string's JSON, which is valid JSON of whatever kind.
func unquote(raw []byte, dst *string) error {
	if n := len(raw); n >= 2 && raw[0] == '"' && simple(raw[1:n-1]) {
		*dst = string(raw[1 : n-1])
		return nil
	}
	return json.Unmarshal(raw, dst)
}

// appendQuoted appends a string's JSON.
func appendQuoted(dst []byte, s string) []byte {
	if simple(s) {
		return append(append(append(dst, '"'), s...), '"')
	}
	quoted, _ := json.Marshal(s) // a string always can be
	return append(dst, quoted...)
}

// readText reads messages or prompt. Of a completion's several prompts the first
// stands for all: they go to one endpoint together.
func (p *prompt) readText() error {
	switch {
	case p.ids:
		return p.readIDs()
	case p.chat:
		return p.readTurns()
	}
	raw := p.get("prompt")
	if len(raw) > 0 && raw[0] == '[' {
		from := jsonscan.Space(raw, 1)
		switch raw[from] {
		case ']':
			return fmt.Errorf("%w: prompt is empty", ErrMalformed)
		case '"', '[':
			end := jsonscan.Value(raw, from, 1) // valid, as all of raw is
			p.partial = raw[jsonscan.Space(raw, end)] == ','
			raw = raw[from:end]
			p.set("prompt", raw)
		}
	}
	if given := p.get("add_special_tokens"); given != nil && json.Unmarshal(given, &p.special) != nil {
		return fmt.Errorf("%w: add_special_tokens is not a boolean", ErrMalformed)
	}
	if len(raw) > 0 && raw[0] == '[' {
		p.tokenizable = false
		var ids idList
		if ids.UnmarshalJSON(raw) != nil || len(ids) == 0 {
			return fmt.Errorf("%w: prompt is not a list of token ids", ErrMalformed)
		}
		if cut := p.get("truncate_prompt_tokens"); cut == nil || string(cut) == "null" {
			p.known = ids
		}
		return nil
	}
	if len(raw) == 0 || raw[0] != '"' {
		return fmt.Errorf("%w: prompt is neither text nor token ids", ErrMalformed)
	}
	p.raw = raw
	return nil
}

// seal leaves the members that an endpoint is asked, and makes the key. What is hashed
// is what keep writes.
func (p *prompt) seal() {
	n := 0
	for _, m := range p.members {
		if unread[string(m.name)] || string(m.value) == "null" {
			continue
		}
		p.members[n] = m
		n++
		if !plain[string(m.name)] && (string(m.name) != "tool_choice" || string(m.value) != `"auto"`) {
			p.tokenizable = false
		}
	}
	p.members = p.members[:n]
	h := sha256.New()
	var small [64]byte
	b := append(small[:0], byte(p.render))
	for i, m := range p.members {
		b = m.appendName(b, i == 0)
		_, _ = h.Write(b) // never fails
		_, _ = h.Write(m.value)
		b = small[:0]
	}
	if n == 0 {
		b = append(b, '{')
	}
	_, _ = h.Write(append(b, '}'))
	h.Sum(p.key[:0])
}

// appendName appends what is before the member's value in an object.
func (m *member) appendName(b []byte, first bool) []byte {
	if first {
		b = append(b, '{')
	} else {
		b = append(b, ',')
	}
	if m.quoted {
		return append(append(append(b, '"'), m.name...), '"', ':')
	}
	return append(appendQuoted(b, string(m.name)), ':')
}

// keep writes what an endpoint is asked, so that the request is needed no longer.
func (p *prompt) keep() {
	size := 2
	for i := range p.members {
		size += len(p.members[i].name) + len(p.members[i].value) + 4
	}
	b := make([]byte, 0, size)
	var from, to int
	for i := range p.members {
		m := &p.members[i]
		b = append(m.appendName(b, i == 0), m.value...)
		if string(m.name) == p.turns {
			from, to = len(b)-len(m.value), len(b)
		}
	}
	if len(b) == 0 {
		b = append(b, '{')
	}
	p.body = append(b, '}')
	p.messages = p.body[from:to]
	p.members, p.raw = nil, nil
	clear(p.few[:])
}
