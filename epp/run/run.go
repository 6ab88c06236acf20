package run

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"golang.org/x/sync/errgroup"

	"github.com/fairway-ai/fairway/epp"
	"github.com/fairway-ai/fairway/epp/config"
	"github.com/fairway-ai/fairway/epp/explain"
	"github.com/fairway-ai/fairway/epp/kvcache"
	"github.com/fairway-ai/fairway/epp/metrics"
	"github.com/fairway-ai/fairway/epp/plugin"
	"github.com/fairway-ai/fairway/epp/report"
	"github.com/fairway-ai/fairway/pool/file"
)

// Options configure [Run].
type Options struct {
	// Config is an EndpointPickerConfig; empty means the default policy.
	Config []byte
	// Plugins are the types that Config may name besides those that are built in.
	Plugins []plugin.Type
	// Experimental allows types that may still change.
	Experimental bool
	// Endpoints is the path of a file with endpoints or InferencePool objects, which is
	// watched. Empty takes the file that Config's file-discovery names.
	Endpoints string
	// Source brings endpoints from elsewhere, instead of a file: it changes the set until
	// ctx ends, and calls ready when it knows what there is.
	Source func(ctx context.Context, set *epp.PoolSet, ready func()) error
	// Picker are settings of the picker; Metrics and Explain have defaults, and Flow, Shed,
	// Report, SessionHeaders and Log are filled in.
	Picker epp.Options
	// Server says where to serve; Picker and what it is to show are filled in.
	Server epp.ServerOptions
	// Started, when not nil, is called with the server before it serves.
	Started func(*epp.Server)
	// Log gets what an operator must know; nil discards it.
	Log *slog.Logger
}

// Run picks endpoints until ctx ends, and then returns nil. Everything that is wrong
// with the options is an error at once.
func Run(ctx context.Context, o Options) error {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	reading := config.Options{Experimental: o.Experimental, Plugins: o.Plugins}
	c, warnings, err := reading.Load(o.Config)
	if err != nil {
		return fmt.Errorf("the configuration is wrong: %w", err)
	}
	for _, w := range warnings {
		o.Log.Warn("configuration", "warning", w.String())
	}
	watch := true
	if o.Endpoints == "" && o.Source == nil && c.Discovery != nil {
		o.Endpoints, watch = c.Discovery.Path, c.Discovery.WatchFile
	}
	if (o.Endpoints == "") == (o.Source == nil) {
		return errors.New("where are the endpoints? Set Endpoints or Source, one of them")
	}
	if o.Picker.Metrics == nil {
		o.Picker.Metrics = metrics.New(metrics.Options{Process: true})
	}
	if o.Picker.Explain == nil {
		o.Picker.Explain = explain.NewRing(0)
	}
	o.Picker.Log, o.Picker.ServedHeader = o.Log, o.Picker.ServedHeader || c.ServedHeader
	o.Picker.Flow, o.Picker.Shed = c.FlowControl, c.Shedder()
	o.Picker.SessionHeaders = c.SessionHeaders
	if o.Picker.Report, err = report.New(c.Report, o.Log); err != nil {
		return fmt.Errorf("the configuration is wrong: %w", err)
	}
	picker, err := epp.New(o.Picker)
	if err != nil {
		return err
	}
	defer picker.Close()
	pools := epp.PoolSetOptions{Picker: picker, Log: o.Log}
	if pools.Pool, err = PoolOptions(&c.Metrics); err != nil {
		return err
	}
	pools.Pool.Logger = o.Log
	pools.Policy = reading.Policies(c, o.Config)
	if k := KVCache(c); k != nil {
		k.Log = o.Log
		if pools.KVCache, err = kvcache.New(*k); err != nil {
			return fmt.Errorf("the configuration is wrong: %w", err)
		}
		o.Picker.Metrics.WatchKVCache(pools.KVCache.Stats)
	}
	if pools.Models, err = Models(c, o.Log); err != nil {
		return fmt.Errorf("the configuration is wrong: %w", err)
	}
	set := epp.NewPoolSet(pools)
	o.Server.Picker, o.Server.Metrics, o.Server.Explain, o.Server.Log = picker, o.Picker.Metrics, o.Picker.Explain, o.Log
	o.Server.ExtProc.Scan = ScanOptions(&c.Prefix, func(text string) { o.Log.Warn(text) })
	return serve(ctx, &o, c, set, pools, watch)
}

// serve runs the server, and what keeps the pools up to date until its last request has
// ended.
func serve(ctx context.Context, o *Options, c *config.Config, set *epp.PoolSet, of epp.PoolSetOptions, watch bool) error {
	if o.Endpoints != "" {
		pools, err := file.Load(ctx, o.Endpoints)
		if err == nil {
			err = set.Apply(pools)
		}
		if err != nil {
			return err
		}
	}
	server, err := epp.NewServer(o.Server)
	if err != nil {
		return err
	}
	if o.Started != nil {
		o.Started(server)
	}
	around, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	serving, fail := context.WithCancel(ctx)
	defer fail()
	var group errgroup.Group
	if !c.Metrics.Disabled {
		group.Go(func() error { return set.Run(around) })
	}
	if of.KVCache != nil {
		group.Go(func() error {
			defer fail() // else it would guess for ever
			return of.KVCache.Run(around)
		})
	}
	if of.Models != nil {
		group.Go(func() error { return of.Models.Run(around) })
	}
	switch {
	case o.Source != nil:
		group.Go(func() error {
			defer fail() // nothing else brings endpoints
			return o.Source(around, set, func() { server.SetReady(true) })
		})
	case watch:
		server.SetReady(true)
		group.Go(func() error {
			return file.Watch(around, o.Endpoints, func(p *file.Config, err error) {
				if err == nil {
					err = set.Apply(p)
				}
				if err != nil {
					o.Log.Error("the endpoints are wrong, those in use stay", "file", o.Endpoints, "error", err)
				}
			})
		})
	default:
		server.SetReady(true)
	}
	group.Go(func() error {
		defer stop()
		return server.Run(serving)
	})
	return group.Wait()
}
