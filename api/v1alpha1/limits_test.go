package v1alpha1_test

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	apiext "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"
)

// full are specs that, together, have every field of our own.
var full = map[string][]string{
	"AIRoute": {`
parentRefs: [{name: gw}]
hostnames: [ai.example.com]
rules:
- name: a
  matches:
  - model: {type: Prefix, value: gpt-}
    headers: [{name: x-a, value: b}]
    path: {type: Exact, value: /v1}
  backendRefs: [{group: fairway.dev, kind: AIBackend, name: a, namespace: ns, priority: 1, weight: 2, model: m}]
  fallback: {when: ["429"], attempts: 2, firstByteTimeout: 10s}
  timeouts: {request: 10s}
  costs: [{name: a, type: CEL, cel: "1"}]
  limits: [{type: Cost, cost: a, max: 1, period: 1h, per: {type: Header, header: x-a}}]
  modelsOwnedBy: us
  modelsCreatedAt: "2025-01-02T03:04:05Z"
`},
	"AIAccessPolicy": {`
targetRef: {group: gateway.networking.k8s.io, kind: Gateway, name: gw, sectionName: https}
trust: {trustDomain: example.org, bundleRef: {kind: Secret, name: a, key: b}}
rules: [{identities: [{type: RegularExpression, value: a}], models: [{type: Prefix, value: b}]}]
`},
	"AIBackend": {`
schema: {name: OpenAI, version: "1", pathPrefix: /v1}
destination: {type: Hostname, hostname: {host: a.example.com, port: 443}}
tls: {mode: Verify, serverName: a, caCertificateRefs: [{group: "", kind: Secret, name: a}]}
credentials: {type: APIKey, apiKey: {secretRef: {name: a, key: b}, header: x-a, prefix: p}}
headers: {set: [{name: a, value: b}]}
body: {set: [{name: a, value: "1"}], remove: [b]}
models: [m]
`, `
schema: {name: Cohere}
destination: {type: Service, service: {name: a, namespace: ns, port: 80, endpointPicker: {name: a, port: 9002, failureMode: FailOpen}}}
credentials: {type: FromRequestHeader, fromRequestHeader: {name: a, header: b, prefix: c}}
`, `
schema: {name: AWSBedrock}
destination: {type: InferencePool, inferencePool: {name: a, namespace: ns}}
credentials: {type: AWS, aws: {region: a, profile: b, roleARN: "arn:aws:iam::123456789012:role/a", externalID: c, webIdentityTokenFile: /d}}
`, `
schema: {name: AWSBedrock}
destination: {type: Hostname, hostname: {host: a}}
credentials: {type: AWS, aws: {region: a, secretRef: {name: a, key: b}}}
`, `
schema: {name: AzureOpenAI}
destination: {type: Hostname, hostname: {host: a}}
credentials: {type: Azure, azure: {tenantID: a, clientID: b, secretRef: {name: a, key: b}}}
`, `
schema: {name: GCPVertexAI}
destination: {type: Hostname, hostname: {host: a}}
credentials: {type: GCP, gcp: {project: a, location: b, secretRef: {name: a, key: b}, impersonate: c}}
`, `
schema: {name: GCPVertexAI}
destination: {type: Hostname, hostname: {host: a}}
credentials:
  type: GCP
  gcp:
    project: a
    location: b
    workloadIdentityProvider: projects/1/locations/global/workloadIdentityPools/a/providers/b
    oidc: {issuer: "https://a.example.com/x", clientID: a, secretRef: {name: a, key: b}, scopes: [a], audience: b}
`, `
schema: {name: AWSBedrock}
destination: {type: Hostname, hostname: {host: a}}
credentials:
  type: AWS
  aws:
    region: a
    roleARN: "arn:aws:iam::123456789012:role/a"
    oidc: {issuer: "https://a.example.com:8443", clientID: a, secretRef: {name: a, key: b}, scopes: [a], audience: b}
`, `
schema: {name: AzureOpenAI}
destination: {type: Hostname, hostname: {host: a}}
credentials:
  type: Azure
  azure:
    tenantID: a
    clientID: b
    oidc: {issuer: "https://a.example.com", clientID: a, secretRef: {name: a, key: b}, scopes: [a], audience: b}
`},
}

// theirs are the fields whose types are Gateway API's, which tests them.
var theirs = regexp.MustCompile(`^spec\.(parentRefs|hostnames|targetRef|headers|tls\.caCertificateRefs|rules\.(timeouts|matches\.headers))\.`)

// A mistake is one value of a spec made wrong.
type mistake struct{ limit, field, want string }

// specSchema is what a definition says of spec.
func specSchema(t *testing.T, kind string) apiext.JSONSchemaProps {
	t.Helper()
	data, err := os.ReadFile(definitions + "/fairway.dev_" + strings.Replace(strings.ToLower(kind)+"s", "policys", "policies", 1) + ".yaml")
	if err != nil {
		t.Fatal(err)
	}
	crd := new(apiext.CustomResourceDefinition)
	if err := yaml.Unmarshal(data, crd); err != nil {
		t.Fatal(err)
	}
	return crd.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties["spec"]
}

// limits are those of a schema and of all below it, as "path limit".
func limits(path string, s *apiext.JSONSchemaProps, all map[string]bool) {
	for _, name := range s.Required {
		all[path+"."+name+" required"] = true
	}
	for limit, there := range map[string]bool{
		"enum": len(s.Enum) > 0, "pattern": s.Pattern != "", "minLength": s.MinLength != nil, "maxLength": s.MaxLength != nil,
		"minimum": s.Minimum != nil, "maximum": s.Maximum != nil, "minItems": s.MinItems != nil, "maxItems": s.MaxItems != nil,
		"set": s.XListType != nil && *s.XListType == "set", "map": s.XListType != nil && *s.XListType == "map",
	} {
		if there {
			all[path+" "+limit] = true
		}
	}
	if s.Items != nil {
		limits(path, s.Items.Schema, all)
	}
	for name, below := range s.Properties {
		limits(path+"."+name, &below, all)
	}
}

// mistakes makes each value of x that has a limit wrong, by put, and asks ask about it.
func mistakes(path, field string, s *apiext.JSONSchemaProps, x any, put func(any), ask func(mistake)) {
	try := func(limit, want string, bad any) {
		put(bad)
		ask(mistake{path + " " + limit, field, want})
		put(x)
	}
	switch x := x.(type) {
	case string:
		if len(s.Enum) > 0 {
			try("enum", "supported values", "Wrong")
		}
		if s.Pattern != "" {
			try("pattern", "should match", "\n")
		}
		if s.MinLength != nil {
			try("minLength", "chars long", "")
		}
		if s.MaxLength != nil {
			try("maxLength", "may not be more than", strings.Repeat("a", int(*s.MaxLength)+1))
		}
	case float64:
		if s.Minimum != nil {
			try("minimum", "should be greater than or equal to", *s.Minimum-1)
		}
		if s.Maximum != nil {
			try("maximum", "should be less than or equal to", *s.Maximum+1)
		}
	case []any:
		if s.MinItems != nil {
			try("minItems", "should have at least", []any{})
		}
		if s.MaxItems != nil {
			try("maxItems", "must have at most", repeat(x[0], int(*s.MaxItems)+1))
		}
		if s.XListType != nil && *s.XListType != "atomic" {
			put(repeat(x[0], 2))
			ask(mistake{path + " " + *s.XListType, field + "[1]", "Duplicate value"})
			put(x)
		}
		for i := range x {
			if s.Items != nil {
				mistakes(path, fmt.Sprintf("%s[%d]", field, i), s.Items.Schema, x[i], func(v any) { x[i] = v }, ask)
			}
		}
	case map[string]any:
		for _, name := range s.Required {
			if v, ok := x[name]; ok {
				delete(x, name)
				ask(mistake{path + "." + name + " required", field + "." + name, "Required value"})
				x[name] = v
			}
		}
		for name, below := range s.Properties {
			if v, ok := x[name]; ok {
				mistakes(path+"."+name, field+"."+name, &below, v, func(v any) { x[name] = v }, ask)
			}
		}
	}
}

func repeat(x any, n int) []any {
	all := make([]any, n)
	for i := range all {
		all[i] = x
	}
	return all
}

// TestLimits: each limit of each of our own fields is the API server's, which names
// the field.
func TestLimits(t *testing.T) {
	c := startCluster(t)
	for kind, specs := range full {
		schema := specSchema(t, kind)
		untried := map[string]bool{}
		limits("spec", &schema, untried)
		for _, text := range specs {
			spec := read(t, text)
			if causes := tryCreate(t, c, kind, spec); len(causes) > 0 {
				t.Errorf("%s is refused: %v\n%s", kind, causes, text)
				continue
			}
			mistakes("spec", "spec", &schema, spec, func(any) {}, func(m mistake) {
				if !untried[m.limit] || theirs.MatchString(m.limit) {
					return
				}
				if causes := tryCreate(t, c, kind, copied(t, spec)); !says(causes, m.field, m.want) {
					t.Errorf("%s %s: %v, want %s: %s", kind, m.limit, causes, m.field, m.want)
				}
				delete(untried, m.limit)
			})
		}
		for limit := range untried {
			if !theirs.MatchString(limit) {
				t.Errorf("%s: nothing tried %s", kind, limit)
			}
		}
	}
}

// copied is a spec as JSON has it, with nothing in two places.
func copied(t *testing.T, spec map[string]any) map[string]any {
	t.Helper()
	data, err := json.Marshal(spec)
	if err != nil {
		t.Fatal(err)
	}
	return read(t, string(data))
}
