package e2e

import (
	"context"
	"fmt"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	// inFlight is how many requests a load keeps in flight.
	inFlight = 12
	// steady is how many requests must succeed before and after a disruption.
	steady = 100
)

// setup is an example with a load on it.
type setup struct {
	*cluster
	target
	address string
}

// start applies an example and waits until it answers.
func start(t *testing.T, example string) setup {
	t.Helper()
	c := newCluster(t)
	address := c.gateway()
	objects := c.apply(example)
	c.available(objects)
	want := exampleTargets[example]
	g := target{address: address, host: want.host, model: want.model, tokens: 16, stream: true}
	c.answers(g)
	return setup{cluster: c, target: g, address: address}
}

// under runs disrupt under load, waits for steady traffic after it, and returns what
// came of the requests.
func (s setup) under(t *testing.T, disrupt func()) []outcome {
	t.Helper()
	l := startLoad(t, s.target, inFlight)
	if !l.waitFor(steady, patience) {
		t.Fatal("no steady traffic before the disruption")
	}
	disrupt()
	if !l.waitFor(steady, patience) {
		t.Error("no steady traffic after the disruption")
	}
	return l.end()
}

// on is the set-up for a subtest.
func (s setup) on(t *testing.T) setup {
	s.cluster = &cluster{WithWatch: s.WithWatch, rest: s.rest, t: t}
	return s
}

// part is a part of the system that may be updated, and what runs it.
type part struct {
	name        string
	deployments []appsv1.Deployment
}

func (s setup) parts() []part {
	s.t.Helper()
	return []part{
		{"model servers", []appsv1.Deployment{s.deployment("fairway-examples", "qwen")}},
		{"picker", []appsv1.Deployment{s.deployment("fairway-examples", "qwen-epp")}},
		{"gateway", s.deployments(systemNamespace(), map[string]string{"app.kubernetes.io/component": "gateway"})},
		{"Envoy", s.deployments("", map[string]string{
			"gateway.envoyproxy.io/owning-gateway-name": "ai", "gateway.envoyproxy.io/owning-gateway-namespace": "fairway-examples",
		})},
	}
}

func (c *cluster) deployment(namespace, name string) appsv1.Deployment {
	c.t.Helper()
	var d appsv1.Deployment
	if err := c.Get(c.t.Context(), client.ObjectKey{Namespace: namespace, Name: name}, &d); err != nil {
		c.t.Fatal(err)
	}
	return d
}

// TestRollingUpdates updates every part under load: no request fails.
func TestRollingUpdates(t *testing.T) {
	s := start(t, "pool-with-picker.yaml")
	for _, p := range s.parts() {
		t.Run(p.name, func(t *testing.T) {
			s := s.on(t)
			mustBeFlawless(t, s.under(t, func() {
				for i := range p.deployments {
					s.restart(&p.deployments[i])
				}
			}))
		})
	}
}

// restart replaces a Deployment's pods as its strategy says, and waits until the old
// ones are gone.
func (c *cluster) restart(d *appsv1.Deployment) {
	c.t.Helper()
	patch := fmt.Appendf(nil, `{"spec":{"template":{"metadata":{"annotations":{"fairway.dev/restarted":%q}}}}}`, time.Now().Format(time.RFC3339Nano))
	if err := c.Patch(c.t.Context(), d.DeepCopy(), client.RawPatch(types.MergePatchType, patch)); err != nil {
		c.t.Fatalf("restarting %s: %v", d.Name, err)
	}
	c.rolledOut(d.Namespace, d.Name)
}

// TestKills removes a pod of each part at once, without grace, under load.
func TestKills(t *testing.T) {
	s := start(t, "pool-with-picker.yaml")
	for _, p := range s.parts() {
		t.Run(p.name, func(t *testing.T) {
			s := s.on(t)
			mustLoseLittle(t, p, s.under(t, func() {
				for i := range p.deployments {
					s.kill(&p.deployments[i])
				}
			}))
		})
	}
}

// TestHardKills kills the processes of one pod of each part with SIGKILL, under load:
// none of them can say goodbye.
func TestHardKills(t *testing.T) {
	s := start(t, "pool-with-picker.yaml")
	for _, p := range s.parts() {
		t.Run(p.name, func(t *testing.T) {
			s := s.on(t)
			mustLoseLittle(t, p, s.under(t, func() {
				for i := range p.deployments {
					s.killHard(&p.deployments[i])
				}
			}))
		})
	}
}

// mustLoseLittle checks what came of requests while a pod of a part was killed. A
// client that is connected to a proxy that dies loses its connection, and an answer
// that has begun cannot be taken over: those are counted. All else must be served.
func mustLoseLittle(t *testing.T, p part, outcomes []outcome) {
	t.Helper()
	lost := 0
	for _, o := range outcomes {
		begun := (o.status == 200 || o.status == 502) && p.name == "model servers"
		connected := (o.status == 0 || o.status == 200) && p.name == "Envoy"
		if o.reason == "" {
			continue
		}
		if begun || connected {
			lost++
			continue
		}
		t.Errorf("a request failed: %s", o.reason)
	}
	// Every one in flight may be lost with its server, and one more per client while it
	// connects anew.
	if lost > 2*inFlight {
		t.Errorf("%d requests were lost, of %d in flight", lost, inFlight)
	}
	t.Logf("%d requests, %d lost with who served them: %v", len(outcomes), lost, failures(outcomes))
}

// killHard kills the processes of one of a Deployment's pods, and waits until its
// containers run again.
func (c *cluster) killHard(d *appsv1.Deployment) {
	c.t.Helper()
	for _, pod := range c.podsOf(c.t.Context(), d) {
		if !isReady(&pod) {
			continue
		}
		onCluster(c.t, "kill", string(pod.UID))
		c.eventually("the restart of "+pod.Name, func(ctx context.Context) (string, bool) {
			var now corev1.Pod
			if err := c.Get(ctx, client.ObjectKeyFromObject(&pod), &now); err != nil {
				return err.Error(), false
			}
			return fmt.Sprintf("%d restarts, %d before", restarts(&now), restarts(&pod)), restarts(&now) > restarts(&pod) && isReady(&now)
		})
		return
	}
	c.t.Fatalf("%s has no ready pod", d.Name)
}

func restarts(p *corev1.Pod) (n int32) {
	for _, s := range p.Status.ContainerStatuses {
		n += s.RestartCount
	}
	return n
}

// kill removes one of a Deployment's pods without grace, and waits until it has been
// replaced.
func (c *cluster) kill(d *appsv1.Deployment) {
	c.t.Helper()
	for _, pod := range c.podsOf(c.t.Context(), d) {
		if pod.DeletionTimestamp != nil || pod.Status.Phase != corev1.PodRunning {
			continue
		}
		if err := c.Delete(c.t.Context(), &pod, client.GracePeriodSeconds(0)); err != nil {
			c.t.Fatalf("killing %s: %v", pod.Name, err)
		}
		c.eventually("the replacement of "+pod.Name, func(ctx context.Context) (string, bool) {
			ready, gone := 0, true
			for _, p := range c.podsOf(ctx, d) {
				gone = gone && p.UID != pod.UID
				if isReady(&p) {
					ready++
				}
			}
			return fmt.Sprintf("%d pods are ready", ready), gone && ready >= int(*d.Spec.Replicas)
		})
		return
	}
	c.t.Fatalf("%s has no running pod", d.Name)
}

func isReady(p *corev1.Pod) bool {
	for _, cond := range p.Status.Conditions {
		if cond.Type == corev1.PodReady {
			return cond.Status == corev1.ConditionTrue && p.DeletionTimestamp == nil
		}
	}
	return false
}
