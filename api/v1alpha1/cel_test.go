package v1alpha1_test

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

const (
	openAI = "{schema: {name: OpenAI}, destination: {type: Hostname, hostname: {host: api.openai.com}}}"
	access = "{targetRef: {group: gateway.networking.k8s.io, kind: Gateway, name: gw}, trust: {trustDomain: d, bundleRef: {name: b}}}"
	oneTo  = "{rules: [{backendRefs: [{name: a}]}]}"
)

// rules are specs laid over the smallest one of their kind, and what the API server
// says to them; nothing when it takes them.
var rules = []struct{ kind, spec, field, want string }{
	{"AIBackend", "{}", "", ""},
	{"AIRoute", "{}", "", ""},
	{"AIAccessPolicy", "{}", "", ""},

	{"AIAccessPolicy", "{targetRef: {kind: HTTPRoute}}", "spec.targetRef", "targetRef: must be a Gateway (group gateway.networking.k8s.io)"},
	{"AIAccessPolicy", "{targetRef: {group: ''}}", "spec.targetRef", "targetRef: must be a Gateway (group gateway.networking.k8s.io)"},
	{"AIAccessPolicy", "{targetRef: {sectionName: https}}", "", ""},
	{"AIAccessPolicy", "{rules: [{identities: [{value: https://d/a}], models: [{value: a}]}]}", "spec.rules[0].identities[0]", "value: must begin with spiffe://"},
	{"AIAccessPolicy", "{rules: [{identities: [{type: Prefix, value: spiffe://d/a}], models: [{value: a}]}]}", "spec.rules[0].identities[0]", "value: a prefix must end with /"},
	{"AIAccessPolicy", "{rules: [{identities: [{type: Prefix, value: spiffe://d/a/}, {value: spiffe://d/a}, {type: RegularExpression, value: .*}], models: [{type: RegularExpression, value: .*}]}]}", "", ""},

	// The destination is what its type says.
	{"AIBackend", "{destination: {hostname: null}}", "spec.destination", "hostname: must be set for type Hostname, and only then"},
	{"AIBackend", "{destination: {type: Service}}", "spec.destination", "hostname: must be set for type Hostname, and only then"},
	{"AIBackend", "{destination: {type: Service, hostname: null}}", "spec.destination", "service: must be set for type Service, and only then"},
	{"AIBackend", "{destination: {service: {name: a, port: 80}}}", "spec.destination", "service: must be set for type Service, and only then"},
	{"AIBackend", "{destination: {type: Service, hostname: null, service: {name: a, port: 80}}}", "", ""},
	{"AIBackend", "{destination: {type: InferencePool, hostname: null}}", "spec.destination", "inferencePool: must be set for type InferencePool, and only then"},
	{"AIBackend", "{destination: {inferencePool: {name: a}}}", "spec.destination", "inferencePool: must be set for type InferencePool, and only then"},
	{"AIBackend", "{destination: {type: InferencePool, hostname: null, inferencePool: {name: a}}}", "", ""},

	{"AIBackend", "{destination: {type: InferencePool, hostname: null, inferencePool: {name: a}}, tls: {}}", "spec", "tls: pods of an InferencePool are reached without TLS; remove it"},
	{"AIBackend", "{destination: {type: Service, hostname: null, service: {name: a, port: 80, endpointPicker: {name: b}}}, tls: {}}", "spec", "tls: endpoints that a picker chooses are reached without TLS; remove it"},
	{"AIBackend", "{destination: {type: Service, hostname: null, service: {name: a, port: 80, endpointPicker: {name: b}}}, tls: {mode: None}}", "", ""},
	{"AIBackend", "{destination: {type: Service, hostname: null, service: {name: a, port: 80}}, tls: {}}", "", ""},
	{"AIBackend", "{tls: {mode: None, caCertificateRefs: [{group: '', kind: Secret, name: a}]}}", "spec.tls", "caCertificateRefs: only mode Verify checks certificates"},
	{"AIBackend", "{tls: {caCertificateRefs: [{group: '', kind: Secret, name: a}]}}", "", ""},

	{"AIBackend", "{schema: {name: AzureOpenAI, pathPrefix: /v2}}", "spec.schema", "pathPrefix: only OpenAI, Anthropic and Cohere have one"},
	{"AIBackend", "{schema: {name: Anthropic, pathPrefix: /v2}}", "", ""},

	// Credentials are what their type says, and fit the schema.
	{"AIBackend", "{credentials: {type: APIKey}}", "spec.credentials", "apiKey: must be set for type APIKey, and only then"},
	{"AIBackend", "{credentials: {type: AWS, apiKey: {secretRef: {name: a}}}}", "spec.credentials", "apiKey: must be set for type APIKey, and only then"},
	{"AIBackend", "{credentials: {type: APIKey, apiKey: {secretRef: {name: a}}}}", "", ""},
	{"AIBackend", "{credentials: {type: AWS}}", "spec.credentials", "aws: must be set for type AWS, and only then"},
	{"AIBackend", "{credentials: {type: AWS, aws: {region: a}}}", "spec", "credentials: type AWS goes with schema AWSBedrock or AWSAnthropic"},
	{"AIBackend", "{schema: {name: AWSBedrock}, credentials: {type: AWS, aws: {region: a}}}", "", ""},
	{"AIBackend", "{schema: {name: AWSAnthropic}, credentials: {type: AWS, aws: {region: a}}}", "", ""},
	{"AIBackend", "{credentials: {type: Azure}}", "spec.credentials", "azure: must be set for type Azure, and only then"},
	{"AIBackend", "{credentials: {type: Azure, azure: {}}}", "spec", "credentials: type Azure goes with schema AzureOpenAI"},
	{"AIBackend", "{schema: {name: AzureOpenAI}, credentials: {type: Azure, azure: {}}}", "", ""},
	{"AIBackend", "{credentials: {type: GCP}}", "spec.credentials", "gcp: must be set for type GCP, and only then"},
	{"AIBackend", "{credentials: {type: GCP, gcp: {project: a, location: b}}}", "spec", "credentials: type GCP goes with schema GCPVertexAI or GCPAnthropic"},
	{"AIBackend", "{schema: {name: GCPVertexAI}, credentials: {type: GCP, gcp: {project: a, location: b}}}", "", ""},
	{"AIBackend", "{schema: {name: GCPAnthropic}, credentials: {type: GCP, gcp: {project: a, location: b}}}", "", ""},
	{"AIBackend", "{credentials: {type: FromRequestHeader}}", "spec.credentials", "fromRequestHeader: must be set for type FromRequestHeader, and only then"},
	{"AIBackend", "{credentials: {type: FromRequestHeader, fromRequestHeader: {name: x-key}}}", "", ""},
	{"AIBackend", "{schema: {name: AWSBedrock}, credentials: {type: AWS, aws: {region: a, roleARN: 'arn:aws:iam::123456789012:role/a', webIdentityTokenFile: /a, secretRef: {name: a}}}}", "spec.credentials.aws", "aws: set secretRef or webIdentityTokenFile, not both"},
	{"AIBackend", "{schema: {name: AWSBedrock}, credentials: {type: AWS, aws: {region: a, webIdentityTokenFile: /a}}}", "spec.credentials.aws", "aws: webIdentityTokenFile needs roleARN"},
	{"AIBackend", "{schema: {name: AWSBedrock}, credentials: {type: AWS, aws: {region: a, roleARN: 'arn:aws-cn:iam::123456789012:role/a', webIdentityTokenFile: /a}}}", "", ""},
	{"AIBackend", "{schema: {name: AzureOpenAI}, credentials: {type: Azure, azure: {clientID: a, secretRef: {name: a}}}}", "spec.credentials.azure", "azure: secretRef needs tenantID and clientID"},
	{"AIBackend", "{schema: {name: AzureOpenAI}, credentials: {type: Azure, azure: {clientID: a, tenantID: b, secretRef: {name: a}}}}", "", ""},

	{"AIBackend", "{schema: {name: AWSBedrock}, credentials: {type: AWS, aws: {region: a, oidc: {issuer: 'https://i.example.com', clientID: a, secretRef: {name: a}}}}}", "spec.credentials.aws", "aws: oidc needs roleARN, and goes without secretRef, profile, externalID and webIdentityTokenFile"},
	{"AIBackend", "{schema: {name: AWSBedrock}, credentials: {type: AWS, aws: {region: a, roleARN: 'arn:aws:iam::123456789012:role/a', oidc: {issuer: 'https://i.example.com', clientID: a, secretRef: {name: a}}, secretRef: {name: a}}}}", "spec.credentials.aws", "aws: oidc needs roleARN, and goes without secretRef, profile, externalID and webIdentityTokenFile"},
	{"AIBackend", "{schema: {name: AWSBedrock}, credentials: {type: AWS, aws: {region: a, roleARN: 'arn:aws:iam::123456789012:role/a', oidc: {issuer: 'https://i.example.com', clientID: a, secretRef: {name: a}}, profile: a}}}", "spec.credentials.aws", "aws: oidc needs roleARN, and goes without secretRef, profile, externalID and webIdentityTokenFile"},
	{"AIBackend", "{schema: {name: AWSBedrock}, credentials: {type: AWS, aws: {region: a, roleARN: 'arn:aws:iam::123456789012:role/a', oidc: {issuer: 'https://i.example.com', clientID: a, secretRef: {name: a}}, externalID: a}}}", "spec.credentials.aws", "aws: oidc needs roleARN, and goes without secretRef, profile, externalID and webIdentityTokenFile"},
	{"AIBackend", "{schema: {name: AWSBedrock}, credentials: {type: AWS, aws: {region: a, roleARN: 'arn:aws:iam::123456789012:role/a', oidc: {issuer: 'https://i.example.com', clientID: a, secretRef: {name: a}}, webIdentityTokenFile: /a}}}", "spec.credentials.aws", "aws: oidc needs roleARN, and goes without secretRef, profile, externalID and webIdentityTokenFile"},
	{"AIBackend", "{schema: {name: AWSBedrock}, credentials: {type: AWS, aws: {region: a, roleARN: 'arn:aws:iam::123456789012:role/a', oidc: {issuer: 'https://i.example.com', clientID: a, secretRef: {name: a}}}}}", "", ""},
	{"AIBackend", "{schema: {name: AzureOpenAI}, credentials: {type: Azure, azure: {clientID: a, oidc: {issuer: 'https://i.example.com', clientID: a, secretRef: {name: a}}}}}", "spec.credentials.azure", "azure: oidc needs tenantID and clientID, and goes without secretRef"},
	{"AIBackend", "{schema: {name: AzureOpenAI}, credentials: {type: Azure, azure: {tenantID: a, oidc: {issuer: 'https://i.example.com', clientID: a, secretRef: {name: a}}}}}", "spec.credentials.azure", "azure: oidc needs tenantID and clientID, and goes without secretRef"},
	{"AIBackend", "{schema: {name: AzureOpenAI}, credentials: {type: Azure, azure: {tenantID: a, clientID: b, secretRef: {name: a}, oidc: {issuer: 'https://i.example.com', clientID: a, secretRef: {name: a}}}}}", "spec.credentials.azure", "azure: oidc needs tenantID and clientID, and goes without secretRef"},
	{"AIBackend", "{schema: {name: AzureOpenAI}, credentials: {type: Azure, azure: {tenantID: a, clientID: b, oidc: {issuer: 'https://i.example.com', clientID: a, secretRef: {name: a}}}}}", "", ""},
	{"AIBackend", "{schema: {name: GCPVertexAI}, credentials: {type: GCP, gcp: {project: a, location: b, oidc: {issuer: 'https://i.example.com', clientID: a, secretRef: {name: a}}}}}", "spec.credentials.gcp", "gcp: oidc and workloadIdentityProvider go together, and without secretRef"},
	{"AIBackend", "{schema: {name: GCPVertexAI}, credentials: {type: GCP, gcp: {project: a, location: b, workloadIdentityProvider: projects/1/locations/global/workloadIdentityPools/a/providers/b}}}", "spec.credentials.gcp", "gcp: oidc and workloadIdentityProvider go together, and without secretRef"},
	{"AIBackend", "{schema: {name: GCPVertexAI}, credentials: {type: GCP, gcp: {project: a, location: b, workloadIdentityProvider: projects/1/locations/global/workloadIdentityPools/a/providers/b, secretRef: {name: a}, oidc: {issuer: 'https://i.example.com', clientID: a, secretRef: {name: a}}}}}", "spec.credentials.gcp", "gcp: oidc and workloadIdentityProvider go together, and without secretRef"},
	{"AIBackend", "{schema: {name: GCPVertexAI}, credentials: {type: GCP, gcp: {project: a, location: b, workloadIdentityProvider: projects/1/locations/global/workloadIdentityPools/a/providers/b, oidc: {issuer: 'https://i.example.com', clientID: a, secretRef: {name: a}}}}}", "", ""},
	{"AIBackend", "{schema: {name: AzureOpenAI}, credentials: {type: Azure, azure: {tenantID: a, clientID: b, oidc: {issuer: 'https://localhost', clientID: a, secretRef: {name: a}}}}}", "spec.credentials.azure.oidc", "issuer: must not be the gateway's own machine or link"},
	{"AIBackend", "{schema: {name: AzureOpenAI}, credentials: {type: Azure, azure: {tenantID: a, clientID: b, oidc: {issuer: 'https://LOCALHOST:1/a', clientID: a, secretRef: {name: a}}}}}", "spec.credentials.azure.oidc", "issuer: must not be the gateway's own machine or link"},
	{"AIBackend", "{schema: {name: AzureOpenAI}, credentials: {type: Azure, azure: {tenantID: a, clientID: b, oidc: {issuer: 'https://a.localhost/', clientID: a, secretRef: {name: a}}}}}", "spec.credentials.azure.oidc", "issuer: must not be the gateway's own machine or link"},
	{"AIBackend", "{schema: {name: AzureOpenAI}, credentials: {type: Azure, azure: {tenantID: a, clientID: b, oidc: {issuer: 'https://127.0.0.1:8443', clientID: a, secretRef: {name: a}}}}}", "spec.credentials.azure.oidc", "issuer: must not be the gateway's own machine or link"},
	{"AIBackend", "{schema: {name: AzureOpenAI}, credentials: {type: Azure, azure: {tenantID: a, clientID: b, oidc: {issuer: 'https://169.254.169.254/', clientID: a, secretRef: {name: a}}}}}", "spec.credentials.azure.oidc", "issuer: must not be the gateway's own machine or link"},
	{"AIBackend", "{schema: {name: AzureOpenAI}, credentials: {type: Azure, azure: {tenantID: a, clientID: b, oidc: {issuer: 'https://0.0.0.0', clientID: a, secretRef: {name: a}}}}}", "spec.credentials.azure.oidc", "issuer: must not be the gateway's own machine or link"},
	{"AIBackend", "{schema: {name: AzureOpenAI}, credentials: {type: Azure, azure: {tenantID: a, clientID: b, oidc: {issuer: 'https://0', clientID: a, secretRef: {name: a}}}}}", "spec.credentials.azure.oidc", "issuer: must not be the gateway's own machine or link"},
	{"AIBackend", "{schema: {name: AzureOpenAI}, credentials: {type: Azure, azure: {tenantID: a, clientID: b, oidc: {issuer: 'https://127.example.com', clientID: a, secretRef: {name: a}}}}}", "", ""},
	{"AIBackend", "{schema: {name: AzureOpenAI}, credentials: {type: Azure, azure: {tenantID: a, clientID: b, oidc: {issuer: 'https://localhost.example.com:8443/realms/a', clientID: a, secretRef: {name: a}}}}}", "", ""},
	{"AIBackend", "{schema: {name: AzureOpenAI}, credentials: {type: Azure, azure: {tenantID: a, clientID: b, oidc: {issuer: 'https://10.0.0.1', clientID: a, secretRef: {name: a}}}}}", "", ""},

	{"AIRoute", "{parentRefs: [{name: a, kind: Service}]}", "spec.parentRefs", "parentRefs: only Gateways can be parents"},
	{"AIRoute", "{parentRefs: [{name: a, group: example.com}]}", "spec.parentRefs", "parentRefs: only Gateways can be parents"},
	{"AIRoute", "{parentRefs: [{name: a, kind: Gateway, group: gateway.networking.k8s.io}, {name: b}, {name: a, namespace: other}]}", "", ""},
	{"AIRoute", "{parentRefs: [{name: a}, {name: a}]}", "spec.parentRefs", "parentRefs: those to the same Gateway must each name another sectionName"},
	{"AIRoute", "{parentRefs: [{name: a}, {name: a, sectionName: b}]}", "spec.parentRefs", "parentRefs: those to the same Gateway must each name another sectionName"},
	{"AIRoute", "{parentRefs: [{name: a, namespace: ns, sectionName: b}, {name: a, namespace: ns, sectionName: b}]}", "spec.parentRefs", "parentRefs: those to the same Gateway must each name another sectionName"},
	{"AIRoute", "{parentRefs: [{name: a, namespace: ns, sectionName: b}, {name: a, namespace: ns, sectionName: c}, {name: a, sectionName: c}]}", "", ""},

	{"AIRoute", "{rules: [{name: a, backendRefs: [{name: a}]}, {name: a, backendRefs: [{name: a}]}]}", "spec.rules", "rules: names must be unique"},
	{"AIRoute", "{rules: [{name: a, backendRefs: [{name: a}]}, {name: b, backendRefs: [{name: a}]}, {backendRefs: [{name: a}]}, {backendRefs: [{name: a}]}]}", "", ""},

	{"AIRoute", "{rules: [{backendRefs: [{name: a, kind: InferencePool}]}]}", "spec.rules[0].backendRefs[0]", "backendRefs: must be an AIBackend (group fairway.dev) or an InferencePool (group inference.networking.k8s.io)"},
	{"AIRoute", "{rules: [{backendRefs: [{name: a, group: '', kind: Service}]}]}", "spec.rules[0].backendRefs[0]", "backendRefs: must be an AIBackend (group fairway.dev) or an InferencePool (group inference.networking.k8s.io)"},
	{"AIRoute", "{rules: [{backendRefs: [{name: a, group: inference.networking.k8s.io, kind: InferencePool}, {name: b, priority: 1}]}]}", "", ""},

	{"AIRoute", "{rules: [{costs: [{name: a, type: CEL}], backendRefs: [{name: a}]}]}", "spec.rules[0].costs[0]", "cel: must be set for type CEL, and only then"},
	{"AIRoute", "{rules: [{costs: [{name: a, type: InputToken, cel: '1'}], backendRefs: [{name: a}]}]}", "spec.rules[0].costs[0]", "cel: must be set for type CEL, and only then"},
	{"AIRoute", "{rules: [{costs: [{name: a, type: CEL, cel: '1'}, {name: b, type: TotalToken}], backendRefs: [{name: a}]}]}", "", ""},

	{"AIRoute", "{rules: [{limits: [{type: Cost, max: 1, period: Hour}], backendRefs: [{name: a}]}]}", "spec.rules[0].limits[0]", "cost: must be set for type Cost, and only then"},
	{"AIRoute", "{rules: [{costs: [{name: a, type: TotalToken}], limits: [{type: Requests, cost: a, max: 1, period: Hour}], backendRefs: [{name: a}]}]}", "spec.rules[0].limits[0]", "cost: must be set for type Cost, and only then"},
	{"AIRoute", "{rules: [{limits: [{type: Cost, cost: a, max: 1, period: Hour}], backendRefs: [{name: a}]}]}", "spec.rules[0]", "limits: cost must name one of the rule's costs"},
	{"AIRoute", "{rules: [{costs: [{name: a, type: TotalToken}], limits: [{type: Cost, cost: b, max: 1, period: Hour}], backendRefs: [{name: a}]}]}", "spec.rules[0]", "limits: cost must name one of the rule's costs"},
	{"AIRoute", "{rules: [{costs: [{name: a, type: TotalToken}], limits: [{type: Cost, cost: a, max: 1, period: Hour}, {type: Requests, max: 5, period: 1s}], backendRefs: [{name: a}]}]}", "", ""},
	{"AIRoute", "{rules: [{limits: [{type: Requests, max: 1, period: 31d}], backendRefs: [{name: a}]}]}", "spec.rules[0].limits[0].period", "period: must be at most 30d"},
	{"AIRoute", "{rules: [{limits: [{type: Requests, max: 1, period: 721h}], backendRefs: [{name: a}]}]}", "spec.rules[0].limits[0].period", "period: must be at most 30d"},
	{"AIRoute", "{rules: [{limits: [{type: Requests, max: 1, period: 43201m}], backendRefs: [{name: a}]}]}", "spec.rules[0].limits[0].period", "period: must be at most 30d"},
	{"AIRoute", "{rules: [{limits: [{type: Requests, max: 1, period: 2592001s}], backendRefs: [{name: a}]}]}", "spec.rules[0].limits[0].period", "period: must be at most 30d"},
	{"AIRoute", "{rules: [{limits: [{type: Requests, max: 1, period: 30d}, {type: Requests, max: 1, period: 720h}, {type: Requests, max: 1, period: Day}], backendRefs: [{name: a}]}]}", "", ""},
	{"AIRoute", "{rules: [{limits: [{type: Requests, max: 1, period: Hour, per: {type: Header}}], backendRefs: [{name: a}]}]}", "spec.rules[0].limits[0].per", "header: must be set for type Header, and only then"},
	{"AIRoute", "{rules: [{limits: [{type: Requests, max: 1, period: Hour, per: {type: User, header: x-a}}], backendRefs: [{name: a}]}]}", "spec.rules[0].limits[0].per", "header: must be set for type Header, and only then"},
	{"AIRoute", "{rules: [{limits: [{type: Requests, max: 1, period: Hour, per: {type: Header, header: x-a}}, {type: Requests, max: 1, period: Hour, per: {type: SPIFFEID}}], backendRefs: [{name: a}]}]}", "", ""},

	{"AIRoute", "{rules: [{matches: [{path: {value: v1}}], backendRefs: [{name: a}]}]}", "spec.rules[0].matches[0].path", "path: must begin with / and have only characters that paths have"},
	{"AIRoute", "{rules: [{matches: [{path: {value: '/v1#a'}}], backendRefs: [{name: a}]}]}", "spec.rules[0].matches[0].path", "path: must begin with / and have only characters that paths have"},
	{"AIRoute", "{rules: [{matches: [{path: {value: '/v1%2'}}], backendRefs: [{name: a}]}]}", "spec.rules[0].matches[0].path", "path: must begin with / and have only characters that paths have"},
	{"AIRoute", "{rules: [{matches: [{path: {type: Exact, value: '/v1//a'}}], backendRefs: [{name: a}]}]}", "spec.rules[0].matches[0].path", "path: must not have //, /./, /../ or %2F"},
	{"AIRoute", "{rules: [{matches: [{path: {value: '/v1/..'}}], backendRefs: [{name: a}]}]}", "spec.rules[0].matches[0].path", "path: must not have //, /./, /../ or %2F"},
	{"AIRoute", "{rules: [{matches: [{path: {value: '/v1/./a'}}], backendRefs: [{name: a}]}]}", "spec.rules[0].matches[0].path", "path: must not have //, /./, /../ or %2F"},
	{"AIRoute", "{rules: [{matches: [{path: {value: '/v1%2fa'}}], backendRefs: [{name: a}]}]}", "spec.rules[0].matches[0].path", "path: must not have //, /./, /../ or %2F"},
	{"AIRoute", "{rules: [{matches: [{path: {value: '/v1/..a/b%20c'}}, {path: {type: RegularExpression, value: '.*//[a#]'}}, {path: {}}], backendRefs: [{name: a}]}]}", "", ""},
}

func TestRules(t *testing.T) {
	c := startCluster(t)
	base := map[string]map[string]any{"AIBackend": read(t, openAI), "AIRoute": read(t, oneTo), "AIAccessPolicy": read(t, access)}
	for _, tt := range rules {
		causes := tryCreate(t, c, tt.kind, merge(base[tt.kind], read(t, tt.spec)))
		switch {
		case tt.want == "" && len(causes) > 0:
			t.Errorf("%s %s is refused: %v", tt.kind, tt.spec, causes)
		case tt.want != "" && !says(causes, tt.field, tt.want):
			t.Errorf("%s %s: %v, want %s: %s", tt.kind, tt.spec, causes, tt.field, tt.want)
		}
	}
}

// TestRulesAreTried: every rule that a definition has of its own refuses something above.
func TestRulesAreTried(t *testing.T) {
	refuses := map[string]bool{}
	for _, tt := range rules {
		refuses[tt.want] = true
	}
	paths, err := filepath.Glob(definitions + "/*.yaml")
	if err != nil || len(paths) != 3 {
		t.Fatalf("%d definitions: %v", len(paths), err)
	}
	// The rules of Gateway API's own types begin in words of their own.
	own := regexp.MustCompile(`^[a-zA-Z]+: `)
	n := 0
	var walk func(any)
	walk = func(x any) {
		switch x := x.(type) {
		case []any:
			for _, v := range x {
				walk(v)
			}
		case map[string]any:
			for key, v := range x {
				if key != "x-kubernetes-validations" {
					walk(v)
					continue
				}
				for _, rule := range v.([]any) {
					message, _, _ := unstructured.NestedString(rule.(map[string]any), "message")
					if !own.MatchString(message) {
						continue
					}
					n++
					if !refuses[message] {
						t.Errorf("nothing is refused because %q", message)
					}
				}
			}
		}
	}
	for _, p := range paths {
		data, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		var x any
		if err := yaml.Unmarshal(data, &x); err != nil {
			t.Fatal(err)
		}
		walk(x)
	}
	if n < 24 {
		t.Errorf("only %d rules were found", n)
	}
}
