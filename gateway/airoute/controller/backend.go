package controller

import (
	"context"
	"fmt"
	"regexp"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/fairway-ai/fairway/api/v1alpha1"
	"github.com/fairway-ai/fairway/gateway/airoute"
	"github.com/fairway-ai/fairway/gateway/airoute/kube"
)

// reconcileBackend makes an AIBackend's status say what is so.
func (c *Controller) reconcileBackend(ctx context.Context, name types.NamespacedName) (reconcile.Result, error) {
	var b v1alpha1.AIBackend
	if err := c.client.Get(ctx, name, &b); err != nil {
		if apierrors.IsNotFound(err) {
			c.metrics.backends.Forget(name)
			return reconcile.Result{}, nil
		}
		return reconcile.Result{}, fmt.Errorf("read: %w", err)
	}
	r := c.source.Result().Backends[name]
	if r == nil || r.Generation != b.Generation || !b.DeletionTimestamp.IsZero() {
		return reconcile.Result{}, nil // a result of this generation will come
	}
	merged := mergeConditions(b.Status.Conditions, backendConditions(&b, r, c.credentials), c.now())
	if equality.Semantic.DeepEqual(b.Status.Conditions, merged) {
		c.metrics.backends.Observe(name, [][]metav1.Condition{merged})
		return reconcile.Result{}, nil
	}
	before := b.DeepCopy()
	b.Status.Conditions = merged
	err := c.client.Status().Patch(ctx, &b, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}))
	c.metrics.wrote(kube.AIBackend, err)
	if again, err := wrote(err); again || err != nil {
		return requeue(again), err
	}
	c.metrics.backends.Observe(name, [][]metav1.Condition{merged})
	c.events.backendChanged(&b, before.Status.Conditions, merged)
	return reconcile.Result{}, nil
}

// backendConditions are those of an AIBackend, without dates.
func backendConditions(b *v1alpha1.AIBackend, r *airoute.BackendResult, credentials Credentials) []metav1.Condition {
	accepted := judge(Accepted, "The backend is valid.", r.Problems)
	programmed := yes(Programmed, "A route leads to the backend.")
	switch {
	case !r.Used && accepted.status != metav1.ConditionTrue:
		programmed = no(ReasonNotUsed, "No route can lead to the backend, because it is not accepted: see condition Accepted.")
	case !r.Used:
		programmed = no(ReasonNotUsed, "No route leads to the backend: name it in the backendRefs of an AIRoute or HTTPRoute.")
	}
	return []metav1.Condition{
		accepted.condition(Accepted, b.Generation),
		judge(ResolvedRefs, "All that the backend names is there.", r.Problems).condition(ResolvedRefs, b.Generation),
		programmed.condition(Programmed, b.Generation),
		credentialsReady(b, r, credentials).condition(CredentialsReady, b.Generation),
	}
}

// credentialsReady is whether requests will be let in by the backend, as far as
// Fairway knows.
func credentialsReady(b *v1alpha1.AIBackend, r *airoute.BackendResult, credentials Credentials) finding {
	switch c := b.Spec.Credentials; {
	case c == nil:
		return yes(ReasonNotRequired, "The backend has no credentials.")
	case c.Type == v1alpha1.CredentialsFromRequestHeader:
		return yes(ReasonNotRequired, "Clients bring the credentials.")
	}
	for _, p := range r.Problems {
		if p.Reason == airoute.ReasonSecret || p.Reason == airoute.ReasonIdentity {
			return judge(p.Condition, "", []airoute.Problem{p})
		}
	}
	ready, reason, message, known := credentials.State(b.Namespace + "/" + b.Name)
	switch {
	case !known && !r.Used:
		return pending("Credentials are obtained when a route leads to the backend.")
	case !known:
		return pending("Credentials are not obtained yet.")
	case ready:
		return yes(orReason(reason, CredentialsReady), message)
	}
	return no(orReason(reason, ReasonNotReady), "%s", message)
}

// validReason is the API's form of reasons.
var validReason = regexp.MustCompile(`^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$`)

// orReason is a reason that the API takes.
func orReason(reason, otherwise string) string {
	if len(reason) <= maxMessage && validReason.MatchString(reason) {
		return reason
	}
	return otherwise
}
