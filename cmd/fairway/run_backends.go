package main

import (
	"context"
	"errors"
	"log/slog"
	"reflect"
	"sync"
	"sync/atomic"

	"github.com/fairway-ai/fairway/aibackend/credentials"
	"github.com/fairway-ai/fairway/epp/metrics"
	"github.com/fairway-ai/fairway/extproc"
	"github.com/fairway-ai/fairway/gateway/airoute"
	"github.com/fairway-ai/fairway/gateway/egress"
)

// backends are the providers in use and their credentials.
type backends struct {
	router      egress.Router
	translators egress.Translators
	secrets     atomic.Pointer[airoute.Secrets]
	log         *slog.Logger

	mu      sync.Mutex
	running context.Context // of run; nil before
	runners sync.WaitGroup
	inUse   map[string]*signed
}

// signed is a backend and its credential.
type signed struct {
	config     airoute.Backend
	credential credentials.Credential
	running    bool
}

func newBackends(m *metrics.Metrics, log *slog.Logger) (*backends, error) {
	counters, err := egress.NewMetrics(m.Registry())
	if err != nil {
		return nil, err
	}
	b := &backends{log: log, inUse: map[string]*signed{}}
	b.translators.Observer, b.translators.Log = counters, log
	return b, nil
}

// wrap puts the rules before the picker.
func (b *backends) wrap(next extproc.Picker) extproc.Picker {
	b.router.Next = next
	return &b.router
}

// ReadSecret implements credentials.SecretReader over the file's Secrets.
func (b *backends) ReadSecret(namespace, name string) (map[string][]byte, error) {
	if s := b.secrets.Load(); s != nil {
		return s.Read(namespace, name), nil
	}
	return nil, nil
}

// add makes the backends of c known, so that Envoy may send requests to them, and keeps
// those that are there. On error nothing changes.
func (b *backends) add(ctx context.Context, c *airoute.Config, secrets *airoute.Secrets) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	before := b.secrets.Swap(secrets)
	next := map[string]*signed{}
	var errs []error
	for i := range c.Backends {
		x := &c.Backends[i]
		if old := b.inUse[x.Name]; old != nil && reflect.DeepEqual(old.config, *x) {
			continue
		}
		// It outlives this call, and ends when it is replaced.
		c, err := egress.NewCredential(context.WithoutCancel(ctx), x, credentials.Deps{Secrets: b, Log: b.log})
		if err != nil {
			errs = append(errs, err)
			continue
		}
		next[x.Name] = &signed{config: *x, credential: c}
	}
	if err := errors.Join(errs...); err != nil {
		for _, s := range next {
			s.credential.Close()
		}
		b.secrets.Store(before)
		return err
	}
	for name, s := range next {
		if err := b.translators.Set(egress.ForBackend(&s.config, s.credential)); err != nil {
			return err // a backend without name or host; the rules were checked for that
		}
		if old := b.inUse[name]; old != nil {
			old.credential.Close()
		}
		b.inUse[name] = s
	}
	for _, s := range b.inUse {
		if next[s.config.Name] == nil {
			s.credential.Reload() // its Secret may have changed
		}
	}
	b.startLocked()
	return nil
}

// keep removes the backends that c does not have.
func (b *backends) keep(c *airoute.Config) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for name, s := range b.inUse {
		if c.Backend(name) == nil {
			b.translators.Delete(name)
			s.credential.Close()
			delete(b.inUse, name)
		}
	}
}

// run keeps credentials fresh until ctx ends.
func (b *backends) run(ctx context.Context) {
	b.mu.Lock()
	b.running = ctx
	b.startLocked()
	b.mu.Unlock()
	<-ctx.Done()
	b.mu.Lock()
	for _, s := range b.inUse {
		s.credential.Close()
	}
	b.running = nil
	b.mu.Unlock()
	b.runners.Wait()
}

func (b *backends) startLocked() {
	if b.running == nil {
		return
	}
	ctx := b.running
	for _, s := range b.inUse {
		if !s.running {
			s.running = true
			b.runners.Go(func() { s.credential.Run(ctx) })
		}
	}
}
