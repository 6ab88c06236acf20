package controller

import (
	"cmp"
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/fairway-ai/fairway/api/v1alpha1"
	"github.com/fairway-ai/fairway/gateway/accesspolicy"
	"github.com/fairway-ai/fairway/gateway/airoute"
	"github.com/fairway-ai/fairway/gateway/airoute/kube"
	"github.com/fairway-ai/fairway/gateway/internal/statusgauge"
)

const (
	// EnvoyGateway is the controllerName of Envoy Gateway's classes, unless it was
	// configured otherwise.
	EnvoyGateway = "gateway.envoyproxy.io/gatewayclass-controller"

	// soon and later are how long after a look the next one comes: while something is
	// not as it should be, and when all is well.
	soon, later = 5 * time.Second, 30 * time.Second
)

// Source says what policies come to. A [kube.Source] is one.
type Source interface {
	// Result is the newest result, never nil.
	Result() *airoute.Result
	// Subscribe has f called with every result.
	Subscribe(f func(*airoute.Result))
	// SubscribeObjects has f called at every change of an object.
	SubscribeObjects(f func(kube.Kind, types.NamespacedName))
}

// Options configure [New]. The zero value of a field means its default.
type Options struct {
	// Live reads from the API server: bundles, and what others configure at Gateways.
	// Default: the client.
	Live client.Reader
	// GatewayController is the controllerName of the classes of Gateways that can be
	// guarded. Default [EnvoyGateway].
	GatewayController string
	// Leads says whether this replica writes now; [Controller.Elected] must be called
	// each time it becomes true. Default: always.
	Leads func() bool
	// Recorder receives an event for each change of a condition. Default: none.
	Recorder events.EventRecorder
	// Metrics registers the controller's metrics. Default: nowhere.
	Metrics prometheus.Registerer
	// Clock judges certificates. Default the system's.
	Clock clock.PassiveClock
}

// Controller writes what policies need, and their status. Make it with [New].
type Controller struct {
	client client.Client
	source Source
	o      Options
	status *statusgauge.Gauge

	mu    sync.Mutex
	queue workqueue.TypedRateLimitingInterface[types.NamespacedName] // nil before the start
}

// New makes a controller that follows s, which must not run yet. It fails when its
// metrics cannot be registered.
func New(c client.Client, s Source, o Options) (*Controller, error) {
	if o.Live == nil {
		o.Live = c
	}
	if o.Leads == nil {
		o.Leads = func() bool { return true }
	}
	if o.Clock == nil {
		o.Clock = clock.RealClock{}
	}
	o.GatewayController = cmp.Or(o.GatewayController, EnvoyGateway)
	x := &Controller{
		client: c, source: s, o: o,
		status: statusgauge.New("fairway_aiaccesspolicy_status", "AIAccessPolicies, by their conditions.", o.Leads),
	}
	if o.Metrics != nil {
		if err := o.Metrics.Register(x.status); err != nil {
			return nil, fmt.Errorf("register the metrics of AIAccessPolicies: %w", err)
		}
	}
	s.Subscribe(func(*airoute.Result) { x.Elected() })
	s.SubscribeObjects(func(k kube.Kind, name types.NamespacedName) {
		if k == kube.AIAccessPolicy {
			x.add(name)
		}
	})
	return x, nil
}

// SetupWithManager adds the controller to a manager.
func (c *Controller) SetupWithManager(m manager.Manager) error {
	start := func(_ context.Context, q workqueue.TypedRateLimitingInterface[types.NamespacedName]) error {
		c.mu.Lock()
		c.queue = q
		c.mu.Unlock()
		c.Elected()
		return nil
	}
	err := builder.TypedControllerManagedBy[types.NamespacedName](m).
		Named("aiaccesspolicy").
		WithOptions(controller.TypedOptions[types.NamespacedName]{NeedLeaderElection: new(false)}).
		WatchesRawSource(source.TypedFunc[types.NamespacedName](start)).
		Complete(c)
	if err != nil {
		return fmt.Errorf("set up the controller of AIAccessPolicies: %w", err)
	}
	return nil
}

// Elected has everything looked at. It does not block.
func (c *Controller) Elected() {
	for name := range c.source.Result().Policies {
		c.add(name)
	}
}

func (c *Controller) add(name types.NamespacedName) {
	c.mu.Lock()
	q := c.queue
	c.mu.Unlock()
	if q != nil {
		q.Add(name)
	}
}

// look is one look at a policy, and what it finds.
type look struct {
	*Controller
	ctx    context.Context
	policy *v1alpha1.AIAccessPolicy
	result *accesspolicy.Result
	bundle *accesspolicy.Bundle // nil when it cannot be used
	// gateway is the target, nil when there is none that can be guarded.
	gateway *gatewayv1.Gateway
	found   []metav1.Condition
}

// Reconcile makes one policy so.
func (c *Controller) Reconcile(ctx context.Context, name types.NamespacedName) (reconcile.Result, error) {
	if !c.o.Leads() {
		return reconcile.Result{}, nil
	}
	var p v1alpha1.AIAccessPolicy
	if err := c.client.Get(ctx, name, &p); err != nil {
		if apierrors.IsNotFound(err) {
			c.status.Forget(name)
			return reconcile.Result{}, nil // what it owns goes with it
		}
		return reconcile.Result{}, fmt.Errorf("AIAccessPolicy %s: read: %w", name, err)
	}
	r := c.source.Result().Policies[name]
	if r == nil || r.Generation != p.Generation || !p.DeletionTimestamp.IsZero() {
		return reconcile.Result{}, nil // a result of this generation will come
	}
	l := &look{Controller: c, ctx: ctx, policy: &p, result: r}
	if err := l.run(); err != nil {
		return reconcile.Result{}, fmt.Errorf("AIAccessPolicy %s: %w", name, err)
	}
	again, err := l.write()
	if err != nil {
		return reconcile.Result{}, fmt.Errorf("AIAccessPolicy %s: status: %w", name, err)
	}
	return reconcile.Result{RequeueAfter: again}, nil
}

// run looks at everything and writes what the policy needs.
func (l *look) run() error {
	accepted := l.accepted()
	if err := l.refs(); err != nil {
		return err
	}
	bound, err := l.bound()
	if err != nil {
		return err
	}
	if !accepted || l.bundle == nil || !bound {
		// What is there stays: nothing may be opened because of a mistake.
		l.programmed(nil, false)
		return nil
	}
	if taken, err := l.writeAuthorities(); err != nil || taken {
		return err
	}
	others, err := l.others()
	if err != nil {
		return err
	}
	for i := range others {
		if sufficient(&others[i], l.authoritiesName()) {
			l.set(GatewayBound, true, ReasonForeign, fmt.Sprintf("ClientTrafficPolicy %s of somebody else asks for client certificates.", others[i].GetName()))
			l.programmed(&others[i], true)
			return nil
		}
	}
	if len(others) > 0 {
		l.conflict(&others[0])
		l.programmed(nil, false)
		return nil
	}
	own, err := l.writeTrafficPolicy()
	if err != nil {
		return err
	}
	if own == nil {
		l.set(GatewayBound, false, ReasonNameTaken, fmt.Sprintf("There is a ClientTrafficPolicy %s that this policy did not make: delete or rename one of the two.", l.policy.Name))
	}
	l.programmed(own, own != nil)
	return nil
}

// write writes the conditions, and says when to look again.
func (l *look) write() (time.Duration, error) {
	before := l.policy.DeepCopy()
	for _, c := range l.found {
		c.ObservedGeneration = l.policy.Generation
		c.LastTransitionTime = metav1.NewTime(l.o.Clock.Now())
		meta.SetStatusCondition(&l.policy.Status.Conditions, c)
	}
	again := later
	if !meta.IsStatusConditionTrue(l.policy.Status.Conditions, Programmed) {
		again = soon
	}
	name := client.ObjectKeyFromObject(l.policy)
	if equality.Semantic.DeepEqual(before.Status, l.policy.Status) {
		l.status.Observe(name, [][]metav1.Condition{l.policy.Status.Conditions})
		return again, nil
	}
	err := l.client.Status().Patch(l.ctx, l.policy, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}))
	switch {
	case apierrors.IsConflict(err):
		return soon, nil
	case apierrors.IsNotFound(err):
		return 0, nil
	case err != nil:
		return 0, err
	}
	l.status.Observe(name, [][]metav1.Condition{l.policy.Status.Conditions})
	for _, c := range l.found {
		was := meta.FindStatusCondition(before.Status.Conditions, c.Type)
		if l.o.Recorder == nil || was != nil && was.Status == c.Status && was.Reason == c.Reason {
			continue
		}
		kind := corev1.EventTypeNormal
		if c.Status != metav1.ConditionTrue || c.Reason == ReasonExpiring {
			kind = corev1.EventTypeWarning
		}
		l.o.Recorder.Eventf(l.policy, nil, kind, c.Reason, "SetStatus", "%s is %s: %s", c.Type, c.Status, c.Message)
	}
	return again, nil
}
