package e2e

import (
	"context"
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	// gate is a readiness gate that the test opens and closes, so that a pod becomes
	// ready and unready at a moment of the test's choosing.
	gate = "fairway.dev/e2e"
	// tooLate is when a change of readiness is taken to be missed. What is usual is
	// printed, not asserted: the machine may be busy.
	tooLate = 10 * time.Second
)

const gatedPool = `
apiVersion: v1
kind: Pod
metadata: {name: gated-a, namespace: fairway-examples, labels: {app: gated}}
spec:
  readinessGates: [{conditionType: fairway.dev/e2e}]
  terminationGracePeriodSeconds: 1
  containers:
  - name: server
    image: ghcr.io/fairway-ai/fairway:0.1.0
    args: [sim, --port=8000, --name=$(POD_NAME), --model=gated]
    env: [{name: POD_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]
---
apiVersion: v1
kind: Pod
metadata: {name: gated-b, namespace: fairway-examples, labels: {app: gated}}
spec:
  readinessGates: [{conditionType: fairway.dev/e2e}]
  terminationGracePeriodSeconds: 1
  containers:
  - name: server
    image: ghcr.io/fairway-ai/fairway:0.1.0
    args: [sim, --port=8000, --name=$(POD_NAME), --model=gated]
    env: [{name: POD_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]
---
apiVersion: inference.networking.k8s.io/v1
kind: InferencePool
metadata: {name: gated, namespace: fairway-examples}
spec:
  selector: {matchLabels: {app: gated}}
  targetPorts: [{number: 8000}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: gated, namespace: fairway-examples}
spec:
  parentRefs: [{name: ai}]
  hostnames: [gated.example.com]
  rules:
  - backendRefs: [{group: inference.networking.k8s.io, kind: InferencePool, name: gated}]
`

// TestReadiness measures how soon a pod that becomes ready is picked, and one that
// becomes unready is not.
func TestReadiness(t *testing.T) {
	c := newCluster(t)
	g := target{address: c.gateway(), host: "gated.example.com", model: "gated", tokens: 1}
	c.applyText("the gated pool", gatedPool)
	for _, name := range []string{"gated-a", "gated-b"} {
		c.eventually(name, func(ctx context.Context) (string, bool) {
			pod, err := c.pod(ctx, name)
			return fmt.Sprint(err), err == nil && pod.Status.Phase == corev1.PodRunning
		})
	}
	c.setReady("gated-a", true)
	c.answers(g)

	l := startLoad(t, g, inFlight)
	var picked, dropped []time.Duration
	for range 5 {
		since := c.setReady("gated-b", true)
		picked = append(picked, l.first("gated-b", since))
		since = c.setReady("gated-b", false)
		dropped = append(dropped, l.settle("gated-b", since))
	}
	mustBeFlawless(t, l.end())
	t.Logf("picked after it became ready: %v", picked)
	t.Logf("last picked after it became unready: %v", dropped)
	for _, d := range append(picked, dropped...) {
		if d > tooLate {
			t.Errorf("a change of readiness took %v", d)
		}
	}
}

func (c *cluster) pod(ctx context.Context, name string) (*corev1.Pod, error) {
	var pod corev1.Pod
	return &pod, c.Get(ctx, client.ObjectKey{Namespace: "fairway-examples", Name: name}, &pod)
}

// setReady opens or closes a pod's gate and returns when the API showed the pod so.
func (c *cluster) setReady(name string, ready bool) time.Time {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), patience)
	defer cancel()
	w, err := c.Watch(ctx, &corev1.PodList{}, client.InNamespace("fairway-examples"), client.MatchingFields{"metadata.name": name})
	if err != nil {
		c.t.Fatal(err)
	}
	defer w.Stop()
	status := corev1.ConditionFalse
	if ready {
		status = corev1.ConditionTrue
	}
	pod, err := c.pod(ctx, name)
	if err != nil {
		c.t.Fatal(err)
	}
	patch := fmt.Appendf(nil, `{"status":{"conditions":[{"type":%q,"status":%q}]}}`, gate, status)
	if err := c.Status().Patch(ctx, pod, client.RawPatch(types.StrategicMergePatchType, patch)); err != nil {
		c.t.Fatalf("gate of %s: %v", name, err)
	}
	for e := range w.ResultChan() {
		if p, ok := e.Object.(*corev1.Pod); ok && e.Type != watch.Deleted && isReady(p) == ready {
			return time.Now()
		}
	}
	c.t.Fatalf("%s did not become ready=%t", name, ready)
	return time.Time{}
}

// first waits until a server has answered a request that began after since, and
// returns how long after since the first such request began.
func (l *load) first(server string, since time.Time) time.Duration {
	deadline := time.After(tooLate)
	for {
		l.mu.Lock()
		for _, o := range l.outcomes {
			if o.server == server && o.began.After(since) {
				l.mu.Unlock()
				return o.began.Sub(since)
			}
		}
		l.mu.Unlock()
		select {
		case <-l.changed:
		case <-deadline:
			return 2 * tooLate
		}
	}
}

// settle waits until many requests in a row began after since and none of the newest
// was answered by the server, and returns how long after since the last one that was
// began.
func (l *load) settle(server string, since time.Time) time.Duration {
	deadline := time.After(tooLate)
	for {
		last, others := time.Duration(0), 0
		l.mu.Lock()
		for _, o := range l.outcomes {
			switch {
			case o.began.Before(since):
			case o.server == server:
				last, others = max(last, o.began.Sub(since)), 0
			default:
				others++
			}
		}
		l.mu.Unlock()
		if others >= 10*inFlight {
			return last
		}
		select {
		case <-l.changed:
		case <-deadline:
			return 2 * tooLate
		}
	}
}
