package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/fairway-ai/fairway/epp/config"
	"github.com/fairway-ai/fairway/epp/kvcache"
	"github.com/fairway-ai/fairway/epp/models"
	"github.com/fairway-ai/fairway/epp/run"
	"github.com/fairway-ai/fairway/extproc/scan"
	"github.com/fairway-ai/fairway/pool"
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
	// endpointsFrom is what names that file: a flag, or the configuration.
	endpointsFrom string
	// scrape is false when the endpoints' metrics are not to be read, as pool says.
	scrape bool
	pool   pool.Options
	scan   scan.Options
	// servedHeader is true when a conformance test wants to know what served.
	servedHeader bool
	warnings     []string
	// exchange is what goes on between replicas; it ends when its context does.
	exchange func(context.Context) error
	// caches are the KV caches that are followed; nil for none.
	caches *kvcache.Set
	// models reads which models the endpoints serve; nil for nobody.
	models *models.Set
	// data is the EndpointPickerConfig, from where it came from, and read what it says.
	data []byte
	from string
	read *config.Config
}

// loadConfig reads the EndpointPickerConfig, when there is one. The flags that
// name the endpoints, or were set at all, win over what it says.
func (f *eppFlags) loadConfig() (*eppConfig, error) {
	c, err := f.readPolicy()
	if err != nil {
		return nil, err
	}
	return c, f.findEndpoints(c)
}

// findEndpoints says where the endpoints are.
func (f *eppFlags) findEndpoints(c *eppConfig) error {
	switch d := c.read.Discovery; {
	case f.endpointsFile != "":
		c.endpoints, c.endpointsFrom, c.watch = f.endpointsFile, "--endpoints-file", true
	case f.file != "":
		c.endpoints, c.endpointsFrom, c.watch = f.file, "--file", true
	case d != nil:
		c.endpoints, c.endpointsFrom, c.watch = d.Path, c.from, d.WatchFile
		if errs := f.cluster.validate(true); len(errs) > 0 {
			return fmt.Errorf("%s: names a file of endpoints: %w", c.from, errors.Join(errs...))
		}
	case !f.cluster.used():
		return errNoEndpoints
	}
	return nil
}

// loadPolicy reads an EndpointPickerConfig that names no endpoints.
func (f *eppFlags) loadPolicy() (*eppConfig, error) {
	c, err := f.readPolicy()
	if err != nil {
		return nil, err
	}
	if c.read.Discovery != nil {
		return nil, fmt.Errorf("%s: names a file of endpoints, which come from elsewhere here: remove the file-discovery plugin", c.from)
	}
	return c, nil
}

// readPolicy reads what the configuration says of anything but endpoints.
func (f *eppFlags) readPolicy() (*eppConfig, error) {
	data, from, err := f.configData()
	if err != nil {
		return nil, err
	}
	return f.parsePolicy(data, from)
}

// parsePolicy is readPolicy of a configuration that was read already.
func (f *eppFlags) parsePolicy(data []byte, from string) (*eppConfig, error) {
	read, warnings, err := f.options().Load(data)
	if err != nil && from == "" { // then it is of the flags, which it names
		return nil, err
	} else if err != nil {
		return nil, fmt.Errorf("%s: %w", from, err)
	}
	c := &eppConfig{
		data: data, from: from, read: read,
		scrape: !read.Metrics.Disabled, servedHeader: read.ServedHeader,
	}
	for _, w := range warnings {
		c.warnings = append(c.warnings, from+": "+w.String())
	}
	warn := func(text string) { c.warnings = append(c.warnings, from+": "+text) }
	c.policy = f.options().Policies(read, data)
	c.scan = run.ScanOptions(&read.Prefix, warn)
	source := read.Metrics // the flags' part of it is not the file's
	f.more.metrics(&source, warn)
	if err := source.Source.Validate(); err != nil {
		return nil, fmt.Errorf("%s: metrics: %w", from, err)
	}
	if f.refreshSet && f.refreshInterval < minRefresh {
		c.warnings = append(c.warnings, fmt.Sprintf("--refresh-metrics-interval: %v is too short: %v is used", f.refreshInterval, minRefresh))
	}
	if c.pool, err = f.poolOptions(&source); err != nil {
		return nil, fmt.Errorf("%s: %w", from, err)
	}
	return c, nil
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
	if data, err = readConfigFile(f.configFile); err != nil {
		return nil, "", fmt.Errorf("--config-file: %w", err)
	}
	return data, f.configFile, nil
}

// readConfigFile reads a file as far as config.Load needs it to say that it is too long.
func readConfigFile(name string) ([]byte, error) {
	r, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = r.Close() }()
	return io.ReadAll(io.LimitReader(r, config.MaxSize+1))
}

// poolOptions say how the endpoints' metrics are read.
func (f *eppFlags) poolOptions(m *config.Metrics) (pool.Options, error) {
	o, err := run.PoolOptions(m)
	if d := o.Interval; d > 0 && !f.refreshSet {
		o.Interval = max(d, minRefresh)
	} else {
		o.Interval = max(f.refreshInterval, minRefresh)
	}
	o.Staleness = f.staleness
	return o, err
}

// minRefresh is the shortest --refresh-metrics-interval; what is less counts as that.
const minRefresh = 50 * time.Millisecond
