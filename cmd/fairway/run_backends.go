package main

import (
	"context"
	"log/slog"
	"sync/atomic"

	"github.com/fairway-ai/fairway/epp/metrics"
	"github.com/fairway-ai/fairway/gateway/airoute"
	"github.com/fairway-ai/fairway/gateway/egress/parts"
)

// backends are the providers in use, and the rules that lead to them.
type backends struct {
	*parts.Parts
	secrets atomic.Pointer[airoute.Secrets]
}

func newBackends(m *metrics.Metrics, log *slog.Logger) (*backends, error) {
	b := &backends{}
	var err error
	b.Parts, err = parts.New(parts.Options{Secrets: b, Strict: true, Metrics: m.Registry(), Log: log})
	return b, err
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
	before := b.secrets.Swap(secrets)
	if err := b.Update(ctx, c); err != nil {
		b.secrets.Store(before)
		return err
	}
	b.Reload() // what stayed may have another Secret
	return nil
}
