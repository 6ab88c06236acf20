package explain

import "encoding/json"

// maxLine bounds the explanation in a response header, in bytes.
const maxLine = 4 << 10

// line is the compact form of a decision.
type line struct {
	Policy   string             `json:"policy,omitempty"`
	Endpoint string             `json:"endpoint,omitempty"`
	Prefill  string             `json:"prefill,omitempty"`
	Encode   []string           `json:"encode,omitempty"`
	Why      string             `json:"why,omitempty"`
	Prompt   int64              `json:"promptTokens"`
	Cached   int64              `json:"cachedTokens"`
	Held     float64            `json:"heldSeconds,omitempty"`
	Totals   map[string]float32 `json:"totals,omitempty"`
}

// Line returns the decision as one line of JSON, fit for a header: ASCII, and at
// most 4 KiB long. It is empty when the decision is no longer kept.
func (r *Ring) Line(ref Ref) string {
	s := r.at(ref)
	if s == nil {
		return ""
	}
	d := s.copy()
	s.mu.Unlock()
	l := line{Policy: d.Policy, Why: d.Why, Prompt: d.PromptTokens, Cached: d.CachedTokens, Held: d.HeldSeconds, Prefill: d.Prefill, Encode: d.Encode}
	if len(d.Rows) > 0 && d.Rows[0].Rank == 1 {
		l.Endpoint = d.Rows[0].ID
	}
	for i, c := range d.Columns {
		if c.Kind != "total" || !d.decides(&c) {
			continue
		}
		l.Totals = map[string]float32{}
		for j := range d.Rows {
			if d.candidate(j) {
				l.Totals[d.Rows[j].ID] = float32(d.Rows[j].Values[i])
			}
		}
	}
	if b := ascii(l); len(b) <= maxLine {
		return b
	}
	l.Totals = nil
	if b := ascii(l); len(b) <= maxLine {
		return b
	}
	l.Endpoint, l.Policy, l.Why, l.Prefill, l.Encode = "", "", "", "", nil
	return ascii(l)
}

// ascii is v as JSON without a byte that a header cannot carry.
func ascii(v line) string {
	b, err := json.Marshal(v)
	if err != nil {
		return ""
	}
	out := make([]byte, 0, len(b))
	for _, r := range string(b) {
		switch {
		case r < 0x7f:
			out = append(out, byte(r))
		case r == '×':
			out = append(out, 'x')
		default:
			out = append(out, '?')
		}
	}
	return string(out)
}
