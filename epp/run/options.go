package run

import (
	"fmt"

	"github.com/fairway-ai/fairway/epp/config"
	"github.com/fairway-ai/fairway/extproc/scan"
	"github.com/fairway-ai/fairway/pool"
	"github.com/fairway-ai/fairway/pool/scrape"
)

// maxTokens is more than any prompt has, so that a configuration may say "no bound" by a
// number that is too large to reckon with.
const maxTokens = 1 << 40

// ScanOptions are the prompt blocks that a configuration asks for. warn gets what has
// no effect.
func ScanOptions(p *config.ApproxPrefix, warn func(string)) scan.Options {
	o := scan.Options{MaxBlocks: p.MaxPrefixBlocksToMatch}
	if !p.AutoTune {
		o.BlockBytes = min(p.BlockSizeTokens, maxTokens) * scan.BytesPerToken
		if p.LRUCapacityPerServer > 0 {
			warn("lruCapacityPerServer has no effect: the capacity of an endpoint's cache is what its engine reports")
		}
	}
	switch {
	case p.MaxPrefixTokensToMatch == 0:
	case o.BlockBytes > 0:
		o.MaxBlocks = max(1, min(p.MaxPrefixTokensToMatch, maxTokens)*scan.BytesPerToken/o.BlockBytes)
	default:
		warn("maxPrefixTokensToMatch has no effect together with autoTune: blocks have no fixed size then; use maxPrefixBlocksToMatch")
	}
	return o
}

// Check finds what Load of package config leaves to others: what is wrong with how the
// endpoints' metrics are read, and what has no effect. It reads none of the files that
// the configuration names, so it needs not be done where they are.
func Check(c *config.Config) (warnings []string, err error) {
	ScanOptions(&c.Prefix, func(text string) { warnings = append(warnings, text) })
	_, err = engines(&c.Metrics)
	return warnings, err
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
	o.Scraper = client
	o.Engines, err = engines(m)
	return o, err
}

// engines are what engines call their metrics.
func engines(m *config.Metrics) (*scrape.Engines, error) {
	o := scrape.EnginesOptions{Default: m.Engines.DefaultEngine, Label: m.Engines.EngineLabelKey, Mappings: map[string]scrape.Mapping{}}
	for _, e := range m.Engines.EngineConfigs {
		o.Mappings[e.Name] = mapping(m, &e)
	}
	known, err := scrape.NewEngines(o)
	if err != nil {
		return nil, fmt.Errorf("core-metrics-extractor: %w", err)
	}
	return known, nil
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
