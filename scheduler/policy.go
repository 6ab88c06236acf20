package scheduler

// Policy ranks the candidates of a cycle. Implementations are immutable after
// construction and safe for concurrent use; all per-request state is in the
// Cycle.
type Policy interface {
	// Name is the policy's type, for explanations and metrics.
	Name() string
	// Schedule returns the candidates' indices, best first, in a slice that may
	// share the cycle's memory. An empty result means every candidate was
	// filtered out.
	Schedule(c *Cycle) []int32
}

// Filter removes endpoints that must not serve a request.
type Filter interface {
	// Name is the plugin's name in the configuration.
	Name() string
	// Filter returns the indices to keep, in ascending order. It may reuse the
	// memory of in.
	Filter(c *Cycle, in []int32) []int32
}

// Scorer says how good each endpoint is for a request.
type Scorer interface {
	// Name is the plugin's name in the configuration.
	Name() string
	// Score fills out[i] for every candidate index i. Values are clamped to
	// [0, 1] before they are weighted. len(out) is the snapshot's length.
	Score(c *Cycle, out []float32)
}

// Picker orders the candidates by their total score.
type Picker interface {
	// Name is the plugin's name in the configuration.
	Name() string
	// Pick returns up to its own maximum of candidates, best first. It may
	// reorder c.Candidates in place and return a part of it.
	Pick(c *Cycle, total []float32) []int32
}

// Observer is a Filter or Scorer that learns from what was picked.
type Observer interface {
	// Picked is called once per decision, after the picker, with the ranking.
	Picked(c *Cycle, ranked []int32)
}
