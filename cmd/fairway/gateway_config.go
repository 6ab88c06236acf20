package main

import (
	"fmt"

	"github.com/fairway-ai/fairway/gateway/cluster"
)

// policy reads the EndpointPickerConfig for the pools that the gateway picks for.
func (f *gatewayFlags) policy(o *cluster.Options) error {
	e := eppFlags{configFile: f.configFile}
	c, err := e.loadPolicy()
	if err != nil {
		return fmt.Errorf("--config-file: %w", err)
	}
	for _, w := range c.warnings {
		o.Log.Warn(w)
	}
	o.Policy, o.Scan, o.SessionHeader = c.policy, c.scan, c.sessionHeader
	o.Pool, o.Scrape = c.pool, c.scrape
	o.Pool.Logger = o.Log
	return nil
}
