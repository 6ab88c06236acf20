package cluster

import "github.com/fairway-ai/fairway/epp/kvcache"

// newCaches makes what follows endpoints' KV caches, nil when nothing is followed.
func (g *gateway) newCaches() (*kvcache.Set, error) {
	if g.o.KVCache == nil {
		return nil, nil
	}
	o := *g.o.KVCache
	o.Log = g.o.Log
	s, err := kvcache.New(o)
	if err != nil {
		return nil, err
	}
	g.metrics.WatchKVCache(s.Stats)
	return s, nil
}
