package epp

import (
	"context"

	"github.com/fairway-ai/fairway/epp/kvcache"
	"github.com/fairway-ai/fairway/extproc"
	"github.com/fairway-ai/fairway/extproc/scan"
	"github.com/fairway-ai/fairway/scheduler"
	"github.com/fairway-ai/fairway/scheduler/prefix"
)

// KVCache knows what the KV caches of a pool's endpoints hold. *kvcache.Cache is one.
type KVCache interface {
	scheduler.Holdings
	// Wanted tells whether the keys of a request of that API would be of use now.
	Wanted(api scan.API) bool
	// Find appends a prompt's keys to dst; ok is false when they are not known in time.
	Find(ctx context.Context, p kvcache.Prompt, dst []prefix.Block) (f kvcache.Found, ok bool)
	// Dispatched records that a prompt with these keys was sent to the endpoint in slot.
	Dispatched(slot int32, keys []prefix.Block)
}

// headerAuthorization is what engines with an API key want to see before they answer.
const headerAuthorization = "authorization"

// findKeys finds the keys of the request's prompt, where the pool's engines report what
// they hold. Without them the request is routed by what was sent where.
func (r *request) findKeys(ctx context.Context, req *extproc.Request) {
	c := r.route.cache
	if c == nil || req.BodyBytes > kvcache.MaxBody || !c.Wanted(r.api) {
		return
	}
	req.WithBody(func(body []byte) {
		p := kvcache.Prompt{Path: req.Path, Model: r.sched.Model, Authorization: req.Header(headerAuthorization), Body: body}
		if req.Body.GRPC && !fromMessage(&p) {
			return
		}
		start := r.picker.elapsed()
		f, ok := c.Find(ctx, p, r.keys[:0])
		r.picker.o.Metrics.Tokenized(r.picker.elapsed() - start)
		if !ok {
			return
		}
		r.keys = f.Keys
		r.sched.Keys, r.sched.KeysKnown = r.keys, true
		if f.Tokens > 0 {
			rescale(r.blocks, f.Tokens, r.sched.PromptTokens)
			r.sched.PromptTokens = f.Tokens
		}
	})
}

// rescale makes blocks whose tokens were estimated, for a prompt of that many, fit one
// that has exact tokens.
func rescale(blocks []prefix.Block, exact, estimated int64) {
	if estimated <= 0 {
		return
	}
	var before, sum int64
	for i := range blocks {
		sum += int64(blocks[i].Tokens)
		// What is rounded here is made up for in the next block.
		scaled := int64(float64(sum) * float64(exact) / float64(estimated))
		blocks[i].Tokens = int32(max(0, scaled-before))
		before = scaled
	}
}
