package controller

import (
	"cmp"
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/fairway-ai/fairway/gateway/airoute"
	"github.com/fairway-ai/fairway/gateway/airoute/kube"
)

const (
	// ControllerName marks the entries of an AIRoute's status that are Fairway's.
	ControllerName = "fairway.dev/gateway-controller"
	// EnvoyGateway is the controllerName that Envoy Gateway signs the status of
	// HTTPRoutes with, unless it was configured otherwise.
	EnvoyGateway = "gateway.envoyproxy.io/gatewayclass-controller"
	// HashAnnotation of an HTTPRoute has [airoute.RouteResult.Hash]. Envoy Gateway
	// passes annotations with this prefix on with the routes that it makes.
	HashAnnotation = "gateway.envoyproxy.io/fairway-hash"

	// conflictRetry is how long after a conflict an object is looked at again, if the
	// cache does not hear of the other's write before.
	conflictRetry = 200 * time.Millisecond
)

// Source says what is so. A [kube.Source] is one.
type Source interface {
	// Result is the newest result, never nil.
	Result() *airoute.Result
	// Subscribe has f called with every result, in order.
	Subscribe(f func(*airoute.Result))
	// SubscribeObjects has f called at every change of an AIRoute, AIBackend or
	// HTTPRoute, of its status too.
	SubscribeObjects(f func(kube.Kind, types.NamespacedName))
}

// Credentials says how far the credentials of a backend, "namespace/name", have come;
// known is false before anything was tried. The message must hold no secret.
type Credentials interface {
	State(backend string) (ready bool, reason, message string, known bool)
}

// Options configure [New]. The zero value of a field means its default.
type Options struct {
	// GatewayController is the controllerName whose word on an HTTPRoute counts.
	// Default [EnvoyGateway].
	GatewayController string
	// Credentials are those of the AIBackends in use. Default: nothing is known.
	Credentials Credentials
	// Leads says whether this replica writes now; [Controller.Elected] must be called
	// each time it becomes true. Default: always, but the manager's own leader election
	// decides whether the controller runs.
	Leads func() bool
	// Recorder receives an event for each change of a condition. Default: none.
	Recorder events.EventRecorder
	// Metrics registers the controller's metrics. Default: nowhere.
	Metrics prometheus.Registerer
	// Clock dates conditions. Default the system's.
	Clock clock.PassiveClock
}

// Controller writes HTTPRoutes and status. Make it with [New].
type Controller struct {
	client      client.Client
	source      Source
	class       gatewayv1.GatewayController
	credentials Credentials
	leads       func() bool
	elects      bool // the manager elects the leader
	events      recorder
	metrics     *metrics
	clock       clock.PassiveClock
	queue       queue

	mu sync.Mutex
	// said are the problems of HTTPRoutes that events told of.
	said map[types.NamespacedName]string
}

// New makes a controller that follows s, which must not run yet, and reads and writes
// through c, whose reads come from the cache that s follows.
func New(c client.Client, s Source, o Options) (*Controller, error) {
	elects := o.Leads == nil
	if elects {
		o.Leads = func() bool { return true }
	}
	if o.Clock == nil {
		o.Clock = clock.RealClock{}
	}
	if o.Credentials == nil {
		o.Credentials = unknownCredentials{}
	}
	m := newMetrics(o.Leads)
	if o.Metrics != nil {
		if err := m.register(o.Metrics); err != nil {
			return nil, fmt.Errorf("register the metrics of AIRoutes: %w", err)
		}
	}
	ctl := &Controller{
		client: c, source: s, credentials: o.Credentials,
		class: gatewayv1.GatewayController(cmp.Or(o.GatewayController, EnvoyGateway)),
		leads: o.Leads, elects: elects, events: recorder{o.Recorder}, metrics: m, clock: o.Clock,
		said: make(map[types.NamespacedName]string),
	}
	s.Subscribe(ctl.queue.changed)
	s.SubscribeObjects(ctl.queue.object)
	return ctl, nil
}

// SetupWithManager adds the controller to a manager.
func (c *Controller) SetupWithManager(m manager.Manager) error {
	err := builder.TypedControllerManagedBy[request](m).
		Named("airoute").
		WithOptions(controller.TypedOptions[request]{NeedLeaderElection: new(c.elects)}).
		WatchesRawSource(source.TypedFunc[request](c.queue.start)).
		Complete(c)
	if err != nil {
		return fmt.Errorf("set up the controller of AIRoutes: %w", err)
	}
	return nil
}

// Elected has everything looked at, because nobody did before. It does not block.
func (c *Controller) Elected() { c.queue.all() }

// CredentialsChanged has the status of an AIBackend, "namespace/name", say how far its
// credentials have come. It does not block.
func (c *Controller) CredentialsChanged(backend string) {
	if name, ok := parse(backend); ok {
		c.queue.add(request{kube.AIBackend, name})
	}
}

// Reconcile makes one object and what belongs to it say what is so.
func (c *Controller) Reconcile(ctx context.Context, r request) (reconcile.Result, error) {
	if !c.leads() {
		return reconcile.Result{}, nil
	}
	var result reconcile.Result
	var err error
	switch r.kind {
	case kube.AIRoute:
		result, err = c.reconcileRoute(ctx, r.NamespacedName)
	case kube.AIBackend:
		result, err = c.reconcileBackend(ctx, r.NamespacedName)
	case kube.HTTPRoute:
		err = c.reconcileDirect(ctx, r.NamespacedName)
	}
	c.metrics.reconciled(r.kind, err)
	if err != nil {
		return reconcile.Result{}, fmt.Errorf("%s %s: %w", r.kind, r.NamespacedName, err)
	}
	return result, nil
}

// unknownCredentials knows of none.
type unknownCredentials struct{}

func (unknownCredentials) State(string) (ready bool, reason, message string, known bool) {
	return false, "", "", false
}
