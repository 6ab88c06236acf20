package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"

	"github.com/fairway-ai/fairway/sim/replay"
)

// compareReplicas replays each policy on one router, on several that share what they
// do, and on as many that do not, and prints their latencies against the one's.
func (o *replayOptions) compareReplicas(ctx context.Context, policies []replay.Policy, out, errOut io.Writer) error {
	cases := []struct {
		name   string
		config replay.Config
	}{
		{"one replica", replay.Config{}},
		{fmt.Sprintf("%d, %v behind", o.replicas, o.delay), replay.Config{Replicas: o.replicas, Delay: o.delay}},
		{fmt.Sprintf("%d, not sharing", o.replicas), replay.Config{Replicas: o.replicas, Alone: true}},
	}
	for _, speed := range o.speeds {
		for _, p := range policies {
			var table []replay.Summary
			for _, c := range cases {
				s, err := o.replay(ctx, p, speed, c.config, errOut)
				if err != nil {
					return err
				}
				s.Replicas, s.Staleness, s.Alone = c.config.Replicas, c.config.Delay.Seconds(), c.config.Alone
				if o.json {
					if err := json.NewEncoder(out).Encode(s); err != nil {
						return err
					}
				}
				s.Policy = c.name
				table = append(table, s)
			}
			if o.json {
				continue
			}
			fmt.Fprintf(out, "%s x%g, policy %s: %d endpoints, %d KV blocks, %s index, %d requests\n",
				table[0].Workload, speed, p.Name, o.endpoints, o.blocks, o.index, table[0].Requests)
			if err := replay.WriteTable(out, table); err != nil {
				return err
			}
		}
	}
	return nil
}
