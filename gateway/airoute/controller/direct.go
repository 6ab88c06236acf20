package controller

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/fairway-ai/fairway/gateway/airoute"
	"github.com/fairway-ai/fairway/gateway/airoute/kube"
)

// reconcileDirect notes on an HTTPRoute that sends to AIBackends what these come to, so
// that the Gateway's controller translates it again when that changes, and tells of its
// problems, once whenever they change.
func (c *Controller) reconcileDirect(ctx context.Context, name types.NamespacedName) error {
	d := c.source.Result().Direct[name]
	if d == nil {
		c.say(name, "")
		return nil
	}
	var route gatewayv1.HTTPRoute
	if err := c.client.Get(ctx, name, &route); err != nil {
		if apierrors.IsNotFound(err) {
			return nil
		}
		return fmt.Errorf("read: %w", err)
	}
	if err := c.mark(ctx, &route, d.Hash); err != nil {
		return err
	}
	problems := slices.Clone(d.Problems)
	slices.SortStableFunc(problems, func(a, b airoute.Problem) int { return compareFields(a.Field, b.Field) })
	text := ""
	if len(problems) > 0 {
		text = all(problems)
	}
	switch {
	case !c.say(name, text):
	case text == "":
		log.FromContext(ctx).Info("an HTTPRoute's AIBackends have no problems any more", "httpRoute", name)
		c.events.tell(&route, nil, corev1.EventTypeNormal, ResolvedRefs, "AIBackends: all that the route names is there")
	default:
		log.FromContext(ctx).Info("an HTTPRoute's AIBackends have problems", "httpRoute", name, "problems", text)
		c.events.tell(&route, nil, corev1.EventTypeWarning, problems[0].Reason, "AIBackends: "+text)
	}
	return nil
}

// mark puts the hash of what its AIBackends come to on an HTTPRoute of somebody else.
func (c *Controller) mark(ctx context.Context, route *gatewayv1.HTTPRoute, hash string) error {
	if route.Annotations[HashAnnotation] == hash {
		return nil
	}
	before := route.DeepCopy()
	if route.Annotations == nil {
		route.Annotations = map[string]string{}
	}
	route.Annotations[HashAnnotation] = hash
	err := client.IgnoreNotFound(c.client.Patch(ctx, route, client.MergeFrom(before)))
	c.metrics.wrote(kube.HTTPRoute, err)
	if err != nil {
		return fmt.Errorf("write the annotation %s: %w", HashAnnotation, err)
	}
	return nil
}

// say keeps what was said of a route, and is whether that is something new.
func (c *Controller) say(name types.NamespacedName, text string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.said[name] == text {
		return false
	}
	if text == "" {
		delete(c.said, name)
	} else {
		c.said[name] = text
	}
	return true
}
