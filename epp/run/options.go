package run

import (
	"fmt"

	"github.com/fairway-ai/fairway/epp/config"
	"github.com/fairway-ai/fairway/extproc/scan"
	"github.com/fairway-ai/fairway/pool"
	"github.com/fairway-ai/fairway/pool/scrape"
)

// ScanOptions are the prompt blocks that a configuration asks for. warn gets what has
// no effect.
func ScanOptions(p *config.ApproxPrefix, warn func(string)) scan.Options {
	o := scan.Options{MaxBlocks: p.MaxPrefixBlocksToMatch}
	if !p.AutoTune {
		o.BlockBytes = p.BlockSizeTokens * scan.BytesPerToken
		if p.LRUCapacityPerServer > 0 {
			warn("lruCapacityPerServer has no effect: the capacity of an endpoint's cache is what its engine reports")
		}
	}
	switch {
	case p.MaxPrefixTokensToMatch == 0:
	case o.BlockBytes > 0:
		o.MaxBlocks = max(1, p.MaxPrefixTokensToMatch*scan.BytesPerToken/o.BlockBytes)
	default:
		warn("maxPrefixTokensToMatch has no effect together with autoTune: blocks have no fixed size then; use maxPrefixBlocksToMatch")
	}
	return o
}

// PoolOptions say how the endpoints' metrics are read. An error names the plugin.
func PoolOptions(m *config.Metrics) (pool.Options, error) {
	o := pool.Options{Interval: m.Source.Interval.Duration}
	client, err := scrape.NewClient(scrape.ClientOptions{
		Scheme: m.Source.Scheme, Path: m.Source.Path, Port: m.Source.Port,
		InsecureSkipVerify: m.Source.InsecureSkipVerify, CAFile: m.Source.CACertPath,
		CertFile: m.Source.ClientCertPath, KeyFile: m.Source.ClientKeyPath,
	})
	if err != nil {
		return o, fmt.Errorf("metrics-data-source: %w", err)
	}
	engines := scrape.EnginesOptions{Default: m.Engines.DefaultEngine, Label: m.Engines.EngineLabelKey, Mappings: map[string]scrape.Mapping{}}
	for _, e := range m.Engines.EngineConfigs {
		engines.Mappings[e.Name] = mapping(m, &e)
	}
	o.Scraper = client
	if o.Engines, err = scrape.NewEngines(engines); err != nil {
		return o, fmt.Errorf("core-metrics-extractor: %w", err)
	}
	return o, nil
}

// mapping is an engine's metrics in the shape of the scraper. Its cache info has
// vLLM's labels.
func mapping(all *config.Metrics, e *config.EngineConfig) scrape.Mapping {
	m := scrape.Mapping{Waiting: e.QueuedRequestsSpec, Running: e.RunningRequestsSpec, LoRA: e.LoRASpec, Custom: all.Custom(e)}
	if e.KVUsageSpec != "" {
		m.KVUsage = []string{e.KVUsageSpec}
	}
	if e.CacheInfoSpec != "" {
		m.BlockTokens, m.BlockTokensLabel = e.CacheInfoSpec, "block_size"
		m.Blocks, m.BlocksLabel = e.CacheInfoSpec, "num_gpu_blocks"
	}
	return m
}
