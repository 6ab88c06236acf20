package inferencepool

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	inferencev1 "sigs.k8s.io/gateway-api-inference-extension/api/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

const (
	// ControllerName marks the entries of a pool's status that are Fairway's.
	ControllerName = "fairway.dev/gateway-controller"
	// EnvoyGateway is the controllerName of Envoy Gateway's GatewayClasses, unless
	// it was configured otherwise.
	EnvoyGateway = "gateway.envoyproxy.io/gatewayclass-controller"

	// conflictRetry is how long after a conflict a pool is looked at again, if the
	// cache does not hear of the other's write before.
	conflictRetry = 200 * time.Millisecond
)

// Options configure [New]. The zero value of a field means its default.
type Options struct {
	// GatewayController is the controllerName of the GatewayClasses whose Gateways
	// count. Default [EnvoyGateway].
	GatewayController string
	// Leads says whether this replica writes now; [Controller.Elected] must be
	// called each time it becomes true. Default: always, but the manager's own leader
	// election decides whether the controller runs.
	Leads func() bool
	// Recorder receives an event for each change of a condition. Default: none.
	Recorder events.EventRecorder
	// Metrics registers the controller's metrics. Default: nowhere.
	Metrics prometheus.Registerer
	// Clock dates conditions. Default the system's.
	Clock clock.PassiveClock
}

// Controller reconciles the status of InferencePools. Make it with [New].
type Controller struct {
	client  client.Client
	class   gatewayv1.GatewayController
	leads   func() bool
	elects  bool // the manager elects the leader
	events  recorder
	metrics *metrics
	clock   clock.PassiveClock
	elected chan event.GenericEvent
}

// New makes a controller that reads and writes through c, whose reads must come
// from a cache with the indexes of package refs.
func New(c client.Client, o Options) (*Controller, error) {
	elects := o.Leads == nil
	if elects {
		o.Leads = func() bool { return true }
	}
	if o.Clock == nil {
		o.Clock = clock.RealClock{}
	}
	m := newMetrics(o.Leads)
	if o.Metrics != nil {
		if err := m.register(o.Metrics); err != nil {
			return nil, fmt.Errorf("register the metrics of InferencePools: %w", err)
		}
	}
	return &Controller{
		client:  c,
		class:   gatewayv1.GatewayController(cmp.Or(o.GatewayController, EnvoyGateway)),
		leads:   o.Leads,
		elects:  elects,
		events:  recorder{o.Recorder},
		metrics: m,
		clock:   o.Clock,
		elected: make(chan event.GenericEvent, 1),
	}, nil
}

// Elected has every pool looked at, because nobody did before. It never blocks.
func (c *Controller) Elected() {
	select {
	case c.elected <- event.GenericEvent{Object: &inferencev1.InferencePool{}}:
	default: // one is waiting already
	}
}

// Reconcile makes one pool's status say what is so.
func (c *Controller) Reconcile(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
	if !c.leads() {
		return reconcile.Result{}, nil
	}
	result, err := c.reconcile(ctx, request)
	c.metrics.reconciled(err)
	return result, err
}

func (c *Controller) reconcile(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
	var pool inferencev1.InferencePool
	if err := c.client.Get(ctx, request.NamespacedName, &pool); err != nil {
		if apierrors.IsNotFound(err) {
			c.metrics.forget(request.NamespacedName)
			return reconcile.Result{}, nil
		}
		return reconcile.Result{}, fmt.Errorf("read InferencePool %s: %w", request, err)
	}
	if !pool.DeletionTimestamp.IsZero() {
		return reconcile.Result{}, nil
	}
	parents, err := c.parents(ctx, &pool)
	if err != nil {
		return reconcile.Result{}, fmt.Errorf("InferencePool %s: %w", request, err)
	}
	// The API's dates have whole seconds.
	merged, omitted := merge(pool.Status.Parents, parents, metav1.NewTime(c.clock.Now().Truncate(time.Second)))
	if omitted > 0 {
		log.FromContext(ctx).Info("an InferencePool has more parents than its status can hold", "omitted", omitted, "limit", maxParents)
	}
	if equality.Semantic.DeepEqual(pool.Status.Parents, merged) {
		c.metrics.observe(request.NamespacedName, merged)
		return reconcile.Result{}, nil
	}
	return c.write(ctx, &pool, merged)
}

// write replaces the pool's parents, unless somebody changed the pool meanwhile.
func (c *Controller) write(ctx context.Context, pool *inferencev1.InferencePool, parents []inferencev1.ParentStatus) (reconcile.Result, error) {
	before := pool.DeepCopy()
	pool.Status.Parents = parents
	patch := client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})
	err := c.client.Status().Patch(ctx, pool, patch)
	c.metrics.wrote(err)
	switch {
	case apierrors.IsConflict(err):
		return reconcile.Result{RequeueAfter: conflictRetry}, nil
	case apierrors.IsNotFound(err):
		return reconcile.Result{}, nil
	case err != nil:
		return reconcile.Result{}, fmt.Errorf("write the status of InferencePool %s: %w", client.ObjectKeyFromObject(pool), err)
	}
	c.metrics.observe(client.ObjectKeyFromObject(pool), parents)
	c.events.changed(pool, before.Status.Parents, parents)
	return reconcile.Result{}, nil
}
