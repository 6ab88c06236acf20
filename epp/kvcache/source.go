package kvcache

import (
	"context"
	"errors"
	"sync/atomic"

	"github.com/fairway-ai/fairway/epp/tokens"
	"github.com/fairway-ai/fairway/epp/tokens/bpe"
	"github.com/fairway-ai/fairway/extproc/scan"
)

// tokens finds a prompt's tokens. A tokenizer of our own goes first where there is one:
// an engine that is slow to answer would leave it no time. What it leaves of the budget
// is the engines'. Without either, ids that the request has itself are all there are.
func (c *Cache) tokens(ctx context.Context, p Prompt) (t tokens.Tokens, ok bool) {
	o := &c.set.o
	r := tokens.Request{Path: p.Path, Model: p.Model, Body: p.Body, Budget: o.Tokens.Budget}
	own := o.Tokens.Local != nil && scan.APIFromPath(p.Path) == scan.Completions && o.Tokens.Local(p.Model) != nil
	if own || c.engine == nil {
		begun := o.Clock.Now()
		t, err := c.own.Tokens(ctx, r)
		c.local.count(err)
		if r.Budget -= o.Clock.Now().Sub(begun); err == nil || c.engine == nil || r.Budget <= 0 {
			return t, err == nil
		}
	}
	if o.Tokens.Model != "" {
		r.Model = o.Tokens.Model
	}
	t, err := c.engine.Tokens(ctx, r)
	return t, err == nil
}

func noTokenizer(string) *bpe.Tokenizer { return nil }

// localCounters count what tokenizers of our own were asked.
type localCounters struct{ found, late, unusable atomic.Uint64 }

func (c *localCounters) count(err error) {
	switch {
	case err == nil:
		c.found.Add(1)
	case errors.Is(err, tokens.ErrLate):
		c.late.Add(1)
	default:
		c.unusable.Add(1)
	}
}
