package file

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/fairway-ai/fairway/pool"
)

// testLoader resolves a few names from memory.
func testLoader() *Loader {
	return &Loader{Resolve: func(_ context.Context, host string) ([]netip.Addr, error) {
		switch host {
		case "gpu.example.test":
			return []netip.Addr{netip.MustParseAddr("fd00::9"), netip.MustParseAddr("10.0.0.9"), netip.MustParseAddr("10.0.0.8")}, nil
		case "six.example.test":
			return []netip.Addr{netip.MustParseAddr("fd00::2"), netip.MustParseAddr("fd00::1")}, nil
		case "nothing.example.test":
			return []netip.Addr{netip.IPv4Unspecified()}, nil
		case "broken.example.test":
			return nil, errors.New("resolver is down")
		}
		return nil, &net.DNSError{Err: "no such host", Name: host, Server: "10.1.1.1:53", IsNotFound: true}
	}}
}

const poolA = `apiVersion: inference.networking.k8s.io/v1
kind: InferencePool
metadata:
  name: a
spec:
  selector:
    matchLabels: {app: a}
  targetPorts:
    - number: 8000
  endpointPickerRef:
    name: fairway
    port: {number: 9002}
    failureMode: FailOpen
`

func TestParse(t *testing.T) {
	for name, tc := range map[string]struct {
		in   string
		want []PoolConfig
		warn []string
	}{
		"endpoints alone, as llm-d writes them": {
			in: `
endpoints:
  - name: e0
    namespace: prod
    address: "10.0.0.1"
    port: "8000"
    labels:
      llm-d.ai/engine-type: vllm
  - {name: e1, address: 'fd00::1', port: 8001}
  - {name: e2, address: localhost, port: "8002"}
  - {name: e3, address: '::ffff:10.0.0.3', port: "8000", labels: }
`,
			want: []PoolConfig{{Name: "default", Namespace: "default", FailureMode: "FailOpen", AppProtocol: "http", Specs: []pool.Spec{
				{ID: "prod/e0", Address: "10.0.0.1:8000", Labels: map[string]string{"llm-d.ai/engine-type": "vllm"}},
				{ID: "default/e1", Address: "[fd00::1]:8001"},
				{ID: "default/e2", Address: "127.0.0.1:8002"},
				{ID: "default/e3", Address: "10.0.0.3:8000"},
			}}},
		},
		"no endpoints yet": {
			in:   "endpoints: []\n",
			want: []PoolConfig{{Name: "default", Namespace: "default", FailureMode: "FailOpen", AppProtocol: "http"}},
		},
		"host names": {
			in: "endpoints:\n- {name: a, address: gpu.example.test, port: 1}\n- {name: b, address: SIX.example.test., port: 1}\n",
			want: []PoolConfig{{Name: "default", Namespace: "default", FailureMode: "FailOpen", AppProtocol: "http", Specs: []pool.Spec{
				{ID: "default/a", Address: "10.0.0.8:1"}, {ID: "default/b", Address: "[fd00::1]:1"},
			}}},
		},
		"a pool, ports and explicit port": {
			in: strings.Replace(poolA, "    - number: 8000\n", "    - number: 8000\n    - number: 8001\n", 1) + `---
endpoints:
  - {name: e0, address: 10.0.0.1, labels: {app: a, extra: "1"}}
  - {name: e1, address: 10.0.0.2, labels: {app: a}, port: 9000}
`,
			want: []PoolConfig{{Name: "a", Namespace: "default", FailureMode: "FailOpen", AppProtocol: "http", Specs: []pool.Spec{
				{ID: "default/e0-rank-0", Address: "10.0.0.1:8000", Labels: map[string]string{"app": "a", "extra": "1"}},
				{ID: "default/e0-rank-1", Address: "10.0.0.1:8001", Labels: map[string]string{"app": "a", "extra": "1"}},
				{ID: "default/e1", Address: "10.0.0.2:9000", Labels: map[string]string{"app": "a"}},
			}}},
		},
		"what kubectl prints, endpoints first, two lists": {
			in: `---
endpoints:
  - {name: e0, address: 10.0.0.1, labels: {app: a, tier: gold}, namespace: prod}
---
# a comment alone
---
apiVersion: inference.networking.k8s.io/v1
kind: InferencePool
metadata:
  name: a.b
  namespace: prod
  uid: "x"
  creationTimestamp: null
  managedFields: [{manager: kubectl}]
  annotations:
    kubectl.kubernetes.io/last-applied-configuration: "{}"
    fairway.dev/models: " llama-3 , llama-3-*,*"
spec:
  selector: {matchLabels: {app: a, tier: gold}}
  targetPorts: [{number: 8000}]
  appProtocol: kubernetes.io/h2c
  endpointPickerRef: {group: "", kind: Service, name: epp, port: {number: 9002}}
status: {parents: []}
---
endpoints:
  - {name: e1, address: 10.0.0.2, labels: {app: a, tier: gold}, namespace: prod}
`,
			want: []PoolConfig{{Name: "a.b", Namespace: "prod", FailureMode: "FailClose", AppProtocol: "kubernetes.io/h2c",
				Models: []string{"llama-3", "llama-3-*", "*"}, Specs: []pool.Spec{
					{ID: "prod/e0", Address: "10.0.0.1:8000", Labels: map[string]string{"app": "a", "tier": "gold"}},
					{ID: "prod/e1", Address: "10.0.0.2:8000", Labels: map[string]string{"app": "a", "tier": "gold"}},
				}}},
		},
		"anchors": {
			in: poolA + `---
endpoints:
  - {name: e0, address: 10.0.0.1, labels: &l {app: a}}
  - {name: e1, address: 10.0.0.2, labels: *l}
`,
			want: []PoolConfig{{Name: "a", Namespace: "default", FailureMode: "FailOpen", AppProtocol: "http", Specs: []pool.Spec{
				{ID: "default/e0", Address: "10.0.0.1:8000", Labels: map[string]string{"app": "a"}},
				{ID: "default/e1", Address: "10.0.0.2:8000", Labels: map[string]string{"app": "a"}},
			}}},
		},
		"warnings": {
			in: poolA + "---\n" + strings.ReplaceAll(poolA, "name: a\n", "name: b\n") + `---
endpoints:
  - {name: e0, address: 10.0.0.1, labels: {app: b}}
  - {name: e1, address: 10.0.0.2, labels: {app: a}, namespace: prod}
`,
			want: []PoolConfig{
				{Name: "a", Namespace: "default", FailureMode: "FailOpen", AppProtocol: "http"},
				{Name: "b", Namespace: "default", FailureMode: "FailOpen", AppProtocol: "http"},
			},
			warn: []string{
				"f.yaml:4: metadata.annotations.fairway.dev/models: default/a, default/b name no models, so none of them gets requests by model; name the models of all pools but one",
				"f.yaml:4: spec.selector: default/a selects no endpoint; its requests are answered with 503",
				"f.yaml:18: spec.selector: default/b selects no endpoint; its requests are answered with 503",
				"f.yaml:30: endpoints[0]: default/e0 is selected by no InferencePool of its namespace and gets no requests; give it the labels of a selector",
				"f.yaml:31: endpoints[1]: prod/e1 is selected by no InferencePool of its namespace and gets no requests; give it the labels of a selector",
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := testLoader().Parse(t.Context(), "f.yaml", []byte(tc.in))
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tc.want, c.Pools, cmpopts.EquateEmpty()); d != "" {
				t.Errorf("pools (-want +got):\n%s", d)
			}
			if d := cmp.Diff(tc.warn, c.Warnings, cmpopts.EquateEmpty()); d != "" {
				t.Errorf("warnings (-want +got):\n%s", d)
			}
		})
	}
}

// TestErrors checks the text of every mistake.
func TestErrors(t *testing.T) {
	// with replaces a part of a good pool, which must be there.
	with := func(old, new string) string {
		if !strings.Contains(poolA, old) {
			t.Fatalf("the pool has no %q", old)
		}
		return strings.Replace(poolA, old, new, 1)
	}
	e := func(fields string) string { return "endpoints:\n- {" + fields + "}\n" }
	for name, tc := range map[string]struct{ in, want string }{
		"empty file":        {"", "f.yaml: has neither an InferencePool nor endpoints; see the documentation for an example"},
		"comment alone":     {"# nothing\n---\n", "f.yaml: has neither an InferencePool nor endpoints; see the documentation for an example"},
		"not YAML":          {"endpoints: [\n", "f.yaml:1: not YAML: did not find expected node content"},
		"not YAML, no line": {"\x00", "f.yaml: not YAML: control characters are not allowed"},
		"a list":            {"- a\n", "f.yaml:1: document: must be an InferencePool or a mapping with endpoints, is a list"},
		"a string":          {"hello\n", "f.yaml:1: document: must be an InferencePool or a mapping with endpoints, is a string"},
		"empty document":    {"{}\n", "f.yaml:1: endpoints: is missing; the document is empty"},
		"unknown document":  {"endpoint: []\n", "f.yaml:1: endpoint: is not a known field; known are endpoints"},

		"no kind":         {"apiVersion: v1\n", "f.yaml:1: kind: is missing; write kind: InferencePool"},
		"no version":      {"kind: InferencePool\n", "f.yaml:1: apiVersion: is missing; write apiVersion: inference.networking.k8s.io/v1"},
		"other kind":      {"apiVersion: v1\nkind: Service\n", `f.yaml:2: kind: "Service" is not read from this file; it may have InferencePool objects and documents with endpoints`},
		"other version":   {with("k8s.io/v1", "x-k8s.io/v1alpha2"), `f.yaml:1: apiVersion: "inference.networking.x-k8s.io/v1alpha2" is not supported; write inference.networking.k8s.io/v1`},
		"unknown field":   {poolA + "extra: 1\n", "f.yaml:14: extra: is not a known field; known are apiVersion, kind, metadata, spec, status"},
		"merge key":       {poolA + "<<: {a: b}\n", "f.yaml:14: <<: merge keys are not supported; write the fields out"},
		"key not a name":  {poolA + "? [a]\n: b\n", "f.yaml:14: document: has a key that is a list; keys are names"},
		"field twice":     {poolA + "spec: {}\n", "f.yaml:14: spec: is there twice; remove one"},
		"two of one name": {poolA + "---\n" + poolA, "f.yaml:18: metadata.name: default/a is there twice, first in line 4; names must be unique in a namespace"},

		"no metadata":        {with("metadata:\n  name: a\n", ""), "f.yaml:1: metadata.name: is missing; name the pool"},
		"metadata a string":  {with("metadata:\n  name: a\n", "metadata: a\n"), "f.yaml:3: metadata: must be a mapping with name, namespace, annotations, labels, uid, resourceVersion, generation, creationTimestamp, managedFields, ownerReferences, finalizers, generateName, selfLink, deletionTimestamp, deletionGracePeriodSeconds, is a string"},
		"no name":            {with("  name: a\n", "  namespace: a\n"), "f.yaml:4: metadata.name: is missing; name the pool"},
		"name a number":      {with("name: a\n", "name: 5\n"), `f.yaml:4: metadata.name: must be a string, is a number; write it in quotes: "5"`},
		"name a boolean":     {with("name: a\n", "name: true\n"), `f.yaml:4: metadata.name: must be a string, is a boolean; write it in quotes: "true"`},
		"name a list":        {with("name: a\n", "name: [a]\n"), `f.yaml:4: metadata.name: must be a string, is a list`},
		"name empty":         {with("name: a\n", "name:\n"), `f.yaml:4: metadata.name: must be a string, is empty`},
		"bad name":           {with("name: a\n", "name: A_b\n"), `f.yaml:4: metadata.name: "A_b" is not a valid name; use lower-case letters, digits, - and .`},
		"bad namespace":      {with("name: a\n", "name: a\n  namespace: a.b\n"), `f.yaml:5: metadata.namespace: "a.b" is not a valid namespace; use lower-case letters, digits and -`},
		"annotations a list": {with("name: a\n", "name: a\n  annotations: []\n"), `f.yaml:5: metadata.annotations: must be a mapping of names to strings, is a list`},
		"unknown annotation": {with("name: a\n", "name: a\n  annotations: {fairway.dev/model: x}\n"), `f.yaml:5: metadata.annotations.fairway.dev/model: is not a known annotation; known is fairway.dev/models`},
		"empty model":        {with("name: a\n", "name: a\n  annotations: {fairway.dev/models: \"a,,b\"}\n"), `f.yaml:5: metadata.annotations.fairway.dev/models: has an empty model name; write names separated by commas, as in "llama-3,llama-3-*"`},
		"star inside":        {with("name: a\n", "name: a\n  annotations: {fairway.dev/models: \"a*b\"}\n"), `f.yaml:5: metadata.annotations.fairway.dev/models: model "a*b" has a * that is not at its end; write the start of the names followed by *`},
		"model twice":        {with("name: a\n", "name: a\n  annotations: {fairway.dev/models: \"a,a\"}\n"), `f.yaml:5: metadata.annotations.fairway.dev/models: model "a" is there twice; remove one`},
		"long model":         {with("name: a\n", "name: a\n  annotations: {fairway.dev/models: "+strings.Repeat("m", 600)+"}\n"), `f.yaml:5: metadata.annotations.fairway.dev/models: has a model name of 600 bytes; at most 512 are allowed`},
		"many models":        {with("name: a\n", "name: a\n  annotations: {fairway.dev/models: \""+strings.Repeat("m,", 2000)+"\"}\n"), `f.yaml:5: metadata.annotations.fairway.dev/models: has more than 1024 models`},
		"model of two pools": {
			with("name: a\n", "name: a\n  annotations: {fairway.dev/models: m}\n") + "---\n" + with("name: a\n", "name: b\n  annotations: {fairway.dev/models: m}\n"),
			`f.yaml:20: metadata.annotations.fairway.dev/models: model "m" is served by default/a already (line 4); name it in one of them`},

		"no spec":              {poolA[:strings.Index(poolA, "spec:")], "f.yaml:1: spec: is missing; it says which endpoints the pool selects"},
		"unknown spec field":   {with("  selector", "  extensionRef: {}\n  selector"), "f.yaml:6: spec.extensionRef: is not a known field; known are selector, targetPorts, appProtocol, endpointPickerRef"},
		"spec a list":          {poolA[:strings.Index(poolA, "spec:")] + "spec: []\n", "f.yaml:5: spec: must be a mapping with selector, targetPorts, appProtocol, endpointPickerRef, is a list"},
		"no selector":          {with("  selector:\n    matchLabels: {app: a}\n", ""), "f.yaml:6: spec.selector: is missing; write selector: {matchLabels: {app: NAME}}"},
		"empty selector":       {with("\n    matchLabels: {app: a}", " {}"), "f.yaml:6: spec.selector.matchLabels: is missing; write at least one label, as in {app: NAME}"},
		"selector expressions": {with("matchLabels: {app: a}", "matchLabels: {app: a}\n    matchExpressions: []"), "f.yaml:8: spec.selector.matchExpressions: is not a known field; known are matchLabels"},
		"no labels":            {with("{app: a}", "{}"), "f.yaml:7: spec.selector.matchLabels: is empty; write at least one label, as in {app: NAME}"},
		"labels a list":        {with("{app: a}", "[app]"), "f.yaml:7: spec.selector.matchLabels: must be a mapping of names to strings, is a list"},
		"label a number":       {with("{app: a}", "{app: 1}"), `f.yaml:7: spec.selector.matchLabels.app: must be a string, is a number; write it in quotes: "1"`},
		"label twice":          {with("{app: a}", "{app: a, app: b}"), "f.yaml:7: spec.selector.matchLabels.app: is there twice; remove one"},
		"bad label name":       {with("{app: a}", "{a b: a}"), "f.yaml:7: spec.selector.matchLabels.a b: is not a valid label name; use letters, digits, -, _ and ., after an optional domain and /"},
		"bad label value":      {with("{app: a}", "{app: a/b}"), `f.yaml:7: spec.selector.matchLabels.app: "a/b" is not a valid label value; use up to 63 letters, digits, -, _ and .`},
		"too many labels":      {with("{app: a}", "{"+many(65, "l%d: x")+"}"), "f.yaml:7: spec.selector.matchLabels: has 65 entries; at most 64 are allowed"},
		"no ports":             {with("  targetPorts:\n    - number: 8000\n", ""), "f.yaml:6: spec.targetPorts: is missing; write targetPorts: [{number: 8000}]"},
		"empty ports":          {with("\n    - number: 8000", " []"), "f.yaml:8: spec.targetPorts: is empty; write at least one port, as in [{number: 8000}]"},
		"ports a number":       {with("\n    - number: 8000", " 8000"), "f.yaml:8: spec.targetPorts: must be a list, is a number"},
		"port a number":        {with("- number: 8000", "- 8000"), "f.yaml:9: spec.targetPorts[0]: must be a mapping with number, is a number"},
		"port without number":  {with("- number: 8000", "- {}"), "f.yaml:9: spec.targetPorts[0].number: is missing; write the port's number"},
		"port a string":        {with("number: 8000", `number: "8000"`), `f.yaml:9: spec.targetPorts[0].number: must be a port number from 1 to 65535, is "8000"`},
		"port 0":               {with("number: 8000", `number: 0`), `f.yaml:9: spec.targetPorts[0].number: must be a port number from 1 to 65535, is "0"`},
		"port 65536":           {with("number: 8000", `number: 65536`), `f.yaml:9: spec.targetPorts[0].number: must be a port number from 1 to 65535, is "65536"`},
		"port empty":           {with("number: 8000", `number:`), `f.yaml:9: spec.targetPorts[0].number: must be a port number from 1 to 65535, is empty`},
		"port twice":           {with("    - number: 8000\n", "    - number: 8000\n    - number: 8000\n"), "f.yaml:10: spec.targetPorts[1].number: 8000 is there twice; every port is an endpoint of its own"},
		"nine ports":           {with("\n    - number: 8000", " ["+many(9, "{number: 800%d}")+"]"), "f.yaml:8: spec.targetPorts: has 9 elements; at most 8 are allowed"},
		"protocol":             {with("  endpointPickerRef", "  appProtocol: grpc\n  endpointPickerRef"), `f.yaml:10: spec.appProtocol: "grpc" is not supported; write http or kubernetes.io/h2c`},
		"no picker name":       {with("    name: fairway\n", ""), "f.yaml:11: spec.endpointPickerRef.name: is missing; name the picker's Service, as in name: fairway"},
		"empty picker name":    {with("name: fairway", `name: ""`), "f.yaml:11: spec.endpointPickerRef.name: must have 1 to 253 characters; name the picker's Service, as in name: fairway"},
		"picker a string":      {with("endpointPickerRef:\n    name: fairway\n    port: {number: 9002}\n    failureMode: FailOpen", "endpointPickerRef: x"), "f.yaml:10: spec.endpointPickerRef: must be a mapping with group, kind, name, port, failureMode, is a string"},
		"no picker port":       {with("    port: {number: 9002}\n", ""), "f.yaml:11: spec.endpointPickerRef.port: is missing; write the picker's gRPC port, as in port: {number: 9002}"},
		"picker port empty":    {with("{number: 9002}", "{}"), "f.yaml:12: spec.endpointPickerRef.port.number: is missing; write the picker's gRPC port, as in 9002"},
		"picker port number":   {with("{number: 9002}", "{number: x}"), `f.yaml:12: spec.endpointPickerRef.port.number: must be a port number from 1 to 65535, is "x"`},
		"picker kind":          {with("    name: fairway\n", "    name: fairway\n    kind: ExternalName\n"), `f.yaml:12: spec.endpointPickerRef.kind: "ExternalName" is not a valid kind; write Service, or leave it out`},
		"picker group":         {with("    name: fairway\n", "    name: fairway\n    group: a/b\n"), `f.yaml:12: spec.endpointPickerRef.group: "a/b" is not a valid API group; leave it out for a Service`},
		"failure mode":         {with("FailOpen", "open"), `f.yaml:13: spec.endpointPickerRef.failureMode: "open" is not supported; write FailOpen or FailClose`},

		"endpoints a mapping":     {"endpoints: {}\n", "f.yaml:1: endpoints: must be a list, is a mapping"},
		"endpoint a string":       {"endpoints: [a]\n", "f.yaml:1: endpoints[0]: must be a mapping with name, namespace, address, port, labels, is a string"},
		"endpoint unknown field":  {e("name: a, address: 10.0.0.1, port: 1, weight: 2"), "f.yaml:2: endpoints[0].weight: is not a known field; known are name, namespace, address, port, labels"},
		"endpoint no name":        {e("address: 10.0.0.1, port: 1"), "f.yaml:2: endpoints[0].name: is missing; name the endpoint"},
		"endpoint bad name":       {e("name: a/b, address: 10.0.0.1, port: 1"), `f.yaml:2: endpoints[0].name: "a/b" is not a valid name; use up to 253 characters without blanks and slashes`},
		"endpoint name twice":     {"endpoints:\n- {name: a, address: 10.0.0.1, port: 1}\n- {name: a, namespace: default, address: 10.0.0.2, port: 1}\n", "f.yaml:3: endpoints[1].name: default/a is there twice, first in line 2; names must be unique in a namespace"},
		"name twice, two lists":   {"endpoints:\n- {name: a, address: 10.0.0.1, port: 1}\n---\nendpoints:\n- {name: a, address: 10.0.0.2, port: 1}\n", "f.yaml:5: endpoints[0].name: default/a is there twice, first in line 2; names must be unique in a namespace"},
		"endpoint bad namespace":  {e("name: a, namespace: A, address: 10.0.0.1, port: 1"), `f.yaml:2: endpoints[0].namespace: "A" is not a valid namespace; use lower-case letters, digits and -`},
		"endpoint no address":     {e("name: a, port: 1"), "f.yaml:2: endpoints[0].address: is missing; write the server's IP address"},
		"endpoint address port":   {e("name: a, port: 1, address: '10.0.0.1:8000'"), `f.yaml:2: endpoints[0].address: "10.0.0.1:8000" has a port; write that in the field port`},
		"endpoint brackets":       {e("name: a, port: 1, address: '[fd00::1]'"), `f.yaml:2: endpoints[0].address: "[fd00::1]" has brackets; write the IPv6 address without them`},
		"endpoint zone":           {e("name: a, port: 1, address: 'fe80::1%eth0'"), `f.yaml:2: endpoints[0].address: "fe80::1%eth0" has a zone; use an address without one`},
		"endpoint any":            {e("name: a, port: 1, address: 0.0.0.0"), `f.yaml:2: endpoints[0].address: "0.0.0.0" is not the address of a server; for this machine write 127.0.0.1`},
		"endpoint mistyped":       {e("name: a, port: 1, address: 10.0.0.300"), `f.yaml:2: endpoints[0].address: "10.0.0.300" is neither an IP address nor a host name; write an address as in 10.0.0.1 or fd00::1`},
		"endpoint a URL":          {e("name: a, port: 1, address: 'http://x'"), `f.yaml:2: endpoints[0].address: "http://x" is neither an IP address nor a host name; write an address as in 10.0.0.1 or fd00::1`},
		"endpoint address number": {e("name: a, port: 1, address: 10"), `f.yaml:2: endpoints[0].address: must be a string, is a number; write it in quotes: "10"`},
		"unknown host":            {e("name: a, port: 1, address: absent.example.test"), `f.yaml:2: endpoints[0].address: "absent.example.test" cannot be resolved (no such host); use an IP address, or a name that resolves where Fairway runs`},
		"broken resolver":         {e("name: a, port: 1, address: broken.example.test"), `f.yaml:2: endpoints[0].address: "broken.example.test" cannot be resolved (resolver is down); use an IP address, or a name that resolves where Fairway runs`},
		"useless host":            {e("name: a, port: 1, address: nothing.example.test"), `f.yaml:2: endpoints[0].address: "nothing.example.test" cannot be resolved (it has no usable address); use an IP address, or a name that resolves where Fairway runs`},
		"endpoint bad port":       {e("name: a, address: 10.0.0.1, port: http"), `f.yaml:2: endpoints[0].port: must be a port number from 1 to 65535, is "http"`},
		"endpoint port list":      {e("name: a, address: 10.0.0.1, port: [1]"), `f.yaml:2: endpoints[0].port: must be a port number from 1 to 65535, is a list`},
		"endpoint no port":        {e("name: a, address: 10.0.0.1"), "f.yaml:2: endpoints[0].port: is missing; without an InferencePool, which has target ports, every endpoint needs one"},
		"endpoint label number":   {e("name: a, address: 10.0.0.1, port: 1, labels: {a: 1.5}"), `f.yaml:2: endpoints[0].labels.a: must be a string, is a number; write it in quotes: "1.5"`},
		"endpoint label key":      {e("name: a, address: 10.0.0.1, port: 1, labels: {'': x}"), `f.yaml:2: endpoints[0].labels: has a key that is a string; keys are names`},
		"same address":            {"endpoints:\n- {name: a, address: 10.0.0.1, port: 1}\n- {name: b, address: 10.0.0.1, port: 1}\n", "f.yaml:3: endpoints[1].address: 10.0.0.1:1 is default/a already; every endpoint of a pool needs an address and port of its own"},
		"rank name": {
			with("    - number: 8000\n", "    - number: 8000\n    - number: 8001\n") + "---\nendpoints:\n- {name: x, address: 10.0.0.1, labels: {app: a}}\n- {name: x-rank-0, address: 10.0.0.2, port: 1, labels: {app: a}}\n",
			"f.yaml:18: endpoints[1].name: default/x-rank-0 is the name of another endpoint's data-parallel rank; rename one"},

		"everything at once": {
			strings.NewReplacer("name: a\n", "name: 5\n", "FailOpen", "x", "8000", "0").Replace(poolA) + "---\nendpoints:\n- {nam: x}\n",
			`f.yaml:4: metadata.name: must be a string, is a number; write it in quotes: "5"
f.yaml:9: spec.targetPorts[0].number: must be a port number from 1 to 65535, is "0"
f.yaml:13: spec.endpointPickerRef.failureMode: "x" is not supported; write FailOpen or FailClose
f.yaml:16: endpoints[0].nam: is not a known field; known are name, namespace, address, port, labels
f.yaml:16: endpoints[0].name: is missing; name the endpoint
f.yaml:16: endpoints[0].address: is missing; write the server's IP address`},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := testLoader().Parse(t.Context(), "f.yaml", []byte(tc.in))
			if err == nil {
				t.Fatalf("no error, and %+v", c)
			}
			if d := cmp.Diff(tc.want, err.Error()); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
			if c != nil {
				t.Errorf("a bad file yields %+v", c)
			}
		})
	}
}

func many(n int, format string) string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprintf(format, i)
	}
	return strings.Join(all, ", ")
}

func TestLimits(t *testing.T) {
	parse := func(in string) error {
		_, err := testLoader().Parse(t.Context(), "f.yaml", []byte(in))
		if err == nil {
			t.Fatal("no error")
		}
		return err
	}
	err := parse("endpoints: [" + strings.Repeat("{}, ", 500) + "]")
	if n := strings.Count(err.Error(), "\n") + 1; n != maxProblems+1 || !strings.HasSuffix(err.Error(), "f.yaml: 1400 more mistakes") {
		t.Errorf("%d lines, ending in %q", n, err.Error()[max(0, len(err.Error())-60):])
	}
	if err := parse(strings.Repeat("#", MaxSize+1)); err.Error() != "f.yaml: is larger than 4 MiB; split the pools over several gateways" {
		t.Errorf("too large: %v", err)
	}
	if err := parse("endpoints: [" + strings.Repeat("{},", MaxEndpoints+1) + "]"); err.Error() != "f.yaml:1: endpoints: has 16385 elements; at most 16384 are allowed" {
		t.Errorf("too many endpoints: %v", err)
	}
	var pools strings.Builder
	for i := range MaxPools + 1 {
		pools.WriteString(strings.Replace(poolA, "name: a\n", fmt.Sprintf("name: p%d\n", i), 1) + "---\n")
	}
	if err := parse(pools.String()); !strings.Contains(err.Error(), "is one InferencePool too many; at most 1024 are allowed") {
		t.Errorf("too many pools: %v", err)
	}
	// Aliases within aliases must cost nothing.
	bomb := "endpoints:\n- &a {name: a, address: 10.0.0.1, port: 1, labels: &b {x: y}}\n" + strings.Repeat("- *a\n", 1000)
	if err := parse(bomb); !strings.Contains(err.Error(), "default/a is there twice") {
		t.Errorf("aliases: %v", err)
	}
	if err := parse("endpoints: &a [*a, *a]\n"); !strings.Contains(err.Error(), "must be a mapping") {
		t.Errorf("alias to itself: %v", err)
	}
}

// What somebody else takes out of a file is not missed.
func TestOther(t *testing.T) {
	l := &Loader{Other: func(_ string, data []byte) ([]byte, any, error) {
		if rest, ok := strings.CutPrefix(string(data), "other\n"); ok {
			return []byte("\n" + rest), "found", nil
		}
		if strings.HasPrefix(string(data), "bad\n") {
			return nil, nil, errors.New("theirs")
		}
		return data, nil, nil
	}}
	for text, want := range map[string]string{
		"other\n": "found 0 pools",
		"other\nendpoints: [{name: a, address: 10.0.0.1, port: 80}]": "found 1 pools",
		"endpoints: [{name: a, address: 10.0.0.1, port: 80}]":        "<nil> 1 pools",
		"bad\n":                         "theirs",
		"other\nendpoints: [{name: a}]": "f:2: endpoints[0].address: is missing; write the server's IP address\nf:2: endpoints[0].port: is missing; without an InferencePool, which has target ports, every endpoint needs one",
		"":                              "f: has neither an InferencePool nor endpoints; see the documentation for an example",
	} {
		c, err := l.Parse(t.Context(), "f", []byte(text))
		got := fmt.Sprint(err)
		if err == nil {
			got = fmt.Sprintf("%v %d pools", c.Other, len(c.Pools))
		}
		if got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}

func TestExamples(t *testing.T) {
	files, err := filepath.Glob("../../examples/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if s := string(data); strings.Contains(s, "kind: EndpointPickerConfig") || strings.Contains(s, "kind: AIRoute") {
			continue
		}
		c, err := Load(t.Context(), f)
		if err != nil {
			t.Error(err)
			continue
		}
		if len(c.Warnings) > 0 {
			t.Errorf("%s: %q", f, c.Warnings)
		}
	}
	if _, err := Load(t.Context(), filepath.Join(t.TempDir(), "absent.yaml")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("absent file: %v", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(poolA + "---\nendpoints:\n- {name: a, address: 10.0.0.1, labels: {app: a}}\n"))
	f.Add([]byte("endpoints:\n- &a {name: a, address: fd00::1, port: \"80\"}\n- *a\n"))
	f.Add([]byte("endpoints: &a [*a]\n"))
	f.Add([]byte("kind: *x\n<<: &x {}\n? {}\n: b\n"))
	f.Add([]byte("apiVersion: inference.networking.k8s.io/v1\nkind: InferencePool\nmetadata: {annotations: {fairway.dev/models: 'a,b*'}}\nspec: ~\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := testLoader().Parse(t.Context(), "f.yaml", data)
		if (c == nil) == (err == nil) {
			t.Fatalf("config %v, error %v", c, err)
		}
		if err != nil {
			if !strings.HasPrefix(err.Error(), "f.yaml:") {
				t.Fatalf("the error does not name the file: %v", err)
			}
			return
		}
		if len(c.Pools) == 0 {
			t.Fatal("no pools and no error")
		}
		for _, p := range c.Pools {
			ids, addresses := map[string]bool{}, map[string]bool{}
			for _, s := range p.Specs {
				if ids[s.ID] || addresses[s.Address] {
					t.Fatalf("%s or %s is twice in %s", s.ID, s.Address, p.FullName())
				}
				ids[s.ID], addresses[s.Address] = true, true
				if a, err := netip.ParseAddrPort(s.Address); err != nil || a.Port() == 0 {
					t.Fatalf("address %q: %v", s.Address, err)
				}
			}
			if p.Name == "" || p.Namespace == "" || p.FailureMode == "" || p.AppProtocol == "" {
				t.Fatalf("incomplete pool %+v", p)
			}
		}
	})
}
