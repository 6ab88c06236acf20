package e2e

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairway-ai/fairway/api/v1alpha1"
)

const (
	commandPool  = "fairway-examples/command"
	commandCloud = "fairway-examples/cloud"
)

// programmed waits until an AIRoute's parents are all Accepted, ResolvedRefs and
// Programmed.
func (c *cluster) programmed(name string) {
	c.t.Helper()
	c.eventually("AIRoute "+name, func(ctx context.Context) (string, bool) {
		var r v1alpha1.AIRoute
		if err := c.Get(ctx, client.ObjectKey{Namespace: "fairway-examples", Name: name}, &r); err != nil {
			return err.Error(), false
		}
		for _, p := range r.Status.Parents {
			for _, kind := range []string{"Accepted", "ResolvedRefs", "Programmed"} {
				if s, ok := condition(p.Conditions, kind, r.Generation); !ok {
					return s, false
				}
			}
		}
		return "it has no parents in status", len(r.Status.Parents) > 0
	})
}

// condition says whether a condition is true of a generation, and if not, why.
func condition(all []metav1.Condition, kind string, generation int64) (string, bool) {
	c := meta.FindStatusCondition(all, kind)
	if c == nil {
		return "there is no condition " + kind, false
	}
	return fmt.Sprintf("%s is %s, %s: %s", kind, c.Status, c.Reason, c.Message),
		c.Status == metav1.ConditionTrue && c.ObservedGeneration == generation
}

// answeredBy waits until one backend answers twenty requests in a row, because each
// Envoy learns of a change by itself, and checks that it goes on.
func (s setup) answeredBy(backend string) {
	s.t.Helper()
	s.eventually("answers of "+backend, func(ctx context.Context) (string, bool) {
		for range 20 {
			if o := s.send(ctx, httpClient, "who are you?"); o.reason != "" || o.backend != backend {
				return o.backend + " " + o.reason, false
			}
		}
		return "", true
	})
	for _, o := range ask(s.t, s.target, 50) {
		if o.reason != "" || o.backend != backend {
			s.t.Errorf("%q answered, want %q; %s", o.backend, backend, o.reason)
			return
		}
	}
}

// TestPoolThenCloud takes a pool away in every way, under load: the cloud answers, and
// the pool again when it is back.
func TestPoolThenCloud(t *testing.T) {
	s := start(t, "pool-then-cloud.yaml")
	s.programmed("command")
	s.answeredBy(commandPool)

	t.Run("scaled to zero", func(t *testing.T) {
		s := s.on(t)
		mustBeFlawless(t, s.under(t, func() {
			s.scale("fairway-examples", "command", 0)
			s.answeredBy(commandCloud)
			s.scale("fairway-examples", "command", 2)
			s.answeredBy(commandPool)
		}))
	})
	t.Run("every server answers 500", func(t *testing.T) {
		s := s.on(t)
		s.failing(1)
		s.answeredBy(commandCloud)
		s.failing(0)
		s.answeredBy(commandPool)
	})
	t.Run("its picker is gone", func(t *testing.T) {
		s := s.on(t)
		s.pickedBy("nobody")
		mustBeFlawless(t, s.under(t, func() { s.answeredBy(commandCloud) }))
		s.pickedBy("")
		s.answeredBy(commandPool)
	})
	t.Run("the key is changed", func(t *testing.T) {
		s := s.on(t)
		s.scale("fairway-examples", "command", 0)
		s.answeredBy(commandCloud)
		s.setKey("a-wrong-key")
		s.eventually("the provider's refusal", func(ctx context.Context) (string, bool) {
			o := s.send(ctx, httpClient, "will you let me in?")
			return o.reason, o.status == http.StatusUnauthorized && !strings.Contains(o.reason, "a-wrong-key")
		})
		s.setKey("an-example-of-a-key")
		s.answeredBy(commandCloud)
		s.scale("fairway-examples", "command", 2)
		s.answeredBy(commandPool)
	})
	t.Run("a replica of Fairway is killed while the cloud answers", func(t *testing.T) {
		s := s.on(t)
		s.scale("fairway-examples", "command", 0)
		s.answeredBy(commandCloud)
		gateway := s.deployments(systemNamespace(), map[string]string{"app.kubernetes.io/component": "gateway"})[0]
		outcomes := s.under(t, func() { s.killHard(&gateway) })
		for _, o := range outcomes {
			// What needs translation fails closed: the provider sees nothing unsigned.
			if o.reason != "" && o.status != 0 && o.status != http.StatusServiceUnavailable && o.status != http.StatusOK {
				t.Errorf("status %d: %s", o.status, o.reason)
			}
		}
		t.Logf("%d requests, %d failed: %v", len(outcomes), sum(failures(outcomes)), failures(outcomes))
		s.scale("fairway-examples", "command", 2)
		s.answeredBy(commandPool)
	})
	t.Run("Fairway is gone", func(t *testing.T) {
		s := s.on(t)
		for _, d := range s.deployments(systemNamespace(), map[string]string{"app.kubernetes.io/component": "gateway"}) {
			replicas := int(*d.Spec.Replicas)
			s.scale(systemNamespace(), d.Name, 0)
			// The pool, which nobody picks for now, is all that is left.
			mustBeFlawless(t, ask(t, s.target, steady))
			s.scale(systemNamespace(), d.Name, replicas)
		}
		s.answeredBy(commandPool)
	})
}

// failing makes the pool's servers answer a share of requests with status 500.
func (s setup) failing(rate float64) {
	s.t.Helper()
	patch := fmt.Sprintf(`[{"op":"replace","path":"/spec/template/spec/containers/0/args/4","value":"--error-rate=%g"}]`, rate)
	d := s.deployment("fairway-examples", "command")
	if err := s.Patch(s.t.Context(), &d, client.RawPatch(types.JSONPatchType, []byte(patch))); err != nil {
		s.t.Fatalf("patching %s: %v", d.Name, err)
	}
	s.rolledOut("fairway-examples", "command")
}

// pickedBy gives the pool a picker's Service, or takes it away with "".
func (s setup) pickedBy(service string) {
	s.t.Helper()
	ref := "null"
	if service != "" {
		ref = fmt.Sprintf(`{"name":%q,"port":{"number":9002},"failureMode":"FailClose"}`, service)
	}
	s.patch("InferencePool", "inference.networking.k8s.io", "v1", "command", `{"spec":{"endpointPickerRef":`+ref+`}}`)
}

func (s setup) setKey(key string) {
	s.t.Helper()
	s.patch("Secret", "", "v1", "cloud", fmt.Sprintf(`{"stringData":{"apiKey":%q}}`, key))
}

func (c *cluster) patch(kind, group, version, name, patch string) {
	c.t.Helper()
	o := &unstructured.Unstructured{}
	o.SetGroupVersionKind(schema.GroupVersionKind{Group: group, Version: version, Kind: kind})
	o.SetNamespace("fairway-examples")
	o.SetName(name)
	if err := c.Patch(c.t.Context(), o, client.RawPatch(types.MergePatchType, []byte(patch))); err != nil {
		c.t.Fatalf("patching %s %s: %v", kind, name, err)
	}
}

// TestClouds applies the example that needs keys and the Internet. What can be said
// without them is that Envoy has it, what it serves, and that a provider that cannot be
// reached, or refuses the key, is an error in the client's schema.
func TestClouds(t *testing.T) {
	c := newCluster(t)
	address := c.gateway()
	c.apply(cloudsExample)
	c.programmed("clouds")
	c.eventually("the catalogue", func(ctx context.Context) (string, bool) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/v1/models", nil)
		if err != nil {
			return err.Error(), false
		}
		req.Host = "clouds.example.com"
		resp, err := httpClient.Do(req)
		if err != nil {
			return err.Error(), false
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
		return fmt.Sprintf("status %d: %.300s: %v", resp.StatusCode, body, err),
			resp.StatusCode == http.StatusOK && strings.Contains(string(body), `"id":"smart"`)
	})
	g := target{address: address, host: "clouds.example.com", model: "unheard-of", tokens: 4}
	if o := g.send(t.Context(), httpClient, "hello?"); o.status != http.StatusNotFound || !strings.Contains(o.reason, "model_not_found") {
		t.Errorf("an unknown model: status %d, %s; want 404", o.status, o.reason)
	}
}
