package objectives

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/yaml"

	"github.com/fairway-ai/fairway/internal/testkit"
	"github.com/fairway-ai/fairway/pool/kube/kubetest"
)

// world is an API server and a client that may do everything.
type world struct {
	*testing.T
	client client.Client
	config *rest.Config
}

// install installs a definition that takes anything.
func (w *world) install(group, kind, plural string) {
	w.Helper()
	keep := true
	crd := &apiextensionsv1.CustomResourceDefinition{ObjectMeta: metav1.ObjectMeta{
		Name:        plural + "." + group,
		Annotations: map[string]string{"api-approved.kubernetes.io": "unapproved, for a test"},
	}}
	crd.Spec.Group, crd.Spec.Scope = group, apiextensionsv1.NamespaceScoped
	crd.Spec.Names = apiextensionsv1.CustomResourceDefinitionNames{Plural: plural, Singular: strings.ToLower(kind), Kind: kind, ListKind: kind + "List"}
	crd.Spec.Versions = []apiextensionsv1.CustomResourceDefinitionVersion{{
		Name: Version, Served: true, Storage: true,
		Schema: &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: &apiextensionsv1.JSONSchemaProps{Type: "object", XPreserveUnknownFields: &keep}},
	}}
	if _, err := envtest.InstallCRDs(w.config, envtest.CRDInstallOptions{CRDs: []*apiextensionsv1.CustomResourceDefinition{crd}}); err != nil {
		w.Fatal(err)
	}
}

// create makes an object in namespace default.
func (w *world) create(group, text string) *unstructured.Unstructured {
	w.Helper()
	u := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(text), &u.Object); err != nil {
		w.Fatal(err)
	}
	u.SetAPIVersion(group + "/" + Version)
	u.SetNamespace("default")
	if err := w.client.Create(context.Background(), u); err != nil {
		w.Fatal(err)
	}
	return u
}

// following is a store that follows the world.
type following struct {
	Store
	log testkit.Log
}

func (w *world) follow(config *rest.Config, namespaces ...string) *following {
	w.Helper()
	f := &following{}
	k, err := NewFromKube(config, &f.Store, KubeOptions{Namespaces: namespaces, Retry: 50 * time.Millisecond, Log: slog.New(slog.NewTextHandler(&f.log, nil))})
	if err != nil {
		w.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- k.Run(ctx) }()
	w.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			w.Error(err)
		}
	})
	return f
}

// says waits until the store says something of the objective o and the model m.
func (f *following) says(t *testing.T, want string) {
	t.Helper()
	got := ""
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		priority, ok := f.Priority("default/p", "o")
		target, by, rewritten := f.Rewrite("default/p", "m")
		if got = fmt.Sprintf("%d %t %s %s %t", priority, ok, target, by, rewritten); got == want {
			return
		}
	}
	t.Fatalf("the store says %q, want %q\n%s", got, want, &f.log)
}

const (
	anObjective = "kind: InferenceObjective\nmetadata: {name: o}\nspec: {priority: %d, poolRef: {name: p}}\n"
	aRewrite    = "kind: InferenceModelRewrite\nmetadata: {name: %s}\nspec: {poolRef: {name: p}, rules: [{matches: [{model: {value: m}}], targets: [{modelRewrite: %s}]}]}\n"
)

// TestFromKube follows an API server that knows nothing at first, then the earlier
// definitions, then both.
func TestFromKube(t *testing.T) {
	env := kubetest.Start(t)
	scheme := runtime.NewScheme()
	if err := clientgoscheme.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	cl, err := client.New(env.Config, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t, cl, env.Config}
	f := w.follow(env.Config)
	f.says(t, "0 false   false")

	w.install(LegacyGroup, KindObjective, "inferenceobjectives")
	w.install(LegacyGroup, KindRewrite, "inferencemodelrewrites")
	w.create(LegacyGroup, fmt.Sprintf(anObjective, 1))
	w.create(LegacyGroup, fmt.Sprintf(aRewrite, "legacy", "old"))
	f.says(t, "1 true old legacy true")

	// Of one kind, the later definition comes: what the earlier one says of it is void.
	w.install(Group, KindRewrite, "inferencemodelrewrites")
	f.says(t, "1 true   false")
	r := w.create(Group, fmt.Sprintf(aRewrite, "r", "new"))
	f.says(t, "1 true new r true")
	w.create(LegacyGroup, fmt.Sprintf(aRewrite, "legacy-too", "older"))
	w.install(Group, KindObjective, "inferenceobjectives")
	f.says(t, "0 false new r true")
	o := w.create(Group, fmt.Sprintf(anObjective, 7))
	f.says(t, "7 true new r true")

	// Edits, a mistake, and the end.
	if err := unstructured.SetNestedField(o.Object, int64(9), "spec", "priority"); err != nil {
		t.Fatal(err)
	}
	if err := cl.Update(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	f.says(t, "9 true new r true")
	unstructured.RemoveNestedField(r.Object, "spec", "poolRef")
	if err := cl.Update(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	f.says(t, "9 true   false")
	if log := f.log.String(); !strings.Contains(log, "an object is wrong and counts as none") || !strings.Contains(log, "spec.poolRef.name: is missing") {
		t.Errorf("log:\n%s", log)
	}
	if err := cl.Delete(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	f.says(t, "0 false   false")

	t.Run("permissions come late", func(t *testing.T) { w.latePermissions(t, env) })
}

func (w *world) latePermissions(t *testing.T, env *envtest.Environment) {
	w.create(Group, fmt.Sprintf(anObjective, 3))
	user, err := env.AddUser(envtest.User{Name: "picker"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	f := (&world{t, w.client, w.config}).follow(user.Config(), "default")
	for deadline := time.Now().Add(30 * time.Second); !strings.Contains(f.log.String(), "inferenceobjectives and inferencemodelrewrites of"); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("missing permissions are not reported\n%s", &f.log)
		}
	}
	for _, o := range []client.Object{
		&rbacv1.Role{
			ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "picker"},
			Rules:      []rbacv1.PolicyRule{{APIGroups: []string{Group}, Resources: []string{"inferenceobjectives", "inferencemodelrewrites"}, Verbs: []string{"get", "list", "watch"}}},
		},
		&rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "picker"},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "picker"},
			Subjects:   []rbacv1.Subject{{Kind: "User", APIGroup: rbacv1.GroupName, Name: "picker"}},
		},
	} {
		if err := w.client.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	f.says(t, "3 true   false")
}
