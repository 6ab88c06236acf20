package kube_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	inferencev1 "sigs.k8s.io/gateway-api-inference-extension/api/v1"
	"sigs.k8s.io/yaml"

	"github.com/fairway-ai/fairway/pool/kube"
	"github.com/fairway-ai/fairway/pool/kube/kubetest"
)

// TestCluster follows a real API server. The first parts need it without the
// InferencePool definition.
func TestCluster(t *testing.T) {
	env := kubetest.Start(t)
	c := newCluster(t, env.Config)
	t.Run("the definition comes late", func(t *testing.T) { c.lateDefinition(t) })
	t.Run("pods", func(t *testing.T) { t.Parallel(); c.podLife(t) })
	t.Run("pool edits", func(t *testing.T) { t.Parallel(); c.poolEdits(t) })
	t.Run("several pools", func(t *testing.T) { t.Parallel(); c.severalPools(t) })
	t.Run("selector", func(t *testing.T) { t.Parallel(); c.selector(t) })
	t.Run("legacy group", func(t *testing.T) { t.Parallel(); c.legacy(t) })
	t.Run("API server away", func(t *testing.T) { t.Parallel(); c.outage(t) })
	t.Run("permissions come late", func(t *testing.T) { t.Parallel(); c.latePermissions(t, env) })
}

// cluster is an API server and a client that may do everything.
type cluster struct {
	client.Client
	config *rest.Config
}

func newCluster(t *testing.T, config *rest.Config) *cluster {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{kube.AddToScheme, apiextensionsv1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	cl, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	return &cluster{cl, config}
}

func (c *cluster) create(t *testing.T, objects ...client.Object) {
	t.Helper()
	for _, o := range objects {
		if err := c.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
}

func (c *cluster) namespace(t *testing.T, name string) {
	t.Helper()
	c.create(t, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}})
}

// pod makes a pod, ready when it has an address.
func (c *cluster) pod(t *testing.T, namespace, name, ip string, l map[string]string) *corev1.Pod {
	t.Helper()
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: l}}
	p.Spec.Containers = []corev1.Container{{Name: "c", Image: "none"}}
	p.Spec.NodeName = "node" // else deleting it would be immediate
	c.create(t, p)
	c.ready(t, p, ip != "", ip)
	return p
}

func (c *cluster) ready(t *testing.T, p *corev1.Pod, ready bool, ip string) {
	t.Helper()
	p.Status.Phase = corev1.PodRunning
	p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionFalse}}
	if ready {
		p.Status.Conditions[0].Status = corev1.ConditionTrue
	}
	if p.Status.PodIP, p.Status.PodIPs = ip, nil; ip != "" {
		p.Status.PodIPs = []corev1.PodIP{{IP: ip}}
	}
	if err := c.Status().Update(t.Context(), p); err != nil {
		t.Fatal(err)
	}
}

func newPool(namespace, name, app string, ports ...int) *inferencev1.InferencePool {
	p := &inferencev1.InferencePool{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	p.Spec.Selector.MatchLabels = map[inferencev1.LabelKey]inferencev1.LabelValue{"app": inferencev1.LabelValue(app)}
	for _, n := range ports {
		p.Spec.TargetPorts = append(p.Spec.TargetPorts, inferencev1.Port{Number: inferencev1.PortNumber(n)})
	}
	return p
}

// followed is a running watcher and what it was told.
type followed struct {
	watcher *kube.Watcher
	log     *logBuffer

	mu    sync.Mutex
	pools map[types.NamespacedName]string
	calls int
}

func (f *followed) SetPool(p kube.Pool) {
	var all []string
	for _, e := range p.Endpoints {
		all = append(all, e.ID+"="+e.Address)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls++
	f.pools[p.Name] = strings.Join(all, " ")
}

func (f *followed) DeletePool(name types.NamespacedName) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls++
	delete(f.pools, name)
}

func (f *followed) String() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var b strings.Builder
	for n, p := range f.pools {
		fmt.Fprintf(&b, "%s: %s\n", n, p)
	}
	return b.String()
}

// is waits for a pool to consist of these endpoints; "gone" means no such pool.
func (f *followed) is(t *testing.T, namespace, name, want string) {
	t.Helper()
	f.eventually(t, namespace+"/"+name+" is "+want, func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		got, ok := f.pools[types.NamespacedName{Namespace: namespace, Name: name}]
		return ok && got == want || !ok && want == "gone"
	})
}

func (f *followed) eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s; pools:\n%slog:\n%s", what, f, f.log)
		}
	}
}

type logBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (l *logBuffer) has(s string) func() bool {
	return func() bool { return strings.Contains(l.String(), s) }
}

// follow runs a watcher with a cache of its own until the test ends.
func follow(t *testing.T, config *rest.Config, s kube.Scope) *followed {
	t.Helper()
	f := &followed{log: &logBuffer{}, pools: map[types.NamespacedName]string{}}
	log := slog.New(slog.NewTextHandler(f.log, nil))
	cache, err := kube.NewCache(config, s, kube.NewWatchErrors(log, nil))
	if err != nil {
		t.Fatal(err)
	}
	if f.watcher, err = kube.New(cache, kube.Options{Scope: s, Log: log}, f); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	for _, run := range []func(context.Context) error{cache.Start, f.watcher.Run} {
		running.Go(func() {
			if err := run(ctx); err != nil {
				t.Errorf("running: %v", err)
			}
		})
	}
	t.Cleanup(func() { stop(); running.Wait() })
	return f
}

func (c *cluster) follow(t *testing.T, s kube.Scope) *followed {
	t.Helper()
	f := follow(t, c.config, s)
	f.eventually(t, "synced", f.watcher.Synced)
	return f
}

var app = map[string]string{"app": "a"}

func (c *cluster) lateDefinition(t *testing.T) {
	c.namespace(t, "late")
	c.pod(t, "late", "p", "10.0.0.1", app)
	f := follow(t, c.config, kube.Scope{})
	f.eventually(t, "the missing definition is reported", f.log.has("install the InferencePool CRD"))
	if f.watcher.Synced() {
		t.Error("synced without the definition")
	}
	kubetest.InstallInferencePool(t, c.config)
	c.create(t, newPool("late", "pool", "a", 8000))
	f.is(t, "late", "pool", "late/p=10.0.0.1:8000")
	f.eventually(t, "synced", f.watcher.Synced)
	if n := strings.Count(f.log.String(), "install the InferencePool CRD"); n != 1 {
		t.Errorf("the missing definition is reported %d times, want once:\n%s", n, f.log)
	}
}

func (c *cluster) podLife(t *testing.T) {
	c.namespace(t, "pods")
	c.create(t, newPool("pods", "pool", "a", 8000, 8001))
	f := c.follow(t, kube.Scope{Pools: []types.NamespacedName{{Namespace: "pods", Name: "pool"}}})
	is := func(want string) { t.Helper(); f.is(t, "pods", "pool", want) }
	is("")
	p := c.pod(t, "pods", "p", "", app)
	c.pod(t, "pods", "other", "10.0.0.9", map[string]string{"app": "b"})
	c.ready(t, p, true, "10.0.0.1")
	is("pods/p-rank-0=10.0.0.1:8000 pods/p-rank-1=10.0.0.1:8001")
	c.ready(t, p, false, "10.0.0.1")
	is("")
	c.ready(t, p, true, "10.0.0.1")
	is("pods/p-rank-0=10.0.0.1:8000 pods/p-rank-1=10.0.0.1:8001")
	p.Annotations = map[string]string{kube.ActivePortsLegacy: "8001"}
	if err := c.Update(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	is("pods/p-rank-1=10.0.0.1:8001")
	p.Annotations = map[string]string{kube.ActivePorts: "8000"}
	if err := c.Update(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	is("pods/p-rank-0=10.0.0.1:8000")
	q := c.pod(t, "pods", "q", "fd00::1", app)
	is("pods/p-rank-0=10.0.0.1:8000 pods/q-rank-0=[fd00::1]:8000 pods/q-rank-1=[fd00::1]:8001")
	// Deleted gracefully: it is still there, and still Ready.
	if err := c.Delete(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	is("pods/q-rank-0=[fd00::1]:8000 pods/q-rank-1=[fd00::1]:8001")
	if err := c.Get(t.Context(), client.ObjectKeyFromObject(p), p); err != nil || p.DeletionTimestamp == nil {
		t.Errorf("the pod is not terminating: %v", err)
	}
	q.Status.Phase = corev1.PodFailed // evicted; its conditions may say anything
	if err := c.Status().Update(t.Context(), q); err != nil {
		t.Fatal(err)
	}
	is("")
}

func (c *cluster) poolEdits(t *testing.T) {
	c.namespace(t, "edits")
	c.pod(t, "edits", "p", "10.0.0.1", app)
	c.pod(t, "edits", "q", "10.0.0.2", map[string]string{"app": "b"})
	f := c.follow(t, kube.Scope{Namespaces: []string{"edits"}})
	p := newPool("edits", "pool", "a", 8000)
	c.create(t, p)
	f.is(t, "edits", "pool", "edits/p=10.0.0.1:8000")
	p.Spec.Selector.MatchLabels = map[inferencev1.LabelKey]inferencev1.LabelValue{"app": "b"}
	if err := c.Update(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	f.is(t, "edits", "pool", "edits/q=10.0.0.2:8000")
	f.mu.Lock()
	calls := f.calls
	f.mu.Unlock()
	p.Status.Parents = []inferencev1.ParentStatus{{ParentRef: inferencev1.ParentReference{Name: "gw"}}}
	if err := c.Status().Update(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	p.Spec.TargetPorts[0].Number = 9000
	if err := c.Update(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	f.is(t, "edits", "pool", "edits/q=10.0.0.2:9000")
	f.mu.Lock()
	if f.calls != calls+1 {
		t.Errorf("%d calls, want 1: a status is no news", f.calls-calls)
	}
	f.mu.Unlock()
	if err := c.Delete(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	f.is(t, "edits", "pool", "gone")
}

func (c *cluster) severalPools(t *testing.T) {
	c.namespace(t, "one")
	c.namespace(t, "two")
	c.pod(t, "one", "p", "10.0.0.1", app)
	c.pod(t, "two", "p", "10.0.0.2", app)
	c.create(t, newPool("one", "x", "a", 1), newPool("one", "y", "a", 2), newPool("one", "z", "a", 3), newPool("two", "x", "a", 4))
	f := c.follow(t, kube.Scope{Pools: []types.NamespacedName{
		{Namespace: "one", Name: "x"}, {Namespace: "one", Name: "y"}, {Namespace: "two", Name: "x"}, {Namespace: "two", Name: "none"},
	}})
	f.is(t, "one", "x", "one/p=10.0.0.1:1")
	f.is(t, "one", "y", "one/p=10.0.0.1:2")
	f.is(t, "two", "x", "two/p=10.0.0.2:4")
	f.is(t, "one", "z", "gone")
}

func (c *cluster) selector(t *testing.T) {
	c.namespace(t, "sel")
	c.pod(t, "sel", "p", "10.0.0.1", map[string]string{"app": "a", "gen": "2"})
	c.pod(t, "sel", "q", "10.0.0.2", app)
	s, err := labels.Parse("app=a,gen")
	if err != nil {
		t.Fatal(err)
	}
	f := c.follow(t, kube.Scope{Selector: &kube.SelectorPool{
		Name: types.NamespacedName{Namespace: "sel", Name: "pods"}, Selector: s, Ports: []int32{8000},
	}})
	f.is(t, "sel", "pods", "sel/p=10.0.0.1:8000")
	c.pod(t, "sel", "r", "10.0.0.3", map[string]string{"app": "a", "gen": "3"})
	f.is(t, "sel", "pods", "sel/p=10.0.0.1:8000 sel/r=10.0.0.3:8000")
}

func (c *cluster) legacy(t *testing.T) {
	keep := true
	crd := &apiextensionsv1.CustomResourceDefinition{ObjectMeta: metav1.ObjectMeta{
		Name: "inferencepools." + kube.LegacyGroup,
		// The API server asks for it in this group.
		Annotations: map[string]string{"api-approved.kubernetes.io": "unapproved, for a test"},
	}}
	crd.Spec.Group, crd.Spec.Scope = kube.LegacyGroup, apiextensionsv1.NamespaceScoped
	crd.Spec.Names = apiextensionsv1.CustomResourceDefinitionNames{Plural: "inferencepools", Singular: "inferencepool", Kind: "InferencePool", ListKind: "InferencePoolList"}
	crd.Spec.Versions = []apiextensionsv1.CustomResourceDefinitionVersion{{
		Name: "v1alpha2", Served: true, Storage: true,
		Schema: &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: &apiextensionsv1.JSONSchemaProps{Type: "object", XPreserveUnknownFields: &keep}},
	}}
	if _, err := envtest.InstallCRDs(c.config, envtest.CRDInstallOptions{CRDs: []*apiextensionsv1.CustomResourceDefinition{crd}}); err != nil {
		t.Fatal(err)
	}
	c.namespace(t, "old")
	c.pod(t, "old", "p", "10.0.0.1", app)
	u := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": kube.LegacyGroup + "/v1alpha2", "kind": "InferencePool",
		"metadata": map[string]any{"namespace": "old", "name": "pool"},
		"spec":     map[string]any{"selector": map[string]any{"app": "a"}, "targetPortNumber": int64(8000), "extensionRef": map[string]any{"name": "epp"}},
	}}
	c.create(t, u)
	f := c.follow(t, kube.Scope{Group: kube.LegacyGroup, Pools: []types.NamespacedName{{Namespace: "old", Name: "pool"}}})
	f.is(t, "old", "pool", "old/p=10.0.0.1:8000")
	if err := unstructured.SetNestedField(u.Object, "many", "spec", "targetPortNumber"); err != nil {
		t.Fatal(err)
	}
	if err := c.Update(t.Context(), u); err != nil {
		t.Fatal(err)
	}
	f.is(t, "old", "pool", "gone")
}

// documentedRole is the Role in the documentation, for a pool.
func documentedRole(t *testing.T, namespace, name, pool string) *rbacv1.Role {
	t.Helper()
	doc, err := os.ReadFile("../../docs/epp.md")
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(string(doc), "```yaml\n")
	text, _, _ = strings.Cut(text, "```")
	r := &rbacv1.Role{}
	if err := yaml.UnmarshalStrict([]byte(strings.Replace(text, "[llama]", "["+pool+"]", 1)), r); err != nil {
		t.Fatal(err)
	}
	r.Namespace, r.Name = namespace, name
	return r
}

// latePermissions follows a pool with the least permissions that are enough, which
// come after the start.
func (c *cluster) latePermissions(t *testing.T, env *envtest.Environment) {
	c.namespace(t, "least")
	c.pod(t, "least", "p", "10.0.0.1", app)
	c.create(t, newPool("least", "pool", "a", 8000))
	user, err := env.AddUser(envtest.User{Name: "picker"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	f := follow(t, user.Config(), kube.Scope{Pools: []types.NamespacedName{{Namespace: "least", Name: "pool"}}})
	f.eventually(t, "missing permissions are reported", f.log.has("list and watch pods and inferencepools"))
	if f.watcher.Synced() {
		t.Error("synced without permissions")
	}
	c.create(t,
		documentedRole(t, "least", "picker", "pool"),
		&rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Namespace: "least", Name: "picker"},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "picker"},
			Subjects:   []rbacv1.Subject{{Kind: "User", APIGroup: rbacv1.GroupName, Name: "picker"}},
		})
	f.is(t, "least", "pool", "least/p=10.0.0.1:8000")
	f.eventually(t, "synced", f.watcher.Synced)
}
