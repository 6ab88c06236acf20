package cluster

import (
	"context"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/client-go/rest"

	"github.com/fairway-ai/fairway/epp"
	"github.com/fairway-ai/fairway/epp/flowcontrol"
	"github.com/fairway-ai/fairway/epp/kvcache"
	"github.com/fairway-ai/fairway/epp/models"
	"github.com/fairway-ai/fairway/epp/report"
	"github.com/fairway-ai/fairway/epp/tracing"
	"github.com/fairway-ai/fairway/extproc/scan"
	"github.com/fairway-ai/fairway/pool"
	"github.com/fairway-ai/fairway/scheduler"
)

// DefaultPickerTimeout is Options.PickerTimeout when zero.
const DefaultPickerTimeout = 10 * time.Second

// Options configure Run. Those without a comment on their default are required.
type Options struct {
	// Config is how the API server is reached.
	Config *rest.Config
	// Namespace is this process's own, Service the Service by which Envoy and Envoy
	// Gateway reach its replicas, and Identity the replica's name.
	Namespace, Service, Identity string
	// ClusterDomain is the cluster's DNS domain, "cluster.local" when empty.
	ClusterDomain string
	// GatewayController is the controllerName of the GatewayClasses whose Gateways
	// count.
	GatewayController string
	// GRPCPort is called by Envoy, ExtensionPort by Envoy Gateway. HealthPort and
	// MetricsPort may be 0, for none.
	GRPCPort, ExtensionPort, HealthPort, MetricsPort int
	// ReplicaPort is called by the other replicas, which tell each other what they do;
	// 0 for replicas that do not. With Spread, Envoys ask all replicas in turn, instead
	// of all Envoys the same one.
	ReplicaPort int
	Spread      bool
	// TLS says how the process is certified to its callers.
	TLS TLSOptions
	// LeaderElect lets one replica of several write status; without it, this one
	// does.
	LeaderElect bool
	// PickerTimeout bounds the wait for another picker's answer.
	// DefaultPickerTimeout when 0.
	PickerTimeout time.Duration
	// MetadataNamespaces are namespaces of dynamic metadata, besides envoy.lb, that
	// pools' own pickers may set.
	MetadataNamespaces []string
	// MaxHold bounds how long the default policy holds a request.
	MaxHold time.Duration
	// DrainTimeout bounds how long requests under way are waited for at the end.
	DrainTimeout time.Duration
	// MaxBodyBytes is the longest request body read, in bytes.
	MaxBodyBytes int64
	// Egress are AIRoutes and AIBackends.
	Egress EgressOptions
	// Policy makes the scheduling policy of a pool picked for here; nil means the
	// default policy.
	Policy func() scheduler.Policy
	// Flow makes requests wait for pools that are saturated, and Shed refuses some by
	// their priority; nil for neither.
	Flow *flowcontrol.Config
	Shed *flowcontrol.Shedder
	// SessionHeaders are the request headers that say what flow a request is of that names
	// none.
	SessionHeaders []string
	// Report computes what is told of responses as dynamic metadata; nil tells nothing.
	Report *report.Reporter
	// Pool is how metrics of endpoints are read, and Scrape whether at all.
	Pool   pool.Options
	Scrape bool
	// KVCache says how what endpoints' KV caches hold is followed, of the pools picked
	// for here; nil for not at all. Log is filled in.
	KVCache *kvcache.Options
	// Models reads which models the endpoints of the pools picked for here serve; nil for
	// nobody. It is run here.
	Models *models.Set
	// Scan are the prompt blocks that Policy wants.
	Scan scan.Options
	// Follow runs until its context ends and changes Policy meanwhile; nil for nothing.
	Follow func(ctx context.Context, f Followed) error
	// ExplainHeader answers x-fairway-explain: 1 with x-fairway-explanation.
	ExplainHeader bool
	// Pprof serves /debug/pprof on MetricsPort.
	Pprof bool
	// Version and Commit are those of the binary.
	Version, Commit string
	// Tracer records spans; nil for none.
	Tracer *tracing.Tracer
	// Log gets what an operator should know.
	Log *slog.Logger
}

// Followed is what Options.Follow may change, and where it counts that it did.
type Followed struct {
	Pools    *epp.PoolSet
	Picker   *epp.Picker
	Registry *prometheus.Registry
}

// TLSOptions are three ways, of which one is set.
type TLSOptions struct {
	// Secret is the name of a Secret in the process's namespace, which it makes and
	// rotates.
	Secret string
	// Dir is a directory of tls.crt, tls.key and ca.crt.
	Dir string
	// Insecure serves without TLS.
	Insecure bool
}
