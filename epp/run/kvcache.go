package run

import (
	"github.com/fairway-ai/fairway/epp/config"
	"github.com/fairway-ai/fairway/epp/kvcache"
)

// KVCache is how engines' KV cache events are followed, as a configuration says; nil
// when they are not.
func KVCache(c *config.Config) *kvcache.Options {
	k := c.KVCache
	if k == nil {
		return nil
	}
	o := &kvcache.Options{Tokens: Tokens(&c.Tokens)}
	o.Events.Bind, o.Events.TopicFilter, o.Events.Workers = k.Bind, k.TopicFilter, k.Workers
	o.Events.SocketPort, o.Events.ReplayPort = k.SocketPort, k.ReplayPort
	o.Index.BlockTokens, o.Index.TierWeights = k.BlockTokens, k.TierWeights
	if o.Index.SpeculativeTTL = k.SpeculativeTTL.Duration; !k.Speculative {
		o.Index.SpeculativeTTL = -1
	}
	return o
}

// Tokens is where the tokens of requests come from, as a configuration says.
func Tokens(t *config.Tokens) kvcache.Tokens {
	return kvcache.Tokens{
		Engines: t.Render, URL: t.URL, Model: t.Model,
		Timeout: t.Timeout.Duration, ImagesTimeout: t.ImagesTimeout.Duration,
	}
}
