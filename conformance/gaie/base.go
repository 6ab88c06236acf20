package gaie

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"go.yaml.in/yaml/v3"
)

const (
	// pickerContainer is the container of the suite's picker Deployments.
	pickerContainer = "epp"
	// pickerRole is the Role that the suite gives its pickers.
	pickerRole      = "inference-model-reader"
	pickerConfigMap = "fairway-epp-config"
	pickerMount     = "/etc/fairway"
	pickerFile      = "config.yaml"
	// maxDocuments bounds the manifests.
	maxDocuments = 1000
)

// pickerConfig makes the picker do what the suite asks of a picker: go where the
// test's header says, and tell which endpoint served.
const pickerConfig = `apiVersion: inference.networking.x-k8s.io/v1alpha1
kind: EndpointPickerConfig
plugins:
- type: header-based-testing-filter
- type: destination-endpoint-served-verifier
- type: random-picker
schedulingProfiles:
- name: default
  plugins:
  - pluginRef: header-based-testing-filter
  - pluginRef: random-picker
`

// pickerRules are the permissions that Fairway's picker uses beyond the reference
// picker's.
var pickerRules = []any{
	rule([]any{"llm-d.ai", "inference.networking.x-k8s.io"}, []any{"inferenceobjectives", "inferencemodelrewrites"}),
}

func rule(groups, resources []any) map[string]any {
	return map[string]any{"apiGroups": groups, "resources": resources, "verbs": []any{"get", "list", "watch"}}
}

// WithPicker returns the suite's base manifests with Fairway's endpoint picker, from
// image, in the place of the reference picker. Everything else stays as it is.
func WithPicker(base []byte, image string) ([]byte, error) {
	docs, err := decode(base)
	if err != nil {
		return nil, err
	}
	namespaces := map[string]bool{}
	roles := 0
	for _, doc := range docs {
		switch {
		case doc["kind"] == "Deployment":
			replaced, err := replacePicker(doc, image)
			if err != nil {
				return nil, fmt.Errorf("deployment %v: %w", at(doc, "metadata", "name"), err)
			}
			if replaced {
				namespaces[fmt.Sprint(at(doc, "metadata", "namespace"))] = true
			}
		case doc["kind"] == "Role" && at(doc, "metadata", "name") == pickerRole:
			rules, _ := doc["rules"].([]any)
			doc["rules"] = append(rules, pickerRules...)
			roles++
		}
	}
	if len(namespaces) != 1 || roles != 1 {
		return nil, fmt.Errorf("the manifests have pickers in %d namespaces and %d roles for them, want one of each", len(namespaces), roles)
	}
	for namespace := range namespaces {
		docs = insertConfig(docs, namespace)
	}
	return encode(docs)
}

// replacePicker changes a picker's Deployment. It reports false for others.
func replacePicker(doc map[string]any, image string) (bool, error) {
	spec, _ := at(doc, "spec", "template", "spec").(map[string]any)
	containers, _ := spec["containers"].([]any)
	for _, c := range containers {
		container, _ := c.(map[string]any)
		if container["name"] != pickerContainer {
			continue
		}
		args, ok := container["args"].([]any)
		if !ok || container["command"] != nil {
			return false, errors.New("the picker's container has no args, or a command")
		}
		container["image"] = image
		container["imagePullPolicy"] = "IfNotPresent"
		container["args"] = append([]any{"epp"}, append(args, "--config-file", pickerMount+"/"+pickerFile)...)
		mounts, _ := container["volumeMounts"].([]any)
		container["volumeMounts"] = append(mounts, map[string]any{"name": "config", "mountPath": pickerMount, "readOnly": true})
		volumes, _ := spec["volumes"].([]any)
		spec["volumes"] = append(volumes, map[string]any{"name": "config", "configMap": map[string]any{"name": pickerConfigMap}})
		return true, nil
	}
	return false, nil
}

// insertConfig adds the picker's configuration after the last Namespace, before
// anything that mounts it.
func insertConfig(docs []map[string]any, namespace string) []map[string]any {
	config := map[string]any{
		"apiVersion": "v1", "kind": "ConfigMap",
		"metadata": map[string]any{"name": pickerConfigMap, "namespace": namespace},
		"data":     map[string]any{pickerFile: pickerConfig},
	}
	last := 0
	for i, doc := range docs {
		if doc["kind"] == "Namespace" {
			last = i + 1
		}
	}
	return append(docs[:last:last], append([]map[string]any{config}, docs[last:]...)...)
}

// at follows a path of keys; nil when it ends early.
func at(doc map[string]any, path ...string) any {
	var v any = doc
	for _, key := range path {
		m, _ := v.(map[string]any)
		v = m[key]
	}
	return v
}

func decode(manifests []byte) ([]map[string]any, error) {
	var docs []map[string]any
	d := yaml.NewDecoder(bytes.NewReader(manifests))
	for {
		var doc map[string]any
		err := d.Decode(&doc)
		if errors.Is(err, io.EOF) {
			return docs, nil
		}
		if err != nil {
			return nil, fmt.Errorf("manifest %d: %w", len(docs)+1, err)
		}
		if len(docs) == maxDocuments {
			return nil, fmt.Errorf("more than %d manifests", maxDocuments)
		}
		if doc != nil {
			docs = append(docs, doc)
		}
	}
}

func encode(docs []map[string]any) ([]byte, error) {
	var b bytes.Buffer
	e := yaml.NewEncoder(&b)
	for _, doc := range docs {
		if err := e.Encode(doc); err != nil {
			return nil, fmt.Errorf("writing %v %v: %w", doc["kind"], at(doc, "metadata", "name"), err)
		}
	}
	if err := e.Close(); err != nil {
		return nil, fmt.Errorf("writing the manifests: %w", err)
	}
	return b.Bytes(), nil
}
