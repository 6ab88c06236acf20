package workload

import (
	"cmp"
	"slices"
	"time"
)

// Request is one request of a workload.
type Request struct {
	// At is when the request arrives, from the start of the workload. For a
	// request with a Parent it is when the trace says it arrived; a replay by
	// think time ignores it.
	At time.Duration
	// Input and Output are the prompt's and the answer's length in tokens.
	Input, Output int
	// Hashes are the prompt's chained block hashes, one per BlockTokens tokens,
	// the last one possibly for a partial block.
	Hashes []uint64
	// Adapter is the LoRA adapter that the request is for, "" for the base model.
	Adapter string
	// Parent is the index of the request whose answer this one follows, -1 when it
	// starts a session. It is always smaller than the request's own index.
	Parent int
	// Think is the pause between the parent's end and this request.
	Think time.Duration
}

// Workload is a list of requests in order of arrival.
type Workload struct {
	// Name is shown in reports.
	Name string
	// BlockTokens is the number of tokens a hash stands for.
	BlockTokens int
	// ByThinkTime is true when requests with a parent must be sent Think after
	// the parent's end; otherwise At counts.
	ByThinkTime bool
	// Requests are sorted by At.
	Requests []Request
}

// AtSpeed returns the workload with its arrival and think times divided by
// speed. The hashes are shared with the original.
func (w *Workload) AtSpeed(speed float64) *Workload {
	out := *w
	out.Requests = slices.Clone(w.Requests)
	for i := range out.Requests {
		r := &out.Requests[i]
		r.At = time.Duration(float64(r.At) / speed)
		r.Think = time.Duration(float64(r.Think) / speed)
	}
	return &out
}

// sortByArrival sorts the requests and renumbers the parents.
func (w *Workload) sortByArrival() {
	order := make([]int, len(w.Requests))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		return cmp.Compare(w.Requests[a].At, w.Requests[b].At)
	})
	place := make([]int, len(order))
	sorted := make([]Request, len(order))
	for to, from := range order {
		place[from] = to
		sorted[to] = w.Requests[from]
	}
	for i := range sorted {
		if p := sorted[i].Parent; p >= 0 {
			sorted[i].Parent = place[p]
		}
	}
	w.Requests = sorted
}
