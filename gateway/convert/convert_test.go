package convert

import (
	"bytes"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	yamlstream "k8s.io/apimachinery/pkg/util/yaml"
	gatewayv1beta1 "sigs.k8s.io/gateway-api/apis/v1beta1"

	"github.com/fairway-ai/fairway/api/v1alpha1"
)

var update = flag.Bool("update", false, "write the golden files")

// cases are the folders of testdata.
func cases(t *testing.T) []string {
	t.Helper()
	paths, err := filepath.Glob("testdata/*/in.yaml")
	if err != nil || len(paths) < 10 {
		t.Fatalf("only %d cases: %v", len(paths), err)
	}
	for i := range paths {
		paths[i] = filepath.Dir(paths[i])
	}
	return paths
}

func converted(t *testing.T, dir string, o Options) *Result {
	t.Helper()
	data, err := os.ReadFile(dir + "/in.yaml")
	if err != nil {
		t.Fatal(err)
	}
	r, err := Convert([]Source{{"in.yaml", data}}, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// report is what the command prints of the findings.
func report(r *Result) string {
	var b strings.Builder
	for _, f := range r.Findings {
		b.WriteString(f.String() + "\n")
	}
	return b.String()
}

func TestGolden(t *testing.T) {
	for _, dir := range cases(t) {
		r := converted(t, dir, Options{})
		for name, got := range map[string]string{"out.yaml": string(r.YAML), "report.txt": report(r)} {
			path := filepath.Join(dir, name)
			if *update {
				if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if want, err := os.ReadFile(path); err != nil || string(want) != got {
				t.Errorf("%s: %v, got:\n%s", path, err, got)
			}
		}
		if again := converted(t, dir, Options{}); !bytes.Equal(again.YAML, r.YAML) || report(again) != report(r) {
			t.Errorf("%s: converted again, it is something else", dir)
		}
	}
}

// decode reads YAML documents.
func decode(t *testing.T, data []byte) []*unstructured.Unstructured {
	t.Helper()
	var all []*unstructured.Unstructured
	d := yamlstream.NewYAMLOrJSONDecoder(bytes.NewReader(data), 4096)
	for {
		u := &unstructured.Unstructured{}
		err := d.Decode(&u.Object)
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatalf("%v in:\n%s", err, data)
		}
		if len(u.Object) > 0 {
			all = append(all, u)
		}
	}
}

// TestTypes holds the output to the types, strictly.
func TestTypes(t *testing.T) {
	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{v1alpha1.AddToScheme, gatewayv1beta1.Install} {
		if err := add(s); err != nil {
			t.Fatal(err)
		}
	}
	n := 0
	for _, dir := range cases(t) {
		r := converted(t, dir, Options{})
		counts := map[string]int{}
		for _, u := range decode(t, r.YAML) {
			typed, err := s.New(u.GroupVersionKind())
			if err == nil {
				err = runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(u.Object, typed, true)
			}
			if err != nil {
				t.Errorf("%s: %s %s: %v", dir, u.GetKind(), u.GetName(), err)
			}
			counts[u.GetKind()]++
			n++
		}
		if counts["AIRoute"] != r.Routes || counts["AIBackend"] != r.Backends {
			t.Errorf("%s: says %d routes and %d backends, has %v", dir, r.Routes, r.Backends, counts)
		}
	}
	if n < 20 {
		t.Errorf("only %d objects were made", n)
	}
}

func TestSecretsStayOut(t *testing.T) {
	for _, o := range []Options{{}, {Passthrough: true}} {
		r := converted(t, "testdata/openai", o)
		if strings.Contains(report(r), "not-to-be-seen") || strings.Contains(string(r.YAML), "not-to-be-seen") != o.Passthrough {
			t.Errorf("%+v: the Secret's value is in the wrong place", o)
		}
	}
}

// TestPassthrough: what was converted is gone, the rest is as it was.
func TestPassthrough(t *testing.T) {
	for dir, want := range map[string]string{
		"testdata/openai": "Secret/openai-key AIBackend/openai AIRoute/chat",
		"testdata/pools":  "ConfigMap/other",
		"testdata/nasty":  "BackendTrafficPolicy/limits",
	} {
		var got []string
		for _, u := range decode(t, converted(t, dir, Options{Passthrough: true}).YAML) {
			got = append(got, u.GetKind()+"/"+u.GetName())
		}
		all := strings.Join(got, " ")
		if !strings.HasPrefix(all, want) || strings.Contains(all, "AIGatewayRoute") || strings.Contains(all, " Backend/") {
			t.Errorf("%s: %s, want %s", dir, all, want)
		}
	}
}

func TestLost(t *testing.T) {
	for dir, want := range map[string]bool{"openai": false, "old": false, "cohere": false, "mutations": false, "pools": false, "nasty": true, "aws": false, "azure": false, "gcp": false} {
		if r := converted(t, "testdata/"+dir, Options{}); r.Lost() != want {
			t.Errorf("%s: lost is %v:\n%s", dir, r.Lost(), report(r))
		}
	}
}

// TestOIDC: too little of an issuer, or of what its token is exchanged for, is no
// credential.
func TestOIDC(t *testing.T) {
	const aws, gcp = "testdata/aws", "testdata/gcp"
	for _, tt := range []struct{ dir, old, new, want string }{
		{aws, "", "", ""},
		{aws, "issuer: https://issuer.example.com", "issuer: http://issuer.example.com", "has no usable client or role"},
		{aws, "clientID: gateway", "clientIDRef: {name: a}", "has no usable client or role"},
		{aws, "clientSecret: {name: oidc-secret}", "clientSecret: {}", "has no usable client or role"},
		{aws, "awsRoleArn: arn:aws:iam::123456789012:role/bedrock", "awsRoleArn: bedrock", "has no usable client or role"},
		{aws, "aud: sts", "grantType: password\n      aud: sts", `"password" is not asked with`},
		{aws, "{issuer: https", "{tokenEndpoint: 'https://a.example.com', issuer: https", "the issuer is asked where it gives out tokens"},
		{aws, "clientSecret: {name: oidc-secret}", "clientSecret: {name: a, namespace: other}", "copy Secret other/a to namespace ai"},
		{gcp, "workloadIdentityPoolName: pool", "workloadIdentityPoolName: ../pool", "has no usable client, pool or provider"},
		{gcp, "      oidcExchangeToken:", "      unknown:", "has no usable client, pool or provider"},
		{"testdata/azure", "clientID: gateway, ", "", "has no usable client;"},
	} {
		in, err := os.ReadFile(tt.dir + "/in.yaml")
		if err != nil || !strings.Contains(string(in), tt.old) {
			t.Fatalf("%s: %q is not there: %v", tt.dir, tt.old, err)
		}
		r, err := Convert([]Source{{"in.yaml", []byte(strings.Replace(string(in), tt.old, tt.new, 1))}}, Options{})
		if err != nil || !strings.Contains(report(r), tt.want) {
			t.Errorf("%s for %s: %v\n%s", tt.new, tt.old, err, report(r))
		}
		if lost := strings.HasPrefix(tt.want, "has no usable"); lost && strings.Contains(string(r.YAML), "oidc:") {
			t.Errorf("%s for %s: is served with half of it", tt.new, tt.old)
		}
	}
}

func TestLimits(t *testing.T) {
	if _, err := Convert([]Source{{"a", make([]byte, MaxInput+1)}}, Options{}); err == nil {
		t.Error("input without end is taken")
	}
	if _, err := Convert([]Source{{"a", bytes.Repeat([]byte("a: b\n---\n"), maxObjects+1)}}, Options{}); err == nil {
		t.Error("objects without end are taken")
	}
	many := "apiVersion: aigateway.envoyproxy.io/v1beta1\nkind: AIGatewayRoute\nmetadata: {name: a}\nspec:\n  parentRefs: [{name: gw}]\n  rules:\n" +
		strings.Repeat("  - {backendRefs: [{name: a}], unknown: 1}\n", maxFindings+10)
	r, err := Convert([]Source{{"a", []byte(many)}}, Options{})
	if err != nil || len(r.Findings) != maxFindings+1 || !r.Lost() {
		t.Errorf("%d findings, %v", len(r.Findings), err)
	}
	if want := (maxFindings + 10 + maxRules - 1) / maxRules; r.Routes != want {
		t.Errorf("%d routes, want %d", r.Routes, want)
	}
}

func FuzzConvert(f *testing.F) {
	paths, _ := filepath.Glob("testdata/*/in.yaml")
	for _, p := range paths {
		data, err := os.ReadFile(p)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := Convert([]Source{{"a", data}}, Options{Passthrough: true})
		if err != nil {
			return
		}
		if len(r.YAML) > maxOutput+MaxInput {
			t.Errorf("%d bytes became %d", len(data), len(r.YAML))
		}
		for _, x := range r.Findings {
			if s := x.String(); strings.ContainsAny(s, "\n\r\x1b") || len(s) > 4096 {
				t.Errorf("a finding is not one short line: %q", s)
			}
		}
	})
}
