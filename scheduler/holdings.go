package scheduler

import (
	"slices"

	"github.com/fairway-ai/fairway/scheduler/prefix"
)

// Holdings says what endpoints hold whose engines report it, so that nothing has to be
// concluded from what was sent there. It is safe for concurrent use.
type Holdings interface {
	// Match looks up a prompt by [Request.Keys]. For every endpoint whose engine
	// reports, it sets at the endpoint's index how many of the prompt's tokens are
	// held, each counted as its kind of memory is worth, and how many of its blocks;
	// for any other, blocks to -1. It returns how many report.
	Match(keys []prefix.Block, snap *Snapshot, tokens, blocks []int32) int
	// MatchOne is Match for one slot, in tokens; ok is false when its engine does not
	// report.
	MatchOne(keys []prefix.Block, slot int32) (tokens int64, ok bool)
}

// Option is a setting of a [Scheduler].
type Option func(*Scheduler)

// WithHoldings has the scheduler believe h of what endpoints hold, and the index only
// where h does not know or the request's keys are not known.
func WithHoldings(h Holdings) Option { return func(s *Scheduler) { s.holdings = h } }

// WithScreen has f judge the candidates of every request before the policy sees them.
// What it refuses no policy brings back, and a pool may be refused as a whole.
func WithScreen(f Filter) Option { return func(s *Scheduler) { s.screen = f } }

// lookUp fills Cached and CachedBlocks.
func (c *Cycle) lookUp(index *prefix.Index) {
	req, snap := c.Request, c.Snapshot
	c.Exact, c.keyTokens = c.Exact[:0], 0
	known := 0
	c.start()
	if c.holdings != nil && req.KeysKnown {
		known = c.holdings.Match(req.Keys, snap, c.Cached, c.CachedBlocks)
		c.lap(partKeys)
	}
	if known > 0 {
		for i := range req.Keys {
			c.keyTokens += int64(req.Keys[i].Tokens)
		}
		c.Exact = slices.Grow(c.Exact, snap.Len())[:snap.Len()]
		for i, n := range c.CachedBlocks {
			c.Exact[i] = n >= 0
		}
		if known == snap.Len() {
			return
		}
	}
	guess := index != nil && len(req.Blocks) > 0
	if guess {
		index.Match(req.Blocks, snap.Slots, &c.matches)
	}
	for i := range snap.Endpoints {
		switch slot := snap.Endpoints[i].Slot; {
		case known > 0 && c.Exact[i]:
		case guess:
			c.Cached[i], c.CachedBlocks[i] = c.matches.Tokens(slot), c.matches.Blocks(slot)
		default:
			c.Cached[i], c.CachedBlocks[i] = 0, 0
		}
	}
	if guess {
		c.lap(partIndex)
	}
}
