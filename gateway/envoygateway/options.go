package envoygateway

import (
	"errors"
	"fmt"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairway-ai/fairway/gateway/xds"
)

// DefaultSystemCA is where Envoy's image has the system's certificate authorities.
const DefaultSystemCA = "/etc/ssl/certs/ca-certificates.crt"

// Options configure [New].
type Options struct {
	// Reader reads HTTPRoutes, InferencePools and ReferenceGrants, from a cache.
	Reader client.Reader
	// Live reads them from the API server. It is asked for what the cache does not
	// have yet: Envoy Gateway may have seen a new object first.
	Live client.Reader

	// AI knows the AIRoutes and AIBackends. Without it, rules that send to them are left
	// as Envoy Gateway made them.
	AI AISource

	// EDS is Fairway's EDS server as Envoy reaches it, "host:port".
	EDS string
	// CA gives PEM, the authorities of the EDS server's and the pickers'
	// certificates, whenever Envoy Gateway asks; it may change. If it is nil,
	// connections are not encrypted.
	CA func() []byte
	// ServerName is the name in those certificates.
	ServerName string

	// Limits are the sizes, times and counts of requests. Addresses, sockets and
	// what concerns listeners are not used. SystemCA is a path in Envoy's container;
	// default [DefaultSystemCA].
	Limits xds.Options

	// Log gets what users must know: references that lead nowhere.
	Log *slog.Logger
	// Metrics registers the package's metrics. It may be nil.
	Metrics prometheus.Registerer
}

func (o *Options) validate() error {
	switch {
	case o.Reader == nil || o.Live == nil:
		return errors.New("extension server: a reader is missing")
	case o.Log == nil:
		return errors.New("extension server: the logger is missing")
	}
	d := xds.Discovery{Target: o.EDS, ServerName: o.ServerName}
	if o.CA != nil {
		// Whether there is one, and not what it is, is known now.
		d.CA = []byte("later")
	}
	if err := d.Validate(); err != nil {
		return fmt.Errorf("extension server: %w", err)
	}
	if err := o.Limits.ValidateLimits(); err != nil {
		return fmt.Errorf("extension server: %w", err)
	}
	return nil
}
