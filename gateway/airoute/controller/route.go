package controller

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/fairway-ai/fairway/api/v1alpha1"
	"github.com/fairway-ai/fairway/gateway/airoute"
	"github.com/fairway-ai/fairway/gateway/airoute/kube"
)

// reconcileRoute makes an AIRoute's HTTPRoute and status say what is so.
func (c *Controller) reconcileRoute(ctx context.Context, name types.NamespacedName) (reconcile.Result, error) {
	var route v1alpha1.AIRoute
	if err := c.client.Get(ctx, name, &route); err != nil {
		if apierrors.IsNotFound(err) {
			c.metrics.routes.Forget(name) // and its HTTPRoute goes with it
			return reconcile.Result{}, nil
		}
		return reconcile.Result{}, fmt.Errorf("read: %w", err)
	}
	r := c.source.Result()
	f := &facts{route: &route, result: r.Routes[name], config: cmp.Or(r.Config, &airoute.Config{}), class: c.class}
	deleting := !route.DeletionTimestamp.IsZero()
	if !deleting && (f.result == nil || f.result.Generation != route.Generation) {
		return reconcile.Result{}, nil // a result of this generation will come
	}
	retry, err := c.writeHTTPRoute(ctx, f)
	switch {
	case retry:
		return reconcile.Result{RequeueAfter: conflictRetry}, nil
	case deleting || err != nil && f.refused == nil:
		return reconcile.Result{}, err
	}
	result, errStatus := c.writeRouteStatus(ctx, f)
	return result, errors.Join(err, errStatus)
}

// writeRouteStatus replaces the AIRoute's parents, unless somebody changed the AIRoute
// meanwhile.
func (c *Controller) writeRouteStatus(ctx context.Context, f *facts) (reconcile.Result, error) {
	route, name := f.route, client.ObjectKeyFromObject(f.route)
	var wanted []gatewayv1.RouteParentStatus
	for _, ref := range distinct(route.Namespace, route.Spec.ParentRefs) {
		wanted = append(wanted, gatewayv1.RouteParentStatus{ParentRef: ref, ControllerName: ControllerName, Conditions: f.conditions(ref)})
	}
	merged := mergeParents(route.Namespace, route.Status.Parents, wanted, c.now())
	if equality.Semantic.DeepEqual(route.Status.Parents, merged) {
		c.metrics.routes.Observe(name, ours(merged))
		return reconcile.Result{}, nil
	}
	before := route.DeepCopy()
	route.Status.Parents = merged
	err := c.client.Status().Patch(ctx, route, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}))
	c.metrics.wrote(kube.AIRoute, err)
	if again, err := wrote(err); again || err != nil {
		return requeue(again), err
	}
	c.metrics.routes.Observe(name, ours(merged))
	c.events.routeChanged(route, before.Status.Parents, merged)
	return reconcile.Result{}, nil
}

// now is the date of changes: the API's dates have whole seconds.
func (c *Controller) now() metav1.Time { return metav1.NewTime(c.clock.Now().Truncate(time.Second)) }

// wrote says whether a write of a status must be tried again from the start. An object
// that is gone needs none.
func wrote(err error) (again bool, _ error) {
	switch {
	case err == nil, apierrors.IsNotFound(err):
		return false, nil
	case apierrors.IsConflict(err):
		return true, nil
	}
	return false, fmt.Errorf("write the status: %w", err)
}

func requeue(again bool) reconcile.Result {
	if again {
		return reconcile.Result{RequeueAfter: conflictRetry}
	}
	return reconcile.Result{}
}
