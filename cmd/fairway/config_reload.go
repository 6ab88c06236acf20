package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/fairway-ai/fairway/internal/filewatch"
	"github.com/fairway-ai/fairway/scheduler"
)

// policySet are the pools whose policy follows the file. *epp.PoolSet is one.
type policySet interface {
	SetPolicy(func() scheduler.Policy) error
}

// responseHeaders are what of responses follows the file. *epp.Picker is one.
type responseHeaders interface {
	SetServedHeader(bool)
}

// reloader follows --config-file: a change is used from the next request on, or refused
// as a whole, and then what was in force stays.
type reloader struct {
	path string
	// parse reads a changed file.
	parse   func(data []byte) (*eppConfig, error)
	pools   policySet
	headers responseHeaders
	// event tells the cluster; nil where there is none.
	event func(ctx context.Context, ok bool, note string)
	log   *slog.Logger
	watch filewatch.Options

	reloads *prometheus.CounterVec
	last    prometheus.Gauge

	// current is in force; seen what was read last, and refused why it was not used.
	current *eppConfig
	seen    []byte
	refused string
}

// The values of the label result.
const (
	reloadUsed    = "success"
	reloadRefused = "refused"
)

// newReloader returns what follows the file of c, nil when c came from no file.
func newReloader(f *eppFlags, c *eppConfig, pools policySet, headers responseHeaders, parse func([]byte) (*eppConfig, error), registry prometheus.Registerer, log *slog.Logger) *reloader {
	if f.configFile == "" {
		return nil
	}
	r := &reloader{
		path: f.configFile, parse: parse, pools: pools, headers: headers, log: log, current: c, seen: c.data,
		reloads: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "fairway_config_reloads_total",
			Help: "Changes of the configuration file by what became of them: success, or refused, when the configuration in force stayed.",
		}, []string{"result"}),
		last: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "fairway_config_last_reload_success",
			Help: "1 when the configuration file as it is now is in force, 0 when it was refused.",
		}),
	}
	r.reloads.WithLabelValues(reloadUsed)
	r.reloads.WithLabelValues(reloadRefused)
	r.last.Set(1)
	registry.MustRegister(r.reloads, r.last)
	return r
}

// run follows the file until ctx ends. A nil reloader waits for that.
func (r *reloader) run(ctx context.Context) error {
	if r == nil {
		<-ctx.Done()
		return nil
	}
	filewatch.Watch(ctx, r.path, r.watch, func() { r.look(ctx) })
	return nil
}

// look reads the file and uses what is new. The same news is not told twice.
func (r *reloader) look(ctx context.Context) {
	data, err := readConfigFile(r.path)
	if err == nil {
		if r.seen != nil && bytes.Equal(data, r.seen) {
			return
		}
		r.seen = data
		err = r.use(data)
	} else {
		r.seen = nil
	}
	if ctx.Err() != nil {
		return
	}
	if err != nil {
		if err.Error() == r.refused {
			return
		}
		r.refused = err.Error()
		r.reloads.WithLabelValues(reloadRefused).Inc()
		r.last.Set(0)
		r.log.Error("the configuration is refused, the one in force stays", "file", r.path, "error", err)
		r.tell(ctx, false, "the configuration in force stays: "+err.Error())
		return
	}
	r.refused = ""
	r.reloads.WithLabelValues(reloadUsed).Inc()
	r.last.Set(1)
	r.log.Info("the configuration has changed and is in force", "file", r.path)
	r.tell(ctx, true, r.path+" has changed and is in force")
}

func (r *reloader) tell(ctx context.Context, ok bool, note string) {
	if r.event != nil {
		r.event(ctx, ok, note)
	}
}

// errEmpty refuses a file of which nothing is written yet: it would mean the defaults.
var errEmpty = errors.New("is empty, as a file is that is being written; for the defaults write {}")

// use puts a configuration in force, all of it or nothing.
func (r *reloader) use(data []byte) error {
	if len(bytes.TrimSpace(data)) == 0 {
		return errEmpty
	}
	c, err := r.parse(data)
	if err != nil {
		return err
	}
	if names := r.current.read.NeedsRestart(c.read); len(names) > 0 {
		return fmt.Errorf("changes %s, which takes a restart", sections(names))
	}
	if err := r.pools.SetPolicy(c.policy); err != nil {
		return err
	}
	r.headers.SetServedHeader(c.servedHeader)
	for _, w := range c.warnings {
		r.log.Warn(w)
	}
	r.current = c
	return nil
}

// sections are fields of config.Config in the words of the file.
func sections(names []string) string {
	words := map[string]string{
		"Discovery": "dataLayer.discovery", "Prefix": "the prefix index", "Metrics": "how metrics are read",
		"Saturation": "the saturation detector", "KVCache": "how KV cache events are followed", "Tokens": "where the tokens of requests come from",
		"SessionHeaders": "which headers name sessions", "Models": "how endpoints list their models", "Report": "which attributes of responses are reported",
	}
	out := make([]string, len(names))
	for i, n := range names {
		if out[i] = words[n]; out[i] == "" {
			out[i] = strings.ToLower(n[:1]) + n[1:]
		}
	}
	return strings.Join(out, " and ")
}

// parseChanged reads a changed file of fairway epp. Where the endpoints are, it may not
// change; that a file is in order without any is the flags' doing.
func (f *eppFlags) parseChanged(data []byte) (*eppConfig, error) {
	c, err := f.parsePolicy(data, f.configFile)
	if err != nil {
		return nil, err
	}
	if err := f.findEndpoints(c); err != nil && !errors.Is(err, errNoEndpoints) {
		return nil, err
	}
	return c, nil
}
