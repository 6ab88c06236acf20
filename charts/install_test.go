package charts

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	authv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/yaml"

	"github.com/fairway-ai/fairway/gateway/certs"
)

// crdModules are where the CRDs of other projects come from: modules at a version and
// with a checksum, which nothing but this test uses.
var crdModules = []struct{ module, sum, dir string }{
	{"sigs.k8s.io/gateway-api@v1.6.1", "h1:mock6phZbI6rvZerwrVNk7hVNymQgHo+6sJ81Ia7ftY=", "config/crd/standard"},
	{"github.com/envoyproxy/gateway@v1.9.1", "h1:vAVp6/AlBXJ1aOhp1mxL7fNEzVEfjADUguUhm2wzxQY=", "charts/gateway-helm/charts/crds/crds/generated"},
	{"github.com/cert-manager/cert-manager@v1.19.1", "h1:Txh8L/nLWTDcb7ZnXuXbTe15BxQnLbLirXmbNk0fGgY=", "deploy/crds"},
	{"github.com/prometheus-operator/prometheus-operator@v0.85.0", "h1:M5xLCLEoaW2IJfnuCwFzzpL+jSVQu3KGT84Pye+fW8s=", "example/prometheus-operator-crd"},
}

// crdDirs fetches the modules.
func crdDirs(t *testing.T) []string {
	t.Helper()
	var dirs []string
	for _, m := range crdModules {
		cmd := exec.Command("go", "mod", "download", "-json", m.module)
		cmd.Dir = t.TempDir() // not in our module, whose go.sum it would change
		out, err := cmd.Output()
		var got struct{ Dir, Sum, Error string }
		if jsonErr := json.Unmarshal(out, &got); err != nil || jsonErr != nil {
			t.Fatalf("fetch %s: %v: %s", m.module, err, got.Error)
		}
		if got.Sum != m.sum {
			t.Fatalf("%s has checksum %s, want %s", m.module, got.Sum, m.sum)
		}
		dirs = append(dirs, filepath.Join(got.Dir, m.dir))
	}
	return dirs
}

// cluster is a real API server without nodes.
type cluster struct {
	config     *rest.Config
	kubeconfig string
	client     client.WithWatch
}

func startCluster(t *testing.T) *cluster {
	t.Helper()
	if os.Getenv("KUBEBUILDER_ASSETS") == "" {
		missing(t, "KUBEBUILDER_ASSETS does not say where kube-apiserver and etcd are")
	}
	env := &envtest.Environment{CRDDirectoryPaths: crdDirs(t), ErrorIfCRDPathMissing: true}
	config, err := env.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := env.Stop(); err != nil {
			t.Error(err)
		}
	})
	c := &cluster{config: config, kubeconfig: filepath.Join(t.TempDir(), "kubeconfig")}
	if err := os.WriteFile(c.kubeconfig, env.KubeConfig, 0o600); err != nil {
		t.Fatal(err)
	}
	c.client = c.as(t, "")
	return c
}

// as returns a client of the user, the administrator's if that is "".
func (c *cluster) as(t *testing.T, user string) client.WithWatch {
	t.Helper()
	config := rest.CopyConfig(c.config)
	if user != "" {
		config.Impersonate = rest.ImpersonationConfig{UserName: user, Groups: []string{"system:serviceaccounts", "system:authenticated"}}
	}
	cl, err := client.NewWithWatch(config, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return cl
}

func (c *cluster) helm(t *testing.T, values string, args ...string) string {
	t.Helper()
	out, err := helm(t, values, append(args, "--kubeconfig", c.kubeconfig, "-n", "fairway-system")...)
	if err != nil {
		t.Fatalf("helm %s: %v", strings.Join(args, " "), err)
	}
	return out
}

// TestInstall installs, upgrades and removes the chart in a real API server, which
// checks every object against its schema.
func TestInstall(t *testing.T) {
	c := startCluster(t)
	c.helm(t, "{crds: {inference: {enabled: true}}, certificates: {mode: selfManaged}, egress: {secretNamespaces: [default]}}", "install", "fairway", chart, "--create-namespace", "-f", "-")
	t.Run("roles", func(t *testing.T) { testRoles(t, c) })
	t.Run("certificates", func(t *testing.T) { testCertificates(t, c) })
	t.Run("pods", func(t *testing.T) { testPods(t, c) })
	t.Run("notes", func(t *testing.T) { testNotes(t, c) })
	for name, values := range valueSets(t) {
		c.helm(t, values, "upgrade", "fairway", chart, "-f", "-")
		t.Logf("upgraded to %s", name)
	}
	t.Run("definitions", func(t *testing.T) { testDefinitions(t, c) })
}

// testDefinitions: an upgrade brings new ones, and none goes away with the release, which
// would take every object along.
func testDefinitions(t *testing.T, c *cluster) {
	crd := &unstructured.Unstructured{}
	crd.SetAPIVersion("apiextensions.k8s.io/v1")
	crd.SetKind("CustomResourceDefinition")
	crd.SetName("aibackends.fairway.dev")
	get := func() {
		t.Helper()
		if err := c.client.Get(t.Context(), client.ObjectKeyFromObject(crd), crd); err != nil {
			t.Fatal(err)
		}
	}
	object := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "fairway.dev/v1alpha1", "kind": "AIBackend", "metadata": map[string]any{"name": "a", "namespace": "default"},
		"spec": map[string]any{"schema": map[string]any{"name": "OpenAI"}, "destination": map[string]any{"type": "Hostname", "hostname": map[string]any{"host": "a.example.com"}}},
	}}
	if err := c.client.Create(t.Context(), object); err != nil {
		t.Fatal(err)
	}
	get()
	// As an older release would have left it.
	if err := unstructured.SetNestedStringSlice(crd.Object, nil, "spec", "names", "shortNames"); err != nil {
		t.Fatal(err)
	}
	if err := c.client.Update(t.Context(), crd); err != nil {
		t.Fatal(err)
	}
	c.helm(t, "", "upgrade", "fairway", chart, "-f", "-")
	if get(); !strings.Contains(fmt.Sprint(crd.Object["spec"]), "aib") {
		t.Error("the upgrade left the definition as it was")
	}
	uid := crd.GetUID()
	c.helm(t, "", "uninstall", "fairway")
	if err := c.client.Get(t.Context(), client.ObjectKeyFromObject(object), object); err != nil {
		t.Errorf("the objects went away: %v", err)
	}
	crds := &metav1.PartialObjectMetadata{TypeMeta: metav1.TypeMeta{APIVersion: "apiextensions.k8s.io/v1", Kind: "CustomResourceDefinition"}}
	if err := c.client.Get(t.Context(), types.NamespacedName{Name: "inferencepools.inference.networking.k8s.io"}, crds); err != nil {
		t.Errorf("the CRD, and with it every pool, went away: %v", err)
	}
	c.helm(t, "", "install", "fairway", chart, "-f", "-")
	if get(); crd.GetUID() != uid {
		t.Error("installing again made another definition")
	}
}

const (
	gatewayUser = "system:serviceaccount:fairway-system:fairway-gateway"
	egUser      = "system:serviceaccount:envoy-gateway-system:envoy-gateway"
)

func testRoles(t *testing.T, c *cluster) {
	attr := func(verb, group, resource, sub, ns, name string) authv1.ResourceAttributes {
		return authv1.ResourceAttributes{Verb: verb, Group: group, Resource: resource, Subresource: sub, Namespace: ns, Name: name}
	}
	const inference, gateway, own = "inference.networking.k8s.io", "gateway.networking.k8s.io", "fairway-system"
	for _, tt := range []struct {
		user  string
		what  authv1.ResourceAttributes
		allow bool
	}{
		{gatewayUser, attr("watch", inference, "inferencepools", "", "", ""), true},
		{gatewayUser, attr("patch", inference, "inferencepools", "status", "default", "a"), true},
		{gatewayUser, attr("update", inference, "inferencepools", "", "default", "a"), false},
		{gatewayUser, attr("watch", gateway, "httproutes", "", "", ""), true},
		{gatewayUser, attr("watch", gateway, "gateways", "", "", ""), true},
		{gatewayUser, attr("watch", gateway, "referencegrants", "", "", ""), true},
		{gatewayUser, attr("update", gateway, "httproutes", "status", "default", "a"), false},
		{gatewayUser, attr("watch", "", "pods", "", "", ""), true},
		{gatewayUser, attr("delete", "", "pods", "", own, "a"), false},
		{gatewayUser, attr("watch", "", "services", "", "", ""), true},
		{gatewayUser, attr("create", "", "events", "", "default", ""), true},
		{gatewayUser, attr("list", "discovery.k8s.io", "endpointslices", "", own, ""), true},
		{gatewayUser, attr("create", "discovery.k8s.io", "endpointslices", "", "default", ""), false},
		{gatewayUser, attr("update", "coordination.k8s.io", "leases", "", own, "fairway-gateway"), true},
		{gatewayUser, attr("update", "coordination.k8s.io", "leases", "", own, "other"), false},
		{gatewayUser, attr("create", "coordination.k8s.io", "leases", "", own, ""), true},
		{gatewayUser, attr("update", "coordination.k8s.io", "leases", "", "kube-system", "fairway-gateway"), false},
		{gatewayUser, attr("get", "", "secrets", "", own, "fairway-ca"), true},
		{gatewayUser, attr("update", "", "secrets", "", own, "fairway-ca"), true},
		{gatewayUser, attr("update", "", "secrets", "", own, "other"), false},
		{gatewayUser, attr("create", "", "secrets", "", "default", ""), false},
		// Keys of providers, where they are said to be.
		{gatewayUser, attr("watch", "", "secrets", "", "default", ""), true},
		{gatewayUser, attr("watch", "", "configmaps", "", "default", ""), true},
		{gatewayUser, attr("delete", "", "secrets", "", "default", "a"), false},
		{gatewayUser, attr("get", "", "secrets", "", own, "other"), false},
		{gatewayUser, attr("list", "", "secrets", "", own, ""), false},
		{gatewayUser, attr("list", "", "secrets", "", "", ""), false},
		{gatewayUser, attr("list", "", "configmaps", "", "", ""), false},
		{gatewayUser, attr("watch", "fairway.dev", "airoutes", "", "", ""), true},
		{gatewayUser, attr("watch", "fairway.dev", "aibackends", "", "", ""), true},
		{gatewayUser, attr("patch", "fairway.dev", "airoutes", "status", "default", "a"), true},
		{gatewayUser, attr("update", "fairway.dev", "aibackends", "status", "default", "a"), true},
		{gatewayUser, attr("update", "fairway.dev", "airoutes", "", "default", "a"), false},
		{gatewayUser, attr("delete", "fairway.dev", "aibackends", "", "default", "a"), false},
		{gatewayUser, attr("create", gateway, "httproutes", "", "default", ""), true},
		{gatewayUser, attr("patch", gateway, "httproutes", "", "default", "a"), true},
		{gatewayUser, attr("delete", gateway, "httproutes", "", "default", "a"), true},
		{gatewayUser, attr("deletecollection", gateway, "httproutes", "", "default", ""), false},
		{gatewayUser, attr("update", gateway, "gateways", "", "default", "a"), false},
		{gatewayUser, attr("create", gateway, "referencegrants", "", "default", ""), false},
		{gatewayUser, attr("watch", "fairway.dev", "aiaccesspolicies", "", "", ""), true},
		{gatewayUser, attr("patch", "fairway.dev", "aiaccesspolicies", "status", "default", "a"), true},
		{gatewayUser, attr("update", "fairway.dev", "aiaccesspolicies", "", "default", "a"), false},
		{gatewayUser, attr("create", "gateway.envoyproxy.io", "clienttrafficpolicies", "", "default", ""), true},
		{gatewayUser, attr("delete", "gateway.envoyproxy.io", "clienttrafficpolicies", "", "default", "a"), false},
		{gatewayUser, attr("create", "", "configmaps", "", "default", ""), true},
		{gatewayUser, attr("create", "", "configmaps", "", "kube-system", ""), false},
		{egUser, attr("watch", inference, "inferencepools", "", "", ""), true},
		{egUser, attr("watch", "fairway.dev", "airoutes", "", "", ""), true},
		{egUser, attr("patch", inference, "inferencepools", "status", "default", "a"), false},
	} {
		r := &authv1.SubjectAccessReview{Spec: authv1.SubjectAccessReviewSpec{
			User: tt.user, Groups: []string{"system:serviceaccounts", "system:authenticated"}, ResourceAttributes: &tt.what,
		}}
		if err := c.client.Create(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		if r.Status.Allowed != tt.allow {
			t.Errorf("%s: %+v is allowed: %v", tt.user, tt.what, r.Status.Allowed)
		}
	}
}

// testCertificates: the role is enough for what package certs does.
func testCertificates(t *testing.T, c *cluster) {
	s, err := certs.NewSelfManaged(t.Context(), certs.SecretOptions{
		Client: c.as(t, gatewayUser), Namespace: "fairway-system", Name: "fairway-ca",
		DNSNames: certs.ServerNames("fairway-gateway", "fairway-system", "cluster.local"),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Start(ctx) }()
	where := types.NamespacedName{Namespace: "fairway-system", Name: "fairway-ca"}
	secret := new(corev1.Secret)
	if err := c.client.Get(t.Context(), where, secret); err != nil {
		t.Fatal(err)
	}
	first := secret.UID
	if err := c.client.Delete(t.Context(), secret); err != nil {
		t.Fatal(err)
	}
	deadline := time.After(30 * time.Second)
	for {
		err := c.client.Get(t.Context(), where, secret)
		if err == nil && secret.UID != first {
			break
		}
		if err != nil && !apierrors.IsNotFound(err) {
			t.Fatal(err)
		}
		select {
		case <-deadline:
			t.Fatal("the deleted Secret did not come back")
		case <-time.After(20 * time.Millisecond):
		}
	}
	if string(secret.Data["tls.crt"]) != string(s.CA()) {
		t.Error("it came back with another authority")
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// testPods: a namespace that enforces the Pod Security Standard "restricted" takes them.
func testPods(t *testing.T, c *cluster) {
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		Name: "restricted", Labels: map[string]string{"pod-security.kubernetes.io/enforce": "restricted"},
	}}
	if err := c.client.Create(t.Context(), ns); err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, values := range valueSets(t) {
		for key, u := range mustRender(t, values) {
			pod := new(corev1.Pod)
			switch u.GetKind() {
			case "Deployment":
				d := into[appsv1.Deployment](t, u)
				pod.ObjectMeta, pod.Spec = d.Spec.Template.ObjectMeta, d.Spec.Template.Spec
			case "Pod":
				pod = into[corev1.Pod](t, u)
			default:
				continue
			}
			n++
			pod.Name, pod.Namespace = "probe", ns.Name
			pod.Spec.PriorityClassName = "" // the critical ones are for other namespaces
			if err := c.client.Create(t.Context(), pod, client.DryRunAll); err != nil {
				t.Errorf("%s: %v", key, err)
			}
		}
	}
	if n < 10 {
		t.Errorf("only %d pods were tried", n)
	}
}

// testNotes: the values in the notes are those of the release.
func testNotes(t *testing.T, c *cluster) {
	out := c.helm(t, "fullnameOverride: router\ngateway: {clusterDomain: example.local}", "upgrade", "fairway", chart, "-f", "-")
	_, out, found := strings.Cut(out, "\n    config:\n")
	indented, _, end := strings.Cut("\n    config:\n"+out, "\n\n")
	values := strings.ReplaceAll(indented, "\n    ", "\n")
	var got map[string]any
	if err := yaml.Unmarshal([]byte(values), &got); err != nil || !found || !end {
		t.Fatalf("no values in the notes: %v\n%s", err, values)
	}
	for _, want := range []string{"hostname: router-gateway.fairway-system.svc.example.local", "name: router-ca", "failOpen: false"} {
		if !strings.Contains(values, want) {
			t.Errorf("the values lack %q:\n%s", want, values)
		}
	}
}
