package controller

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/log"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/fairway-ai/fairway/gateway/airoute"
)

// reconcileDirect tells of the problems of an HTTPRoute that sends to AIBackends, once
// whenever they change.
func (c *Controller) reconcileDirect(ctx context.Context, name types.NamespacedName) error {
	var problems []airoute.Problem
	if d := c.source.Result().Direct[name]; d != nil {
		problems = slices.Clone(d.Problems)
	} else {
		c.say(name, "")
		return nil
	}
	slices.SortStableFunc(problems, func(a, b airoute.Problem) int { return compareFields(a.Field, b.Field) })
	text := ""
	if len(problems) > 0 {
		text = all(problems)
	}
	if !c.say(name, text) {
		return nil
	}
	var route gatewayv1.HTTPRoute
	if err := c.client.Get(ctx, name, &route); err != nil {
		if apierrors.IsNotFound(err) {
			return nil
		}
		c.say(name, "") // and again later
		return fmt.Errorf("read: %w", err)
	}
	if text == "" {
		log.FromContext(ctx).Info("an HTTPRoute's AIBackends have no problems any more", "httpRoute", name)
		c.events.tell(&route, nil, corev1.EventTypeNormal, ResolvedRefs, "AIBackends: all that the route names is there")
		return nil
	}
	log.FromContext(ctx).Info("an HTTPRoute's AIBackends have problems", "httpRoute", name, "problems", text)
	c.events.tell(&route, nil, corev1.EventTypeWarning, problems[0].Reason, "AIBackends: "+text)
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
