package main

import (
	"context"
	"fmt"

	"github.com/fairway-ai/fairway/epp/report"
	"github.com/fairway-ai/fairway/epp/run"
	"github.com/fairway-ai/fairway/gateway/cluster"
)

// policy reads the EndpointPickerConfig for the pools that the gateway picks for, and
// has it followed.
func (f *gatewayFlags) policy(o *cluster.Options) error {
	e := eppFlags{configFile: f.configFile, experimental: f.experimental, kv: f.kv}
	c, err := e.loadPolicy()
	if err != nil {
		return fmt.Errorf("--config-file: %w", err)
	}
	for _, w := range c.warnings {
		o.Log.Warn(w)
	}
	o.Policy, o.Scan = c.policy, c.scan
	o.Pool, o.Scrape = c.pool, c.scrape
	o.Pool.Logger = o.Log
	if o.KVCache, err = f.kv.options(c.read, f.configFile); err != nil {
		return err
	}
	o.SessionHeaders = c.read.SessionHeaders
	o.Flow, o.Shed = c.read.FlowControl, c.read.Shedder()
	if o.Report, err = report.New(c.read.Report, o.Log); err != nil {
		return fmt.Errorf("--config-file: %w", err)
	}
	if o.Models, err = run.Models(c.read, o.Log); err != nil {
		return fmt.Errorf("--config-file: %w", err)
	}
	o.Follow = func(ctx context.Context, to cluster.Followed) error {
		to.Picker.SetServedHeader(c.servedHeader)
		parse := func(data []byte) (*eppConfig, error) { return e.parsePolicy(data, f.configFile) }
		r := newReloader(&e, c, to.Pools, to.Picker, parse, to.Registry, o.Log)
		if r != nil {
			r.event = podEvents(o.Config, o.Log)
		}
		return r.run(ctx)
	}
	return nil
}
