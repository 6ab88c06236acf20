package charts

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
)

const chart = "fairway"

// helm runs the pinned Helm, which hack/helm builds.
func helm(t *testing.T, stdin string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.Command(helmPath(t), args...)
	cmd.Stdin = strings.NewReader(stdin)
	// No plugins, repositories or clusters of whoever runs the test.
	home := t.TempDir()
	cmd.Env = append(os.Environ(), "HELM_CACHE_HOME="+home, "HELM_CONFIG_HOME="+home, "HELM_DATA_HOME="+home, "KUBECONFIG="+os.DevNull)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return out.String(), errors.New(err.Error() + ": " + errs.String())
	}
	return out.String(), nil
}

func helmPath(t *testing.T) string {
	t.Helper()
	path := os.Getenv("FAIRWAY_HELM")
	if path == "" {
		path = filepath.Join("..", "bin", "helm")
	}
	path, err := filepath.Abs(path)
	if err == nil {
		_, err = os.Stat(path)
	}
	if err != nil {
		missing(t, "no Helm: run hack/helm: "+err.Error())
	}
	return path
}

// missing skips the test, or fails it where everything must be there.
func missing(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatal(what)
	}
	t.Skip(what)
}

// objects are what a chart renders to, by "Kind/name", and "Kind/name in namespace" for
// the second and later ones of that name.
type objects map[string]*unstructured.Unstructured

// render renders the chart as release fairway in namespace fairway-system.
func render(t *testing.T, values string, args ...string) (objects, error) {
	t.Helper()
	out, err := helm(t, values, append([]string{"template", "fairway", chart, "-n", "fairway-system", "--kube-version", "1.34.0", "-f", "-"}, args...)...)
	if err != nil {
		return nil, err
	}
	return decode(t, out), nil
}

func mustRender(t *testing.T, values string, args ...string) objects {
	t.Helper()
	o, err := render(t, values, args...)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func decode(t *testing.T, manifests string) objects {
	t.Helper()
	all := objects{}
	d := yaml.NewYAMLOrJSONDecoder(strings.NewReader(manifests), 4096)
	for {
		u := new(unstructured.Unstructured)
		err := d.Decode(&u.Object)
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatalf("what was rendered is not YAML: %v", err)
		}
		if len(u.Object) == 0 {
			continue
		}
		key := u.GetKind() + "/" + u.GetName()
		if other := all[key]; other != nil && other.GetNamespace() != u.GetNamespace() {
			key += " in " + u.GetNamespace()
		}
		if all[key] != nil {
			t.Fatalf("%s is rendered twice", key)
		}
		all[key] = u
	}
}

// get returns the object, which must be there.
func (o objects) get(t *testing.T, key string) *unstructured.Unstructured {
	t.Helper()
	if o[key] == nil {
		t.Fatalf("no %s", key)
	}
	return o[key]
}

// valueSets are the values files to try, by name.
func valueSets(t *testing.T) map[string]string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(chart, "ci", "*-values.yaml"))
	if err != nil || len(paths) < 5 {
		t.Fatalf("found only %d values files: %v", len(paths), err)
	}
	sets := map[string]string{}
	for _, p := range paths {
		sets[strings.TrimSuffix(filepath.Base(p), "-values.yaml")] = readFile(t, p)
	}
	return sets
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
