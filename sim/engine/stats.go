package engine

import (
	"maps"
	"slices"
)

type totals struct {
	queries, hits, prompt, generation, preemptions, finished, cancelled, externalQueries, externalHits int64
}

// Stats is the engine's state, as a metrics page shows it.
type Stats struct {
	// Running and Waiting are requests; those that wait for a transfer count as
	// waiting.
	Running, Waiting int
	// KVUsage is the KV blocks of running sequences as a fraction of all, 0 to 1.
	// Cached blocks that no sequence uses do not count.
	KVUsage float64
	// Blocks is the size of the KV cache, BlankBlocks those without content,
	// CachedBlocks those in the prefix cache, EvictableBlocks those of them that no
	// running sequence uses.
	Blocks, BlankBlocks, CachedBlocks, EvictableBlocks int
	// PrefixQueries is the prompt tokens of admitted requests, PrefixHits those of
	// them found in the prefix cache. A preempted request counts once.
	PrefixQueries, PrefixHits int64
	// ExternalQueries is the prompt tokens that were not in the prefix cache of admitted
	// requests with Remote, ExternalHits those of them that were fetched.
	ExternalQueries, ExternalHits int64
	// PromptTokens and GenerationTokens are totals of computed prompts and output.
	PromptTokens, GenerationTokens int64
	// Preemptions, Finished and Cancelled are totals.
	Preemptions, Finished, Cancelled int64
}

// Stats returns the current state; it allocates nothing.
func (e *Engine) Stats() Stats {
	c := &e.cache
	return Stats{
		Running: len(e.running), Waiting: e.waiting.len() + len(e.arriving),
		KVUsage: 1 - float64(c.available())/float64(e.cfg.Blocks),
		Blocks:  e.cfg.Blocks, BlankBlocks: c.blank, CachedBlocks: len(c.byHash), EvictableBlocks: c.unused,
		PrefixQueries: e.totals.queries, PrefixHits: e.totals.hits,
		ExternalQueries: e.totals.externalQueries, ExternalHits: e.totals.externalHits,
		PromptTokens: e.totals.prompt, GenerationTokens: e.totals.generation,
		Preemptions: e.totals.preemptions, Finished: e.totals.finished, Cancelled: e.totals.cancelled,
	}
}

// Adapters returns the LoRA adapters of running and of waiting requests, sorted.
func (e *Engine) Adapters() (running, waiting []string) {
	running = slices.Sorted(maps.Keys(e.loras.active))
	names := make(map[string]bool)
	for i := range e.waiting.len() {
		if a := e.waiting.at(i).Adapter; a != "" {
			names[a] = true
		}
	}
	return running, slices.Sorted(maps.Keys(names))
}
