package e2e

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/util/yaml"
	clientscheme "k8s.io/client-go/kubernetes/scheme"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/fairway-ai/fairway/api/v1alpha1"
)

const (
	examples = "../../examples/kubernetes"
	// patience bounds the wait for the cluster to do something.
	patience = 3 * time.Minute
	// exampleImage is the image in the examples, but for its tag.
	exampleImage = "ghcr.io/fairway-ai/fairway:"
)

// cluster is the cluster under test.
type cluster struct {
	client.WithWatch
	// rest reaches pods through the API server.
	rest rest.Interface
	t    *testing.T
}

// newCluster finds the cluster, or ends the test.
func newCluster(t *testing.T) *cluster {
	t.Helper()
	if os.Getenv("KUBECONFIG") == "" {
		if os.Getenv("FAIRWAY_E2E") != "" {
			t.Fatal("KUBECONFIG is not set, and FAIRWAY_E2E is")
		}
		t.Skip("KUBECONFIG is not set: there is no cluster to test in")
	}
	config, err := clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
	if err != nil {
		t.Fatalf("KUBECONFIG: %v", err)
	}
	config.QPS = -1 // wait for nothing but the cluster
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientscheme.AddToScheme, gatewayv1.Install, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	c, err := client.NewWithWatch(config, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatalf("connecting to the cluster: %v", err)
	}
	direct, err := corev1client.NewForConfig(config)
	if err != nil {
		t.Fatalf("connecting to the cluster: %v", err)
	}
	return &cluster{WithWatch: c, rest: direct.RESTClient(), t: t}
}

func setting(name, otherwise string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return otherwise
}

func systemNamespace() string { return setting("FAIRWAY_E2E_NAMESPACE", "fairway-system") }

// apply applies a file of examples/kubernetes, with the image under test, and returns
// its objects. All but what the tests share are deleted when the test ends.
func (c *cluster) apply(name string) []*unstructured.Unstructured {
	c.t.Helper()
	b, err := os.ReadFile(filepath.Join(examples, name))
	if err != nil {
		c.t.Fatal(err)
	}
	return c.applyText(name, string(b))
}

func (c *cluster) applyText(name, text string) []*unstructured.Unstructured {
	c.t.Helper()
	var objects []*unstructured.Unstructured
	d := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(withImage([]byte(text))), 4096)
	for {
		var o unstructured.Unstructured
		if err := d.Decode(&o); errors.Is(err, io.EOF) {
			return objects
		} else if err != nil {
			c.t.Fatalf("%s: %v", name, err)
		}
		if len(o.Object) == 0 {
			continue
		}
		c.applyOne(&o)
		objects = append(objects, &o)
	}
}

// withImage puts the image under test in place of the released one.
func withImage(manifests []byte) []byte {
	lines := strings.SplitAfter(string(manifests), "\n")
	for i, line := range lines {
		if before, _, ok := strings.Cut(line, exampleImage); ok {
			lines[i] = before + setting("FAIRWAY_E2E_IMAGE", "fairway:dev") + "\n"
		}
	}
	return []byte(strings.Join(lines, ""))
}

func (c *cluster) applyOne(o *unstructured.Unstructured) {
	c.t.Helper()
	ctx := c.t.Context()
	what := o.GetKind() + " " + o.GetNamespace() + "/" + o.GetName()
	err := wait.PollUntilContextTimeout(ctx, 100*time.Millisecond, patience, true, func(ctx context.Context) (bool, error) {
		old := &unstructured.Unstructured{}
		old.SetGroupVersionKind(o.GroupVersionKind())
		err := c.Get(ctx, client.ObjectKeyFromObject(o), old)
		switch {
		case apierrors.IsNotFound(err):
			err = c.Create(ctx, o.DeepCopy())
		case err == nil && old.GetDeletionTimestamp() != nil:
			return false, nil // of an earlier test; made anew when it is gone
		case err == nil:
			changed := o.DeepCopy()
			changed.SetResourceVersion(old.GetResourceVersion())
			err = c.Update(ctx, changed)
		}
		if apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) || apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
			return false, nil
		}
		return err == nil, err
	})
	if err != nil {
		c.t.Fatalf("applying %s: %v", what, err)
	}
	if o.GetKind() == "Namespace" || o.GetKind() == "Gateway" && o.GetName() == "ai" {
		return // shared by the tests
	}
	t := c.t
	t.Cleanup(func() {
		err := c.Delete(context.Background(), o, client.PropagationPolicy("Background"))
		if err != nil && !apierrors.IsNotFound(err) {
			t.Errorf("deleting %s: %v", what, err)
		}
	})
}

// eventually polls until done, or fails the test with what done says last.
func (c *cluster) eventually(what string, done func(ctx context.Context) (string, bool)) {
	c.t.Helper()
	var last string
	err := wait.PollUntilContextTimeout(c.t.Context(), 100*time.Millisecond, patience, true, func(ctx context.Context) (bool, error) {
		var ok bool
		last, ok = done(ctx)
		return ok, nil
	})
	if err != nil {
		c.t.Fatalf("waiting for %s: %v: %s", what, err, last)
	}
}

// gateway applies the examples' Gateway and returns its address.
func (c *cluster) gateway() string {
	c.t.Helper()
	c.apply("gateway.yaml")
	return c.addressOf("ai", 80)
}

// addressOf waits for a Gateway and returns its address, with a port.
func (c *cluster) addressOf(name string, port int) string {
	c.t.Helper()
	var address string
	c.eventually("the Gateway "+name, func(ctx context.Context) (string, bool) {
		var g gatewayv1.Gateway
		if err := c.Get(ctx, client.ObjectKey{Namespace: "fairway-examples", Name: name}, &g); err != nil {
			return err.Error(), false
		}
		for _, cond := range g.Status.Conditions {
			if cond.Type == string(gatewayv1.GatewayConditionProgrammed) && cond.Status == "True" && len(g.Status.Addresses) > 0 {
				address = net.JoinHostPort(g.Status.Addresses[0].Value, strconv.Itoa(port))
				return "", true
			}
		}
		return "it is not programmed", false
	})
	return address
}

// available waits until the Deployments among objects are, and the Services of AIBackends
// lead to them.
func (c *cluster) available(objects []*unstructured.Unstructured) {
	c.t.Helper()
	for _, o := range objects {
		if o.GetKind() == "Deployment" {
			c.rolledOut(o.GetNamespace(), o.GetName())
		}
	}
	for _, o := range objects {
		name, _, _ := unstructured.NestedString(o.Object, "spec", "destination", "service", "name")
		if o.GetKind() == "AIBackend" && name != "" {
			c.leads(o.GetNamespace(), name)
		}
	}
}

// leads gives a Service's address a while to lead to its model servers, by way of a
// node. Before, it may lead anywhere, and a connection that Envoy makes then stays while
// requests come. A cluster whose addresses are not known here is given the while.
func (c *cluster) leads(namespace, name string) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), 20*time.Second)
	defer cancel()
	anew := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: time.Second}
	_ = wait.PollUntilContextCancel(ctx, 100*time.Millisecond, true, func(ctx context.Context) (bool, error) {
		var s corev1.Service
		if err := c.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, &s); err != nil || len(s.Spec.Ports) == 0 {
			return false, nil
		}
		url := "http://" + net.JoinHostPort(s.Spec.ClusterIP, strconv.Itoa(int(s.Spec.Ports[0].Port))) + "/health"
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return false, err
		}
		resp, err := anew.Do(req)
		if err != nil {
			return false, nil
		}
		_ = resp.Body.Close() // its status is all that is asked for
		return resp.StatusCode == http.StatusOK, nil
	}) // requests that fail will say it better
}

// rolledOut waits until a Deployment's pods are all of its newest version and ready,
// and those of older ones gone.
func (c *cluster) rolledOut(namespace, name string) {
	c.t.Helper()
	c.eventually("deployment "+name, func(ctx context.Context) (string, bool) {
		var d appsv1.Deployment
		if err := c.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, &d); err != nil {
			return err.Error(), false
		}
		s, want := d.Status, *d.Spec.Replicas
		pods := c.podsOf(ctx, &d)
		return "its pods are not as they should be", s.ObservedGeneration == d.Generation && s.UpdatedReplicas == want &&
			s.AvailableReplicas == want && s.Replicas == want && len(pods) == int(want)
	})
}

// podsOf lists a Deployment's pods, also those that are about to end.
func (c *cluster) podsOf(ctx context.Context, d *appsv1.Deployment) []corev1.Pod {
	var pods corev1.PodList
	if err := c.List(ctx, &pods, client.InNamespace(d.Namespace), client.MatchingLabels(d.Spec.Selector.MatchLabels)); err != nil {
		return nil
	}
	return pods.Items
}

// deployments lists those with labels, in a namespace or, with "", in all.
func (c *cluster) deployments(namespace string, labels map[string]string) []appsv1.Deployment {
	c.t.Helper()
	var list appsv1.DeploymentList
	if err := c.List(c.t.Context(), &list, client.InNamespace(namespace), client.MatchingLabels(labels)); err != nil {
		c.t.Fatal(err)
	}
	if len(list.Items) == 0 {
		c.t.Fatalf("there is no Deployment with labels %v", labels)
	}
	return list.Items
}

// answers waits until a target answers.
func (c *cluster) answers(g target) {
	c.t.Helper()
	c.eventually(g.host, func(ctx context.Context) (string, bool) {
		o := g.send(ctx, httpClient, "are you there?")
		return o.reason, o.reason == ""
	})
}

// notOurs is the exit status of hack/cluster for what it may not do to a cluster that
// is not its own.
const notOurs = 3

// onCluster does to the cluster what its API has no word for, see hack/cluster.
func onCluster(t *testing.T, args ...string) {
	t.Helper()
	out, err := exec.Command("../../hack/cluster", args...).CombinedOutput()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == notOurs {
		t.Skip(strings.TrimSpace(string(out)))
	}
	if err != nil {
		t.Fatalf("%v: %v\n%s", args, err, out)
	}
}
