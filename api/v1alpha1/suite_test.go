package v1alpha1_test

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/yaml"

	"github.com/fairway-ai/fairway/api/v1alpha1"
)

const definitions = "../../charts/fairway/files/crds"

// startCluster runs a real API server with the definitions of this package's objects
// until the test ends. Without one, tests are skipped, except where CI is set.
func startCluster(t *testing.T) client.Client {
	t.Helper()
	if os.Getenv("KUBEBUILDER_ASSETS") == "" {
		const text = "needs kube-apiserver and etcd; name their folder in KUBEBUILDER_ASSETS"
		if os.Getenv("CI") != "" {
			t.Fatal(text)
		}
		t.Skip(text)
	}
	env := &envtest.Environment{
		CRDDirectoryPaths: []string{definitions}, ErrorIfCRDPathMissing: true,
		ControlPlaneStartTimeout: time.Minute, ControlPlaneStopTimeout: time.Minute,
	}
	t.Cleanup(func() {
		if err := env.Stop(); err != nil {
			t.Errorf("stopping the API server: %v", err)
		}
	})
	config, err := env.Start()
	if err != nil {
		t.Fatalf("starting an API server: %v", err)
	}
	c, err := client.New(config, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// tryCreate asks the API server what it would say to an object.
func tryCreate(t *testing.T, c client.Client, kind string, spec map[string]any) []metav1.StatusCause {
	t.Helper()
	u := &unstructured.Unstructured{Object: map[string]any{"spec": spec}}
	u.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind(kind))
	u.SetName("x")
	u.SetNamespace("default")
	err := c.Create(t.Context(), u, client.DryRunAll, client.FieldValidation("Strict"))
	if err == nil {
		return nil
	}
	var status *apierrors.StatusError
	if !errors.As(err, &status) || status.ErrStatus.Details == nil || len(status.ErrStatus.Details.Causes) == 0 {
		t.Fatalf("%s: %v", kind, err)
	}
	return status.ErrStatus.Details.Causes
}

// read reads YAML.
func read(t *testing.T, text string) map[string]any {
	t.Helper()
	m := map[string]any{}
	if err := yaml.Unmarshal([]byte(text), &m); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return m
}

// merge lays b over a: maps are merged, a null removes, the rest replaces.
func merge(a, b map[string]any) map[string]any {
	out := map[string]any{}
	for k, v := range a {
		out[k] = v
	}
	for k, v := range b {
		below, isMap := v.(map[string]any)
		old, wasMap := out[k].(map[string]any)
		switch {
		case v == nil:
			delete(out, k)
		case isMap && wasMap:
			out[k] = merge(old, below)
		default:
			out[k] = v
		}
	}
	return out
}

// says tells whether one of the causes is about the field and has the text.
func says(causes []metav1.StatusCause, field, text string) bool {
	return slices.ContainsFunc(causes, func(c metav1.StatusCause) bool {
		return (field == "" || c.Field == field) && strings.Contains(c.Message, text)
	})
}
