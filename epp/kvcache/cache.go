package kvcache

import (
	"context"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/fairway-ai/fairway/epp/tokens"
	"github.com/fairway-ai/fairway/extproc/scan"
	"github.com/fairway-ai/fairway/pool/kvevents/index"
	"github.com/fairway-ai/fairway/scheduler"
	"github.com/fairway-ai/fairway/scheduler/prefix"
)

// Cache is what is known of one pool's KV caches. It is safe for concurrent use, and
// usable, though it knows nothing, once closed.
type Cache struct {
	set    *Set
	name   string
	pool   Endpoints
	prefix *prefix.Index
	index  *index.Index
	engine *tokens.Engine // nil where none is asked
	own    tokens.Local
	cancel func()
	closed atomic.Bool
	// live is the number of endpoints whose events are followed.
	live    atomic.Int64
	several bool // the pool's servers have several ranks; guarded by hub.mu
	matches sync.Pool
	lookups lookups
	local   localCounters
	models  models
}

var _ scheduler.Holdings = (*Cache)(nil)

// Close ends the pool's following, and the questions on their way. It may be called
// twice.
func (c *Cache) Close() {
	if c.closed.Swap(true) {
		return
	}
	if c.cancel != nil {
		c.cancel()
	}
	c.set.hub.follow(c)
	if c.engine != nil && c.engine != c.set.shared {
		c.engine.Close()
	}
	c.set.retire(c)
}

// Match implements scheduler.Holdings.
func (c *Cache) Match(keys []prefix.Block, snap *scheduler.Snapshot, held, blocks []int32) (known int) {
	clock := c.set.o.Clock
	begun := clock.Now()
	m := c.matches.Get().(*index.Matches)
	c.index.Match(keys, snap.Slots, m)
	best := int32(0)
	for i := range snap.Endpoints {
		slot := snap.Endpoints[i].Slot
		if !c.index.Exact(slot) {
			blocks[i] = -1
			continue
		}
		known++
		held[i], blocks[i] = int32(m.Weighted(slot)), m.Blocks(slot)
		best = max(best, blocks[i])
	}
	c.matches.Put(m)
	c.lookups.add(clock.Now().Sub(begun), best)
	return known
}

// MatchOne implements scheduler.Holdings.
func (c *Cache) MatchOne(keys []prefix.Block, slot int32) (held int64, ok bool) {
	if !c.index.Exact(slot) {
		return 0, false
	}
	return int64(c.index.MatchOne(keys, slot)), true
}

// Dispatched records that a prompt with these keys was sent to the endpoint in slot,
// where the engine has not reported it yet.
func (c *Cache) Dispatched(slot int32, keys []prefix.Block) { c.index.Dispatched(slot, keys) }

// Wanted tells whether the keys of a request of that API would be of use: an endpoint
// must be known, and the API one whose prompts can be tokenized.
func (c *Cache) Wanted(api scan.API) bool {
	if c.live.Load() == 0 {
		return false
	}
	switch api {
	case scan.ChatCompletions, scan.Completions, scan.Generate:
		return true
	case scan.Messages, scan.Responses:
		return c.engine != nil // only engines know how these are rendered
	}
	return false
}

// Prompt is a request whose keys are wanted.
type Prompt struct {
	// Path is the request's path, Model the model or adapter that the engine gets; "" is
	// the one that the engines name.
	Path, Model string
	// Authorization is the request's header of that name. It is shown to the pool's own
	// endpoints alone, which would get it with the request.
	Authorization string
	// Body is the request's JSON. It is read during the call only.
	Body []byte
	// Known are the tokens where the request itself has them, other than in JSON; Path
	// and Body are not read then.
	Known *tokens.Tokens
}

// Found is a prompt's keys.
type Found struct {
	// Keys are the keys of its full blocks.
	Keys []prefix.Block
	// Tokens is its length; 0 where further prompts are not counted.
	Tokens int64
}

// known is how many endpoints say what they hold.
func (c *Cache) known() (n int) {
	for _, e := range c.pool.Snapshot().Endpoints {
		if c.index.Exact(e.Slot) {
			n++
		}
	}
	return n
}

// Find returns a prompt's keys, appended to dst, within the budget; ok is false when its
// tokens are not known by then, or no engine names its model.
func (c *Cache) Find(ctx context.Context, p Prompt, dst []prefix.Block) (f Found, ok bool) {
	if p.Model == "" {
		p.Model = c.models.only()
	}
	if !c.models.covers(p.Model) {
		c.models.missed(p.Model, c.set.o.Clock.Now())
		return Found{}, false
	}
	var t tokens.Tokens
	if p.Known != nil {
		t, ok = *p.Known, true
	} else {
		t, ok = c.tokens(ctx, p)
	}
	if !ok || !t.Exact || t.IDs == nil {
		return Found{}, false
	}
	f.Keys = c.index.Keys(dst, p.Model, t.IDs, t.Extras(c.engineBlock()))
	if !t.Partial {
		f.Tokens = int64(t.Count)
	}
	return f, true
}

// defaultEngineBlock is an engine's block size, in tokens, where none says.
const defaultEngineBlock = 16

// engineBlock is the size of the engines' blocks in tokens.
func (c *Cache) engineBlock() int {
	for i, snap := 0, c.pool.Snapshot(); i < len(snap.Metrics); i++ {
		if n := snap.Metrics[i].BlockTokens; n > 0 {
			return int(n)
		}
	}
	return defaultEngineBlock
}

// reachable are the addresses that can be asked for tokens.
func (c *Cache) reachable() []string {
	snap := c.pool.Snapshot()
	list := make([]string, 0, snap.Len())
	for i := range snap.Endpoints {
		if !snap.Metrics[i].Unreachable {
			list = append(list, snap.Endpoints[i].Address)
		}
	}
	return list
}

// ranks are the endpoints' data parallel ranks. A server with several has an endpoint
// for each, whose name ends in "-rank-i"; where no server has, that is just a name.
func (c *Cache) ranks(es []scheduler.Endpoint) []int {
	ranks := make([]int, len(es))
	seen := map[string]bool{}
	for i := range es {
		at := strings.LastIndex(es[i].ID, "-rank-")
		if at < 0 {
			continue
		}
		n, err := strconv.Atoi(es[i].ID[at+len("-rank-"):])
		host, _, splits := net.SplitHostPort(es[i].Address)
		if err != nil || splits != nil || n < 0 || n > maxRank {
			continue
		}
		ranks[i] = n
		server := es[i].ID[:at] + " " + host
		c.several = c.several || seen[server]
		seen[server] = true
	}
	if !c.several {
		clear(ranks)
	}
	return ranks
}

const maxRank = 1024
