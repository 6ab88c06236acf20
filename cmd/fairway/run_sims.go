package main

import (
	"context"
	"fmt"
	"net"

	"golang.org/x/sync/errgroup"
	inferencev1 "sigs.k8s.io/gateway-api-inference-extension/api/v1"

	"github.com/fairway-ai/fairway/pool"
	"github.com/fairway-ai/fairway/pool/file"
	"github.com/fairway-ai/fairway/sim/server"
)

// startSims starts simulated servers on free ports and returns one pool of them.
// They end with ctx.
func (o *runOptions) startSims(ctx context.Context, group *errgroup.Group) (*file.Config, error) {
	p := file.PoolConfig{
		Name: "sim", Namespace: file.DefaultNamespace,
		FailureMode: inferencev1.EndpointPickerFailureMode(o.failureMode), AppProtocol: inferencev1.AppProtocolHTTP,
	}
	for i := range o.sims {
		name := fmt.Sprintf("sim-%d", i)
		s, err := server.New(server.Config{Name: name, Model: o.model, Speed: o.speed, Seed: uint64(i)})
		if err != nil {
			return nil, err
		}
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("simulated server %d: %w", i, err)
		}
		group.Go(func() error { return s.Run(ctx, l) })
		p.Specs = append(p.Specs, pool.Spec{ID: p.Namespace + "/" + name, Address: l.Addr().String()})
	}
	return &file.Config{Pools: []file.PoolConfig{p}}, nil
}
