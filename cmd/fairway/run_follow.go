package main

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"reflect"
	"syscall"

	inferencev1 "sigs.k8s.io/gateway-api-inference-extension/api/v1"

	"github.com/fairway-ai/fairway/gateway/xds"
	"github.com/fairway-ai/fairway/pool/file"
)

// xdsPools is what Envoy must know of the pools.
func xdsPools(c *file.Config) []xds.Pool {
	pools := make([]xds.Pool, 0, len(c.Pools))
	for i := range c.Pools {
		p := &c.Pools[i]
		x := xds.Pool{
			Name: p.FullName(), FailOpen: p.FailureMode == inferencev1.EndpointPickerFailOpen,
			HTTP2: p.AppProtocol == inferencev1.AppProtocolH2C,
		}
		for _, s := range p.Specs {
			x.Endpoints = append(x.Endpoints, s.Address)
		}
		pools = append(pools, x)
	}
	return pools
}

// follow returns what takes over an edited file.
func (r *running) follow(ctx context.Context, name string) func(*file.Config, error) {
	first := true
	return func(c *file.Config, err error) {
		if err == nil {
			err = resolveAI(c)
		}
		if err == nil && first && r.uses(c) {
			first = false
			return
		}
		first = false
		if err == nil {
			err = r.apply(ctx, c)
		}
		if err != nil {
			r.log.Error("the file is wrong; what was there stays", "file", name, "error", err)
			return
		}
		for _, w := range c.Warnings {
			r.log.Warn(w)
		}
		r.log.Info("the file was taken over", "file", name)
	}
}

// uses says whether c is in use already.
func (r *running) uses(c *file.Config) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return reflect.DeepEqual(c, r.config)
}

// apply changes pools, rules and backends: what requests may be sent to is there
// before it is, and goes after the last one was.
func (r *running) apply(ctx context.Context, c *file.Config) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	next, old := aiOf(c), aiOf(r.config)
	if err := r.backends.add(ctx, next.rules, next.secrets); err != nil {
		return err
	}
	undo := func() error {
		err := r.backends.add(ctx, old.rules, old.secrets)
		r.backends.Keep(old.rules)
		return errors.Join(err, r.gateway.Route(ctx, xdsPools(r.config), old.rules.Routing()))
	}
	if err := r.gateway.Route(ctx, union(xdsPools(c), xdsPools(r.config)), unionRouting(next.rules.Routing(), old.rules.Routing())); err != nil {
		return errors.Join(err, undo())
	}
	if err := r.set.Apply(c); err != nil {
		return errors.Join(err, undo())
	}
	if err := r.backends.SetRules(next.rules); err != nil {
		return errors.Join(err, undo())
	}
	setObjectives(r.known, c)
	r.config = c
	if err := r.gateway.Route(ctx, xdsPools(c), next.rules.Routing()); err != nil {
		return err
	}
	r.backends.Keep(next.rules)
	return nil
}

// union is next with the endpoints and pools of both.
func union(next, old []xds.Pool) []xds.Pool {
	at := make(map[string]int, len(next))
	for i := range next {
		at[next[i].Name] = i
	}
	for _, p := range old {
		if i, ok := at[p.Name]; ok {
			next[i].Endpoints = append(next[i].Endpoints, p.Endpoints...)
		} else {
			next = append(next, p)
		}
	}
	return next
}

// drain lets requests end, until a second interrupt.
func (r *running) drain(ctx context.Context) {
	again, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	r.gateway.Drain(again)
}
