package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/fairway-ai/fairway/epp/config"
	"github.com/fairway-ai/fairway/extproc/scan"
	"github.com/fairway-ai/fairway/pool"
	"github.com/fairway-ai/fairway/pool/scrape"
	"github.com/fairway-ai/fairway/scheduler"
)

// eppConfig is what the flags and the EndpointPickerConfig say together.
type eppConfig struct {
	// policy makes a pool's policy; nil means the default policy.
	policy func() scheduler.Policy
	// endpoints is the file with the endpoints, and watch whether it is followed; ""
	// means a cluster.
	endpoints string
	watch     bool
	// scrape is false when the endpoints' metrics are not to be read, as pool says.
	scrape bool
	pool   pool.Options
	scan   scan.Options
	// sessionHeader is true when a scorer reads session tokens.
	sessionHeader bool
	// servedHeader is true when a conformance test wants to know what served.
	servedHeader bool
	warnings     []string
}

// loadConfig reads the EndpointPickerConfig, when there is one. The flags that
// name the endpoints, or were set at all, win over what it says.
func (f *eppFlags) loadConfig() (*eppConfig, error) {
	c, read, from, err := f.readPolicy()
	if err != nil {
		return nil, err
	}
	switch {
	case f.endpointsFile != "":
		c.endpoints, c.watch = f.endpointsFile, true
	case f.file != "":
		c.endpoints, c.watch = f.file, true
	case read.Discovery != nil:
		c.endpoints, c.watch = read.Discovery.Path, read.Discovery.WatchFile
		if errs := f.cluster.validate(true); len(errs) > 0 {
			return nil, fmt.Errorf("%s: names a file of endpoints: %w", from, errors.Join(errs...))
		}
	case !f.cluster.used():
		return nil, errNoEndpoints
	}
	return c, nil
}

// loadPolicy reads an EndpointPickerConfig that names no endpoints.
func (f *eppFlags) loadPolicy() (*eppConfig, error) {
	c, read, from, err := f.readPolicy()
	if err != nil {
		return nil, err
	}
	if read.Discovery != nil {
		return nil, fmt.Errorf("%s: names a file of endpoints, but they come from the cluster: remove the file-discovery plugin", from)
	}
	return c, nil
}

// readPolicy reads what the configuration says of anything but endpoints; from says
// where it came from.
func (f *eppFlags) readPolicy() (c *eppConfig, read *config.Config, from string, err error) {
	data, from, err := f.configData()
	if err != nil {
		return nil, nil, "", err
	}
	read, warnings, err := config.Load(data)
	if err != nil {
		return nil, nil, "", fmt.Errorf("%s: %w", from, err)
	}
	c = &eppConfig{scrape: !read.Metrics.Disabled, sessionHeader: read.SessionHeader, servedHeader: read.ServedHeader}
	for _, w := range warnings {
		c.warnings = append(c.warnings, from+": "+w.String())
	}
	warn := func(text string) { c.warnings = append(c.warnings, from+": "+text) }
	if read.Policy != nil {
		c.policy = func() scheduler.Policy {
			// Read anew, since policies may remember and pools must not share that.
			// What could be loaded once can be loaded again.
			again, _, err := config.Load(data)
			if err != nil {
				panic(err)
			}
			return again.Policy
		}
	}
	if read.Saturation != nil {
		warn("the saturation detector has no effect: it sheds requests of negative priority, and here all have priority 0")
	}
	c.scan = scanOptions(&read.Prefix, warn)
	c.pool, err = f.poolOptions(&read.Metrics)
	if err != nil {
		return nil, nil, "", fmt.Errorf("%s: %w", from, err)
	}
	return c, read, from, nil
}

// configData is the EndpointPickerConfig and where it came from; no data when
// there is none.
func (f *eppFlags) configData() (data []byte, from string, err error) {
	switch {
	case f.configText != "":
		return []byte(f.configText), "--config-text", nil
	case f.configFile == "":
		return nil, "", nil
	}
	r, err := os.Open(f.configFile)
	if err != nil {
		return nil, "", fmt.Errorf("--config-file: %w", err)
	}
	defer func() { _ = r.Close() }()
	data, err = io.ReadAll(io.LimitReader(r, config.MaxSize+1))
	if err != nil {
		return nil, "", fmt.Errorf("--config-file: %w", err)
	}
	return data, f.configFile, nil
}

// scanOptions are the prompt blocks that an approx-prefix-cache-producer asks for.
func scanOptions(p *config.ApproxPrefix, warn func(string)) scan.Options {
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

// poolOptions say how the endpoints' metrics are read.
func (f *eppFlags) poolOptions(m *config.Metrics) (pool.Options, error) {
	o := pool.Options{Interval: f.refreshInterval, Staleness: f.staleness}
	if d := m.Source.Interval.Duration; d > 0 && !f.refreshSet {
		o.Interval = max(d, minRefresh)
	}
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
		engines.Mappings[e.Name] = mapping(&e)
	}
	o.Scraper = client
	if o.Engines, err = scrape.NewEngines(engines); err != nil {
		return o, fmt.Errorf("core-metrics-extractor: %w", err)
	}
	return o, nil
}

// mapping is an engine's metrics in the shape of the scraper. Its cache info has
// vLLM's labels.
func mapping(e *config.EngineConfig) scrape.Mapping {
	m := scrape.Mapping{Waiting: e.QueuedRequestsSpec, Running: e.RunningRequestsSpec, LoRA: e.LoRASpec}
	if e.KVUsageSpec != "" {
		m.KVUsage = []string{e.KVUsageSpec}
	}
	if e.CacheInfoSpec != "" {
		m.BlockTokens, m.BlockTokensLabel = e.CacheInfoSpec, "block_size"
		m.Blocks, m.BlocksLabel = e.CacheInfoSpec, "num_gpu_blocks"
	}
	return m
}

// minRefresh is the shortest --refresh-metrics-interval.
const minRefresh = 50 * time.Millisecond
