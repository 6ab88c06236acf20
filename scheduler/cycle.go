package scheduler

import (
	"slices"
	"strings"
	"time"

	"github.com/fairway-ai/fairway/scheduler/prefix"
)

// Cycle is the scratch of one decision: what the policy reads and the columns it
// writes. All columns are indexed like the snapshot. A Cycle is reused; nothing
// may keep a reference to it or its slices after Schedule returns.
type Cycle struct {
	// Request and Snapshot are the inputs.
	Request  *Request
	Snapshot *Snapshot
	// Candidates are the indices still eligible, ascending.
	Candidates []int32
	// Loads is one reading of every endpoint's live counters.
	Loads []LoadView
	// Cached is the prompt tokens each endpoint's KV cache is expected to hold, each
	// counted as its kind of memory is worth.
	Cached []int32
	// CachedBlocks is the same in blocks of Request.Blocks, or of Request.Keys where
	// Exact; see CachedShare.
	CachedBlocks []int32
	// Exact tells of which endpoints Cached is what their engines report, and not
	// concluded from what was sent there. It is empty when that is none.
	Exact []bool
	// Profile is the name of the profile that runs, Stage what it picks for.
	Profile string
	Stage   Stage
	// Peer is the endpoint that an earlier stage picked, the last one's; -1 when
	// none has.
	Peer int32
	// Prefill, Encode and Port are for the policy to set, as in [Decision].
	Prefill, Encode []int32
	Port            int
	// Output is the estimated length of the answer in tokens, 0 where it does not
	// count.
	Output int64
	// Picked is memory for a policy that keeps the pick while it runs other stages.
	Picked []int32
	// Explain records what is found, nil when nobody wants to know.
	Explain *Explanation

	timing    *timing // nil when nobody times decisions
	since     time.Duration
	holdings  Holdings // nil when no engine reports
	keyTokens int64    // of Request.Keys
	eligible  []int32  // the candidates before the first profile ran
	refused   error
	awaits    bool // as in Decision
	rng       uint64
	matches   prefix.Matches
	scratch   [][]float32
	nscratch  int
}

// Uncached is the prompt tokens endpoint i would have to prefill.
func (c *Cycle) Uncached(i int32) int64 {
	return max(0, c.Request.PromptTokens-int64(c.Cached[i]))
}

// CachedShare is the part of the prompt that endpoint i is expected to hold, 0 to 1,
// of what can be cached of it in whole blocks.
func (c *Cycle) CachedShare(i int32) float64 {
	switch {
	case c.CachedBlocks[i] == 0:
		return 0
	case int(i) < len(c.Exact) && c.Exact[i]:
		return float64(c.Cached[i]) / float64(c.keyTokens)
	}
	return float64(c.CachedBlocks[i]) / float64(max(1, len(c.Request.Blocks)))
}

// Column returns a zeroed scratch column, valid until the cycle ends.
func (c *Cycle) Column() []float32 {
	n := c.Snapshot.Len()
	if c.nscratch == len(c.scratch) {
		c.scratch = append(c.scratch, nil)
	}
	col := slices.Grow(c.scratch[c.nscratch][:0], n)[:n]
	clear(col)
	c.scratch[c.nscratch] = col
	c.nscratch++
	return col
}

// Rand returns the next pseudo-random number of this decision (splitmix64,
// seeded by Request.Seed).
func (c *Cycle) Rand() uint64 {
	c.rng += 0x9e3779b97f4a7c15
	z := c.rng
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb
	return z ^ (z >> 31)
}

// RandFloat returns a pseudo-random number in [0, 1).
func (c *Cycle) RandFloat() float64 { return float64(c.Rand()>>11) / (1 << 53) }

// begin fills the columns for a request. c.holdings is set.
func (c *Cycle) begin(req *Request, snap *Snapshot, index *prefix.Index, ex *Explanation) {
	n := snap.Len()
	c.Request, c.Snapshot, c.Explain = req, snap, ex
	c.rng = req.Seed
	c.nscratch = 0
	c.Profile, c.Stage, c.Peer, c.refused = "", StagePick, -1, nil
	c.Prefill, c.Encode, c.Port, c.Output = c.Prefill[:0], c.Encode[:0], 0, 0
	c.eligible = c.eligible[:0]
	c.awaits = false
	c.Candidates = slices.Grow(c.Candidates[:0], n)
	c.Loads = slices.Grow(c.Loads[:0], n)[:n]
	c.Cached = slices.Grow(c.Cached[:0], n)[:n]
	c.CachedBlocks = slices.Grow(c.CachedBlocks[:0], n)[:n]
	for i := range snap.Endpoints {
		c.Loads[i] = snap.Endpoints[i].Load.View()
	}
	c.lookUp(index)
	for i := range c.Loads {
		l := &c.Loads[i]
		if l.UnseenTokens != 0 || l.UnseenRequests != 0 {
			l.Backlog += l.UnseenTokens + int64(l.UnseenRequests*float64(c.Uncached(int32(i))))
		}
	}
	c.admit(true)
	if len(c.Candidates) == 0 {
		c.admit(false)
	}
	if ex != nil {
		ex.begin(c)
	}
}

// admit lists the endpoints that the gateway allows and, when reachable is set,
// that accept connections.
func (c *Cycle) admit(reachable bool) {
	req, snap := c.Request, c.Snapshot
	for i := range snap.Endpoints {
		if reachable && snap.Metrics[i].Unreachable {
			continue
		}
		if !req.HasSubset || inSubset(req.Subset, snap.Endpoints[i].Address) {
			c.Candidates = append(c.Candidates, int32(i))
		}
	}
}

// inSubset compares ip and port; an entry without a port admits every port.
func inSubset(subset []string, address string) bool {
	for _, s := range subset {
		if s == address {
			return true
		}
		if rest, ok := strings.CutPrefix(address, s); ok && len(rest) > 1 && rest[0] == ':' && !strings.Contains(rest[1:], ":") {
			return true
		}
	}
	return false
}
