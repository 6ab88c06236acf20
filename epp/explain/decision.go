package explain

import (
	"encoding/json"
	"fmt"
	"time"
)

// Decision is one scheduling decision and how its request went. It is what
// /debug/fairway/decisions answers.
type Decision struct {
	// ID is the request ID.
	ID string `json:"id"`
	// Time is when the request arrived.
	Time time.Time `json:"time"`
	// Pool is "namespace/name".
	Pool string `json:"pool"`
	// Model is the model asked for.
	Model string `json:"model,omitempty"`
	// Policy is the scheduling policy's name.
	Policy string `json:"policy,omitempty"`
	// Profile is the scheduling profile whose pick counts, where several ran.
	Profile string `json:"profile,omitempty"`
	// Prefill and Encode are the IDs of the endpoints that other profiles picked for
	// their part of the work: one that processes the prompt, some that encode images.
	Prefill string   `json:"prefill,omitempty"`
	Encode  []string `json:"encode,omitempty"`
	// PromptTokens is the prompt's length, estimated unless TokensExact; CachedTokens
	// the part that the picked endpoint was expected to have cached.
	PromptTokens int64 `json:"promptTokens"`
	TokensExact  bool  `json:"tokensExact,omitempty"`
	CachedTokens int64 `json:"cachedTokens"`
	// HeldSeconds is how long the request was held for its endpoint.
	HeldSeconds float64 `json:"heldSeconds,omitempty"`
	// Error is why no endpoint was picked.
	Error string `json:"error,omitempty"`
	// Why says in words why the picked endpoint was.
	Why string `json:"why,omitempty"`
	// Columns are what was computed, in order; Rows the endpoints, the picked one
	// and its alternatives first.
	Columns []Column `json:"columns"`
	Rows    []Row    `json:"endpoints"`
	// Omitted counts the endpoints of a large pool that are not in Rows.
	Omitted int `json:"omitted,omitempty"`
	// Outcome is how the request went; nil while it is under way.
	Outcome *Outcome `json:"outcome,omitempty"`
}

// Column says what Row.Values holds at the same index.
type Column struct {
	// Name is the plugin's or the fact's.
	Name string `json:"name"`
	// Profile is the scheduling profile that the plugin ran in, where several ran.
	Profile string `json:"profile,omitempty"`
	// Kind is fact, verdict, score, price or total.
	Kind string `json:"kind"`
	// Weight is a scorer's weight, or a price's factor.
	Weight float32 `json:"weight,omitempty"`
}

// decides reports whether a column is about the pick, rather than about another
// profile's.
func (d *Decision) decides(c *Column) bool { return c.Profile == "" || c.Profile == d.Profile }

// title is a column's name, with its profile where several ran.
func (c *Column) title() string {
	if c.Profile == "" {
		return c.Name
	}
	return c.Profile + "/" + c.Name
}

// Row is one endpoint.
type Row struct {
	// ID and Address are the endpoint's.
	ID      string `json:"id"`
	Address string `json:"address"`
	// Rank is 1 for the pick, 2 and up for its alternatives, 0 for the others.
	Rank int `json:"rank,omitempty"`
	// Unreachable is true when the endpoint refused connections.
	Unreachable bool `json:"unreachable,omitempty"`
	// Values are by column.
	Values []Value `json:"values"`
}

// Value is a finding, or [None].
type Value float32

// None says that a filter or scorer was not asked about the endpoint.
const None = Value(-1)

// MarshalJSON writes None as null.
func (v Value) MarshalJSON() ([]byte, error) {
	if v == None || v != v {
		return []byte("null"), nil
	}
	return json.Marshal(float32(v))
}

// UnmarshalJSON reads null as None.
func (v *Value) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		*v = None
		return nil
	}
	return json.Unmarshal(b, (*float32)(v))
}

// Outcome is how a request went.
type Outcome struct {
	// Served is the ID of the endpoint that answered.
	Served string `json:"served,omitempty"`
	// Status is the HTTP status; 0 when there was no response.
	Status int `json:"status"`
	// Complete is false when the client or the model server went away.
	Complete bool `json:"complete"`
	// Seconds is from arrival to the end, TTFTSeconds from arrival to the first
	// token, EngineTTFTSeconds from the dispatch to it; 0 when there was none.
	Seconds           float64 `json:"seconds"`
	TTFTSeconds       float64 `json:"ttftSeconds,omitempty"`
	EngineTTFTSeconds float64 `json:"engineTTFTSeconds,omitempty"`
	// UsageKnown is true when the model server reported its token counts.
	UsageKnown bool `json:"usageKnown"`
	// PromptTokens, CompletionTokens and CachedTokens are the model server's.
	PromptTokens     int64 `json:"promptTokens,omitempty"`
	CompletionTokens int64 `json:"completionTokens,omitempty"`
	CachedTokens     int64 `json:"cachedTokens,omitempty"`
}

// Check reports whether every row has a value for every column, which Render
// takes for granted.
func (d *Decision) Check() error {
	for i := range d.Rows {
		if len(d.Rows[i].Values) != len(d.Columns) {
			return fmt.Errorf("decision of request %q: endpoint %q has %d values for %d columns",
				d.ID, d.Rows[i].ID, len(d.Rows[i].Values), len(d.Columns))
		}
	}
	return nil
}
