package kvcache

import (
	"context"
	"errors"
	"net"
	"net/url"
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
	r.Authorization = c.shown(p.Authorization)
	t, err := c.engine.Tokens(ctx, r)
	return t, err == nil
}

// shown is what a client's Authorization header is for the one that is asked: a server
// that is no endpoint of the pool would not get it with the request, and does not get it
// with a question.
func (c *Cache) shown(authorization string) string {
	if authorization == "" || c.engine != c.set.shared {
		return authorization
	}
	snap := c.pool.Snapshot()
	for i := range snap.Endpoints {
		if snap.Endpoints[i].Address == c.set.sharedAt {
			return authorization
		}
	}
	return ""
}

// addressOf is the host and port of an http or https URL.
func addressOf(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return ""
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return net.JoinHostPort(u.Hostname(), port)
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
