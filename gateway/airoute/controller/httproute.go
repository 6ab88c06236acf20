package controller

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/fairway-ai/fairway/api/v1alpha1"
	"github.com/fairway-ai/fairway/gateway/airoute"
	"github.com/fairway-ai/fairway/gateway/airoute/kube"
)

const (
	managedByLabel = "app.kubernetes.io/managed-by"
	managedBy      = "fairway"
)

// spec is that of the HTTPRoute of an AIRoute. All that the API server would fill in
// is there, so that what is wanted can be compared with what is.
func spec(route *v1alpha1.AIRoute, r *airoute.RouteResult) gatewayv1.HTTPRouteSpec {
	s := gatewayv1.HTTPRouteSpec{Hostnames: r.Hostnames}
	for _, p := range route.Spec.ParentRefs {
		p = *p.DeepCopy()
		p.Group, p.Kind = orDefault(p.Group, gatewayv1.GroupName), orDefault(p.Kind, "Gateway")
		s.ParentRefs = append(s.ParentRefs, p)
	}
	rule := gatewayv1.HTTPRouteRule{BackendRefs: []gatewayv1.HTTPBackendRef{{BackendRef: gatewayv1.BackendRef{
		BackendObjectReference: gatewayv1.BackendObjectReference{
			Group: new(gatewayv1.Group(v1alpha1.GroupName)), Kind: new(gatewayv1.Kind(kube.AIRoute)), Name: gatewayv1.ObjectName(route.Name),
		},
		Weight: new(int32(1)),
	}}}}
	for _, m := range r.Matches {
		rule.Matches = append(rule.Matches, match(m))
	}
	if len(rule.Matches) == 0 {
		rule.Matches = []gatewayv1.HTTPRouteMatch{match(gatewayv1.HTTPRouteMatch{})}
	}
	s.Rules = []gatewayv1.HTTPRouteRule{rule}
	return s
}

func match(m gatewayv1.HTTPRouteMatch) gatewayv1.HTTPRouteMatch {
	m = *m.DeepCopy()
	if m.Path == nil {
		m.Path = &gatewayv1.HTTPPathMatch{}
	}
	m.Path.Type, m.Path.Value = orDefault(m.Path.Type, gatewayv1.PathMatchPathPrefix), orDefault(m.Path.Value, "/")
	for i := range m.Headers {
		m.Headers[i].Type = orDefault(m.Headers[i].Type, gatewayv1.HeaderMatchExact)
	}
	for i := range m.QueryParams {
		m.QueryParams[i].Type = orDefault(m.QueryParams[i].Type, gatewayv1.QueryParamMatchExact)
	}
	return m
}

func orDefault[T any](v *T, def T) *T {
	if v == nil {
		return &def
	}
	return v
}

// owned is whether an AIRoute of that name made the HTTPRoute. It may have been an
// earlier one, which was deleted a moment ago.
func owned(h *gatewayv1.HTTPRoute, route *v1alpha1.AIRoute) bool {
	o := metav1.GetControllerOf(h)
	return o != nil && o.APIVersion == v1alpha1.GroupVersion.String() && o.Kind == string(kube.AIRoute) && o.Name == route.Name
}

// owner refers to an AIRoute. It does not block the AIRoute's deletion, for which the
// permission to change finalizers would be needed.
func owner(route *v1alpha1.AIRoute) metav1.OwnerReference {
	return metav1.OwnerReference{
		APIVersion: v1alpha1.GroupVersion.String(), Kind: string(kube.AIRoute), Name: route.Name, UID: route.UID, Controller: new(true),
	}
}

// complete makes h the HTTPRoute of an AIRoute. Labels, annotations and owners that
// others gave it stay.
func complete(h *gatewayv1.HTTPRoute, route *v1alpha1.AIRoute, r *airoute.RouteResult) {
	if h.Labels == nil {
		h.Labels = map[string]string{}
	}
	h.Labels[managedByLabel] = managedBy
	if h.Annotations == nil {
		h.Annotations = map[string]string{}
	}
	h.Annotations[HashAnnotation] = r.Hash
	mine := -1
	for i, o := range h.OwnerReferences {
		if o.Controller != nil && *o.Controller {
			mine = i
		}
	}
	if mine < 0 {
		h.OwnerReferences = append(h.OwnerReferences, owner(route))
	} else if h.OwnerReferences[mine].UID != route.UID {
		h.OwnerReferences[mine] = owner(route)
	}
	h.Spec = spec(route, r)
}

// writeHTTPRoute has the HTTPRoute of f.route be as f says, and puts what there is
// then, or what prevented it, into f. retry says that somebody else was faster.
func (c *Controller) writeHTTPRoute(ctx context.Context, f *facts) (retry bool, err error) {
	name := client.ObjectKeyFromObject(f.route)
	var h gatewayv1.HTTPRoute
	switch err := c.client.Get(ctx, name, &h); {
	case apierrors.IsNotFound(err):
	case err != nil:
		return false, fmt.Errorf("read the HTTPRoute: %w", err)
	case owned(&h, f.route):
		f.httpRoute = &h
	default:
		f.foreign = f.served()
		return false, nil
	}
	switch {
	case !f.served() && f.httpRoute != nil:
		err = c.client.Delete(ctx, &h, client.Preconditions{UID: &h.UID, ResourceVersion: &h.ResourceVersion})
		if err == nil {
			log.FromContext(ctx).Info("removed an HTTPRoute: the AIRoute is not served", "httpRoute", name)
		}
		f.httpRoute, err = nil, client.IgnoreNotFound(err)
	case !f.served():
		return false, nil
	case f.httpRoute == nil:
		h = gatewayv1.HTTPRoute{ObjectMeta: metav1.ObjectMeta{Namespace: name.Namespace, Name: name.Name}}
		complete(&h, f.route, f.result)
		if err = c.client.Create(ctx, &h); err == nil {
			f.httpRoute = &h
			log.FromContext(ctx).Info("created an HTTPRoute", "httpRoute", name)
		}
	default:
		before := h.DeepCopy()
		complete(&h, f.route, f.result)
		if equality.Semantic.DeepEqual(before, &h) {
			return false, nil
		}
		err = c.client.Patch(ctx, &h, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}))
	}
	c.metrics.wrote(kube.HTTPRoute, err)
	switch {
	case apierrors.IsConflict(err), apierrors.IsAlreadyExists(err), apierrors.IsNotFound(err):
		return true, nil
	case apierrors.IsInvalid(err):
		f.refused = &finding{metav1.ConditionFalse, ReasonHTTPRouteInvalid, "The API server does not take the HTTPRoute of the route: " + err.Error()}
		return false, nil // until the route changes
	case apierrors.IsForbidden(err):
		f.refused = &finding{metav1.ConditionFalse, ReasonHTTPRouteForbidden,
			"Fairway may not write the HTTPRoute of the route: let its service account create, patch and delete HTTPRoutes here: " + err.Error()}
	}
	if err != nil {
		return false, fmt.Errorf("write the HTTPRoute: %w", err)
	}
	return false, nil
}
