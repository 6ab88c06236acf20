package kube

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	inferencev1 "sigs.k8s.io/gateway-api-inference-extension/api/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	gatewayv1beta1 "sigs.k8s.io/gateway-api/apis/v1beta1"

	"github.com/fairway-ai/fairway/api/v1alpha1"
	"github.com/fairway-ai/fairway/gateway/airoute"
	"github.com/fairway-ai/fairway/gateway/internal/test"
	poolkube "github.com/fairway-ai/fairway/pool/kube"
	"github.com/fairway-ai/fairway/pool/kube/kubetest"
)

// cluster is an API server without any of our definitions, and what follows it.
type cluster struct {
	*testing.T
	env    *envtest.Environment
	client client.Client
	scheme *runtime.Scheme
}

// followed is a source that runs.
type followed struct {
	*Source
	cache   cache.Cache
	synced  chan struct{}
	results chan *airoute.Result
	secrets chan string
	log     *syncBuffer
}

func (c *cluster) follow(config *rest.Config, secretNamespaces ...string) *followed {
	c.Helper()
	httpClient, err := rest.HTTPClientFor(config)
	if err != nil {
		c.Fatal(err)
	}
	mapper, err := apiutil.NewDynamicRESTMapper(config, httpClient)
	if err != nil {
		c.Fatal(err)
	}
	// As in the process itself: InferencePool is there for the cache before it is
	// installed.
	known := poolkube.Mapper(mapper)
	informers, err := cache.New(config, cache.Options{Scheme: c.scheme, HTTPClient: httpClient, Mapper: known, ByObject: CacheOptions(secretNamespaces...)})
	if err != nil {
		c.Fatal(err)
	}
	live, err := client.New(config, client.Options{Scheme: c.scheme, HTTPClient: httpClient, Mapper: known})
	if err != nil {
		c.Fatal(err)
	}
	f := &followed{cache: informers, synced: make(chan struct{}), results: make(chan *airoute.Result, 1000), secrets: make(chan string, 1000), log: &syncBuffer{}}
	f.Source, err = New(informers, Options{
		Live: live, SecretNamespaces: secretNamespaces, Debounce: 5 * time.Millisecond, Retry: 20 * time.Millisecond, Compile: compile,
		OnSynced: func() { close(f.synced) }, Log: slog.New(slog.NewTextHandler(f.log, nil)),
	})
	if err != nil {
		c.Fatal(err)
	}
	f.Subscribe(func(r *airoute.Result) { f.results <- r })
	f.SubscribeSecrets(func(namespace, name string) { f.secrets <- namespace + "/" + name })
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 2)
	go func() { done <- informers.Start(ctx) }()
	go func() { done <- f.Run(ctx) }()
	c.Cleanup(func() {
		cancel()
		for range 2 {
			if err := <-done; err != nil {
				c.Error(err)
			}
		}
	})
	return f
}

func await[T any](t *testing.T, what string, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		t.Fatalf("not in time: %s", what)
		panic("unreachable")
	}
}

func (c *cluster) create(objects ...client.Object) {
	c.Helper()
	for _, o := range objects {
		err := c.client.Create(c.Context(), o)
		for end := time.Now().Add(patience); meta.IsNoMatchError(err) && time.Now().Before(end); {
			time.Sleep(20 * time.Millisecond) // installed a moment ago, and not discovered by all
			err = c.client.Create(c.Context(), o)
		}
		if err != nil {
			c.Fatal(err)
		}
	}
}

// waitFor waits until the source has the route.
func (c *cluster) waitFor(f *followed, route string) {
	c.Helper()
	ctx, cancel := context.WithTimeout(c.Context(), patience)
	defer cancel()
	if !f.WaitFor(ctx, test.Name(route), "") {
		c.Fatalf("%s does not come; log:\n%s", route, f.log.String())
	}
}

// install installs the definitions of a module, or of the chart.
func (c *cluster) install(module, path string) {
	c.Helper()
	dir := filepath.Join("..", "..", "..")
	if module != "" {
		out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", module).Output()
		if err != nil {
			c.Fatal(err)
		}
		dir = strings.TrimSpace(string(out))
	}
	if _, err := envtest.InstallCRDs(c.env.Config, envtest.CRDInstallOptions{Paths: []string{filepath.Join(dir, path)}, ErrorIfPathMissing: true}); err != nil {
		c.Fatal(err)
	}
}

// A real API server: definitions and permissions come late, and what is cached is only
// what is needed.
func TestCluster(t *testing.T) {
	env := kubetest.Start(t)
	c := &cluster{T: t, env: env, scheme: runtime.NewScheme()}
	for _, add := range []func(*runtime.Scheme) error{corev1.AddToScheme, rbacv1.AddToScheme, gatewayv1.Install, gatewayv1beta1.Install, inferencev1.Install, v1alpha1.AddToScheme} {
		if err := add(c.scheme); err != nil {
			t.Fatal(err)
		}
	}
	c.install("sigs.k8s.io/gateway-api", "config/crd/standard")
	var err error
	if c.client, err = client.New(env.Config, client.Options{Scheme: c.scheme}); err != nil {
		t.Fatal(err)
	}
	// The source begins without the definitions of our kinds and of InferencePool.
	f := c.follow(env.Config)
	await(t, "synced without definitions", f.synced)
	if r := await(t, "a first result", f.results); len(r.Routes) > 0 {
		t.Errorf("%d routes", len(r.Routes))
	}
	if got := f.log.String(); strings.Count(got, "install the definition of") != 4 {
		t.Errorf("log:\n%s", got)
	}
	c.install("", "charts/fairway/files/crds")
	route := aiRoute("default/r", 0)
	route.Spec.Rules = []v1alpha1.AIRouteRule{{BackendRefs: []v1alpha1.AIBackendRef{{Name: "b"}}}}
	c.create(route)
	c.waitFor(f, "default/r")
	c.install("sigs.k8s.io/gateway-api-inference-extension", "config/crd/bases")
	c.create(test.Pool("default/p"))
	for f.Source.input().Pool(test.Name("default/p")) == nil {
		await(t, "a result with the pool", f.results)
	}
	c.secrets(f)
	c.latePermissions(f)
	c.someNamespaces()
}

// someNamespaces follows the Secrets of one namespace, with no permission elsewhere.
func (c *cluster) someNamespaces() {
	user, err := c.env.AddUser(envtest.User{Name: "reader"}, nil)
	if err != nil {
		c.Fatal(err)
	}
	subjects := []rbacv1.Subject{{Kind: "User", Name: "reader"}}
	read := []string{"get", "list", "watch"}
	c.create(&rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "reader"}, Rules: []rbacv1.PolicyRule{
		{APIGroups: []string{"gateway.networking.k8s.io", "fairway.dev", "inference.networking.k8s.io"}, Resources: []string{"*"}, Verbs: read},
		{APIGroups: []string{""}, Resources: []string{"services"}, Verbs: read},
	}}, &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "reader"}, Subjects: subjects,
		RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "reader"}},
		&rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Name: "reader", Namespace: "default"}, Rules: []rbacv1.PolicyRule{
			{APIGroups: []string{""}, Resources: []string{"secrets", "configmaps"}, Verbs: read},
		}}, &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "reader", Namespace: "default"}, Subjects: subjects,
			RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "reader"}},
		secret("kube-system/key", "apiKey", "another"))
	f := c.follow(user.Config(), "default")
	await(c.T, "synced with the permissions of one namespace", f.synced)
	for {
		if got, err := f.ReadSecret("default", "key"); err == nil && got != nil {
			break
		}
		await(c.T, "a result with the Secret", f.results)
	}
	if got, err := f.ReadSecret("kube-system", "key"); err != nil || got != nil {
		c.Errorf("a Secret of another namespace: %d entries, %v", len(got), err)
	}
	if got := f.log.String(); strings.Contains(got, "let the service account") {
		c.Errorf("log:\n%s", got)
	}
}

// secrets are cached without what is not needed, and reported when they change.
func (c *cluster) secrets(f *followed) {
	b := aiBackend("default/b", "key")
	b.Spec.Schema.Name = v1alpha1.SchemaOpenAI
	b.Spec.Destination = v1alpha1.Destination{Type: v1alpha1.DestinationHostname, Hostname: &v1alpha1.HostnameDestination{Host: "a.example.com"}}
	b.Spec.Credentials.Type = v1alpha1.CredentialsAPIKey
	c.create(b)
	for len(f.Source.input().Backends) == 0 {
		await(c.T, "a result with the backend", f.results)
	}
	s := secret("default/key", "apiKey", "value-one")
	s.Annotations = map[string]string{corev1.LastAppliedConfigAnnotation: "value-one"}
	release := secret("default/release", "release", "huge")
	release.Type = "helm.sh/release.v1"
	c.create(release, s)
	if got := await(c.T, "told of the Secret", f.secrets); got != "default/key" {
		c.Errorf("told of %s", got)
	}
	if got, err := f.ReadSecret("default", "key"); err != nil || string(got["apiKey"]) != "value-one" {
		c.Errorf("the Secret cannot be read: %v", err)
	}
	if got, err := f.ReadSecret("default", "release"); err != nil || got != nil {
		c.Errorf("a release of Helm is cached: %v", err)
	}
	cached, ok := find[*corev1.Secret](f.store, Secret, test.Name("default/key"))
	if !ok || len(cached.Annotations) > 0 || len(cached.ManagedFields) > 0 {
		c.Error("what kubectl applied is cached")
	}
	s.Data["apiKey"] = []byte("value-two")
	if err := c.client.Update(c.Context(), s); err != nil {
		c.Fatal(err)
	}
	await(c.T, "told of another value", f.secrets)
	if got, _ := f.ReadSecret("default", "key"); !bytes.Equal(got["apiKey"], []byte("value-two")) {
		c.Error("the old value is read")
	}
	ca := configMap("default/ca", "certificate", "much")
	c.create(ca)
	for f.Source.input().ConfigMap(test.Name("default/ca")) == nil {
		await(c.T, "a result with the ConfigMap", f.results)
	}
	if got := f.Source.input().ConfigMap(test.Name("default/ca")).Data; fmt.Sprint(got) != "map[ca.crt:certificate]" {
		c.Errorf("cached %v", got)
	}
	if got := f.log.String(); strings.Contains(got, "value-") {
		c.Error("the log has a secret")
	}
}

// latePermissions gives a service account one permission after the other.
func (c *cluster) latePermissions(admin *followed) {
	user, err := c.env.AddUser(envtest.User{Name: "gateway"}, nil)
	if err != nil {
		c.Fatal(err)
	}
	allow := func(name string, rules ...rbacv1.PolicyRule) {
		for i := range rules {
			rules[i].Verbs = []string{"get", "list", "watch"}
		}
		c.create(&rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: name}, Rules: rules},
			&rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: name},
				RoleRef:  rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: name},
				Subjects: []rbacv1.Subject{{Kind: "User", Name: "gateway"}}})
	}
	allow("some", rbacv1.PolicyRule{APIGroups: []string{"gateway.networking.k8s.io"}, Resources: []string{"*"}},
		rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"services", "configmaps"}})
	f := c.follow(user.Config())
	// What cannot be read of policies may forbid something.
	for !strings.Contains(f.log.String(), "until then nothing changes") {
		await(c.T, "told that policies cannot be read", time.After(10*time.Millisecond))
	}
	if len(f.synced) > 0 {
		c.Error("synced without permission to read policies")
	}
	allow("policies", rbacv1.PolicyRule{APIGroups: []string{"fairway.dev"}, Resources: []string{"aiaccesspolicies"}})
	await(c.T, "synced without permissions", f.synced)
	if len(f.Result().Routes) > 0 {
		c.Error("routes without permission")
	}
	if _, err := f.ReadSecret("default", "key"); err == nil || !strings.Contains(err.Error(), "let the gateway's service account") {
		c.Errorf("Secrets without permission: %v", err)
	}
	if got := f.log.String(); strings.Count(got, "let the service account get, list and watch") != 5 {
		c.Errorf("log:\n%s", got)
	}
	allow("more", rbacv1.PolicyRule{APIGroups: []string{"fairway.dev"}, Resources: []string{"*"}},
		rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"secrets"}})
	c.waitFor(f, "default/r")
	for {
		if got, err := f.ReadSecret("default", "key"); err == nil && got != nil {
			break
		}
		await(c.T, "a result with Secrets", f.results)
	}
	if !admin.cache.WaitForCacheSync(c.Context()) || !f.cache.WaitForCacheSync(c.Context()) {
		c.Error("the cache waits for a kind that is not there")
	}
}
