package scheduler

import "slices"

// ColumnKind says what a column of an [Explanation] holds.
type ColumnKind uint8

const (
	// Fact is an input: a metric, a counter, the cached tokens.
	Fact ColumnKind = iota
	// Verdict is a filter's: 1 kept, 0 removed, and NotAsked.
	Verdict
	// Score is a scorer's value before its weight.
	Score
	// Price is a term of the default policy; smaller is better.
	Price
	// Total is what the picker chose by.
	Total
)

func (k ColumnKind) String() string {
	return [...]string{"fact", "verdict", "score", "price", "total"}[k]
}

// NotAsked marks an endpoint that a filter or scorer no longer saw.
const NotAsked = float32(-1)

// ExactFact is the column, with [Holdings], that is 1 where cached-tokens is what the
// engine reports, and 0 where it is concluded from what was sent there.
const ExactFact = "exact-cache"

// Column is one plugin's findings, by endpoint index.
type Column struct {
	Name string
	// Profile is the profile that the plugin ran in; "" when only one ran, and for
	// what concerns all.
	Profile string
	Kind    ColumnKind
	Weight  float32
	Values  []float32
}

// Explanation is a decision as data: per endpoint, what each filter and scorer
// found. Its memory is reused by Reset; copy what must outlive that.
type Explanation struct {
	// Policy is the policy's name.
	Policy string
	// Primary is the profile whose pick is the decision, where several ran.
	Primary string
	// Endpoints are the snapshot's, shared, never written.
	Endpoints []Endpoint
	// Columns in the order they were computed.
	Columns []Column
	// Ranked is the decision; Prefill and Encode are its other stages.
	Ranked, Prefill, Encode []int32
	// Cached and Uncached are the decision's.
	Cached, Uncached int64

	profile string // of the columns that are added
	spare   [][]float32
}

// Reset empties the explanation and keeps its memory.
func (e *Explanation) Reset() {
	for i := range e.Columns {
		e.spare = append(e.spare, e.Columns[i].Values)
		e.Columns[i] = Column{}
	}
	e.Columns = e.Columns[:0]
	e.Ranked, e.Prefill, e.Encode = e.Ranked[:0], e.Prefill[:0], e.Encode[:0]
	e.Endpoints, e.Policy, e.Primary, e.profile = nil, "", "", ""
	e.Cached, e.Uncached = 0, 0
}

// Add records a column; values is copied.
func (e *Explanation) Add(name string, kind ColumnKind, weight float32, values []float32) {
	copy(e.column(name, kind, weight, len(values)), values)
}

// AddVerdict records which candidates of before a filter kept in after.
func (e *Explanation) AddVerdict(name string, n int, before, after []int32) {
	col := e.column(name, Verdict, 0, n)
	for i := range col {
		col[i] = NotAsked
	}
	for _, i := range before {
		col[i] = 0
	}
	for _, i := range after {
		col[i] = 1
	}
}

// Decides reports whether a column is about the pick, rather than about another
// stage of the request.
func (e *Explanation) Decides(c *Column) bool { return c.Profile == "" || c.Profile == e.Primary }

func (e *Explanation) column(name string, kind ColumnKind, weight float32, n int) []float32 {
	var v []float32
	if k := len(e.spare); k > 0 {
		v, e.spare = e.spare[k-1], e.spare[:k-1]
	}
	v = slices.Grow(v[:0], n)[:n]
	e.Columns = append(e.Columns, Column{Name: name, Profile: e.profile, Kind: kind, Weight: weight, Values: v})
	return v
}

// begin records the inputs every policy has.
func (e *Explanation) begin(c *Cycle) {
	e.Reset()
	e.Endpoints = c.Snapshot.Endpoints
	n := c.Snapshot.Len()
	facts := func(name string, value func(i int) float32) {
		col := e.column(name, Fact, 0, n)
		for i := range col {
			col[i] = value(i)
		}
	}
	facts("in-flight", func(i int) float32 { return float32(c.Loads[i].Requests) })
	facts("backlog-tokens", func(i int) float32 { return float32(c.Loads[i].Backlog) })
	facts("context-tokens", func(i int) float32 { return float32(c.Loads[i].Context) })
	facts("cached-tokens", func(i int) float32 { return float32(c.Cached[i]) })
	if c.holdings != nil {
		facts(ExactFact, func(i int) float32 {
			if i < len(c.Exact) && c.Exact[i] {
				return 1
			}
			return 0
		})
	}
	facts("engine-waiting", func(i int) float32 { return float32(c.Snapshot.Metrics[i].Waiting) })
	facts("engine-running", func(i int) float32 { return float32(c.Snapshot.Metrics[i].Running) })
	facts("kv-usage", func(i int) float32 { return c.Snapshot.Metrics[i].KVUsage })
	if c.Request.HasSubset {
		col := e.column("subset", Verdict, 0, n)
		clear(col)
		for _, i := range c.Candidates {
			col[i] = 1
		}
	}
}

func (e *Explanation) end(dec *Decision) {
	e.Ranked = append(e.Ranked[:0], dec.Ranked...)
	e.Prefill = append(e.Prefill[:0], dec.Prefill...)
	e.Encode = append(e.Encode[:0], dec.Encode...)
	e.Cached, e.Uncached = dec.Cached, dec.Uncached
}
