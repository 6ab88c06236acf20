package gaie

import (
	"fmt"
	"io/fs"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/gateway-api-inference-extension/conformance"
)

func suiteBase(t *testing.T) []byte {
	t.Helper()
	b, err := fs.ReadFile(&conformance.Manifests, "resources/base.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func keyed(t *testing.T, manifests []byte) map[string]map[string]any {
	t.Helper()
	docs, err := decode(manifests)
	if err != nil {
		t.Fatal(err)
	}
	m := map[string]map[string]any{}
	for _, doc := range docs {
		m[fmt.Sprintf("%v/%v", doc["kind"], at(doc, "metadata", "name"))] = doc
	}
	if len(m) != len(docs) {
		t.Fatalf("%d documents have %d names", len(docs), len(m))
	}
	return m
}

// TestOnlyThePickersChange compares every object of the suite with what is derived.
func TestOnlyThePickersChange(t *testing.T) {
	base := suiteBase(t)
	derived, err := WithPicker(base, "registry.example/fairway:v1")
	if err != nil {
		t.Fatal(err)
	}
	before, after := keyed(t, base), keyed(t, derived)
	changed := map[string]bool{}
	for name, doc := range before {
		if !cmp.Equal(doc, after[name]) {
			changed[name] = true
		}
		delete(after, name)
	}
	want := map[string]bool{"Role/inference-model-reader": true}
	for _, p := range []string{"primary", "secondary", "appprotocol-http", "appprotocol-h2c", "dp"} {
		want["Deployment/"+p+"-app-endpoint-picker"] = true
	}
	if d := cmp.Diff(want, changed); d != "" {
		t.Errorf("changed objects:\n%s", d)
	}
	if len(after) != 1 || after["ConfigMap/"+pickerConfigMap] == nil {
		t.Errorf("added objects: %v", after)
	}
}

func TestThePickerIsOurs(t *testing.T) {
	derived, err := WithPicker(suiteBase(t), "registry.example/fairway:v1")
	if err != nil {
		t.Fatal(err)
	}
	docs := keyed(t, derived)
	d := docs["Deployment/dp-app-endpoint-picker"]
	spec := at(d, "spec", "template", "spec").(map[string]any)
	c := spec["containers"].([]any)[0].(map[string]any)
	args := fmt.Sprint(c["args"])
	if c["image"] != "registry.example/fairway:v1" ||
		!strings.HasPrefix(args, "[epp --pool-name dp-inference-pool") || !strings.HasSuffix(args, "--config-file /etc/fairway/config.yaml]") {
		t.Errorf("image %v, args %s", c["image"], args)
	}
	mount := c["volumeMounts"].([]any)[0].(map[string]any)
	volume := spec["volumes"].([]any)[0].(map[string]any)
	if mount["name"] != volume["name"] || at(volume, "configMap", "name") != pickerConfigMap {
		t.Errorf("mount %v of volume %v", mount, volume)
	}
	if c["readinessProbe"] == nil {
		t.Error("the probes are gone")
	}
	config := docs["ConfigMap/"+pickerConfigMap]
	if at(config, "metadata", "namespace") != at(d, "metadata", "namespace") {
		t.Errorf("the configuration is in namespace %v", at(config, "metadata", "namespace"))
	}
}

func TestUnknownManifestsAreRefused(t *testing.T) {
	for name, manifests := range map[string]string{
		"no picker":    "kind: Namespace\nmetadata: {name: x}\n",
		"not YAML":     "kind: [\n",
		"without args": "kind: Deployment\nmetadata: {name: d}\nspec: {template: {spec: {containers: [{name: epp}]}}}\n",
		"no role":      "kind: Deployment\nmetadata: {name: d}\nspec: {template: {spec: {containers: [{name: epp, args: [a]}]}}}\n",
		"too many":     strings.Repeat("---\nkind: A\n", maxDocuments+1),
	} {
		if b, err := WithPicker([]byte(manifests), "i"); err == nil {
			t.Errorf("%s: accepted:\n%s", name, b)
		}
	}
}

func FuzzWithPicker(f *testing.F) {
	f.Add([]byte("kind: Deployment\nspec: {template: {spec: {containers: [{name: epp, args: [a]}]}}}\n---\nkind: Role\nmetadata: {name: inference-model-reader}\n"))
	f.Fuzz(func(t *testing.T, manifests []byte) {
		derived, err := WithPicker(manifests, "i")
		if err != nil {
			return
		}
		if _, err := decode(derived); err != nil {
			t.Errorf("what was derived cannot be read: %v\n%s", err, derived)
		}
	})
}
