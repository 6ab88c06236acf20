package airoute

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// faults are all problems of a Result but those of routes to broken backends.
func faults(r *Result) string {
	var all []string
	add := func(name string, problems []Problem) {
		for _, p := range problems {
			if p.Reason != ReasonBackend {
				all = append(all, fmt.Sprintf("%s %s/%s %s: %s", name, p.Condition, p.Reason, p.Field, p.Message))
			}
		}
	}
	for _, n := range sortedNames(r.Backends) {
		add(n.Name, r.Backends[n].Problems)
	}
	for _, n := range sortedNames(r.Routes) {
		add(n.Name, r.Routes[n].Problems)
	}
	for _, n := range sortedNames(r.Direct) {
		add(n.Name, r.Direct[n].Problems)
	}
	return strings.Join(all, "\n")
}

func served(t testing.TB) string {
	t.Helper()
	text, err := os.ReadFile("testdata/compile/served.txt")
	if err != nil {
		t.Fatal(err)
	}
	objects, _, _ := strings.Cut(string(text), resultMark)
	return objects
}

func TestProblems(t *testing.T) {
	const (
		grant  = "which must allow it: create a ReferenceGrant in namespace ml from group "
		openai = "destination: {type: Hostname, hostname: {host: api.openai.com}}"
		toVLLM = "destination: {type: Service, service: {name: vllm, namespace: ml, port: 8000}}\n---"
		toPool = "destination: {type: InferencePool, inferencePool: {name: shared, namespace: ml}}"
	)
	base := served(t)
	for _, tt := range []struct{ old, new, want string }{
		{"", "", ""},
		// AIBackends in themselves.
		{"schema: {name: OpenAI}", "schema: {name: Open}", "openai Accepted/Invalid spec.schema.name: must be OpenAI, AzureOpenAI, Anthropic, AWSBedrock, AWSAnthropic, GCPVertexAI, GCPAnthropic or Cohere"},
		{"schema: {name: OpenAI}", "schema: {name: OpenAI, pathPrefix: v1}", "openai Accepted/Invalid spec.schema.pathPrefix: must be a path as in /v1"},
		{"schema: {name: OpenAI}", "schema: {name: OpenAI, version: a/b}", "openai Accepted/Invalid spec.schema.version: must be of letters, digits, dashes and dots"},
		{openai, "destination: {type: Hostname}", "openai Accepted/Invalid spec.destination.hostname: must be set for type Hostname, and nothing else"},
		{openai, "destination: {type: Service}", "openai Accepted/Invalid spec.destination.service: must be set for type Service, and nothing else"},
		{openai, "destination: {type: InferencePool}", "openai Accepted/Invalid spec.destination.inferencePool: must be set for type InferencePool, and nothing else"},
		{openai, "destination: {type: Moon}", "openai Accepted/Invalid spec.destination.type: must be Hostname, Service or InferencePool"},
		{"host: api.openai.com", "host: https://api.openai.com", "openai Accepted/Invalid spec.destination.hostname.host: must be a DNS name or an IP address, without scheme, port and path"},
		{"host: api.openai.com", "host: api.openai.com, port: 0", "openai Accepted/Invalid spec.destination.hostname.port: must be 1 to 65535"},
		{"host: api.openai.com", "host: LocalHost.", "openai Accepted/UnsupportedValue spec.destination.hostname.host: would lead to the gateway's own machine; name another host, or a Service"},
		{"host: api.openai.com", "host: 127.1.2.3", "openai Accepted/UnsupportedValue spec.destination.hostname.host: would lead to the gateway's own machine; name another host, or a Service"},
		{"host: api.openai.com", "host: '::ffff:169.254.169.254'", "openai Accepted/UnsupportedValue spec.destination.hostname.host: would lead to the gateway's own machine; name another host, or a Service"},
		{"host: api.openai.com", "host: 10-0-0-1.ml.pod.cluster.local", "openai Accepted/UnsupportedValue spec.destination.hostname.host: is a name within the cluster and not a Service's; use destination type Service"},
		{"host: api.openai.com", "host: s.kube-system.svc.", `openai ResolvedRefs/RefNotPermitted spec.destination.hostname.host: Service kube-system/s is in another namespace, which must allow it: create a ReferenceGrant in namespace kube-system from group "fairway.dev", kind AIBackend, namespace default to group "", kind Service`},
		{"host: api.openai.com", "host: s.default.svc", ""},
		{"tls: {mode: None}", "tls: {mode: Some}", "by-name Accepted/Invalid spec.tls.mode: must be Verify, Insecure or None"},
		{"serverName: vllm", "serverName: v/m", "service-tls Accepted/Invalid spec.tls.serverName: must be a DNS name"},
		{"serverName: vllm", "mode: Insecure", "service-tls Accepted/Invalid spec.tls.caCertificateRefs: only mode Verify checks certificates"},
		{"tls: {mode: Insecure}\n  cred", "headers: {add: [{name: Content-Length, value: a}]}\n  cred", "open Accepted/Invalid spec.headers.add[0].name: is not the name of a header that can be changed"},
		{"{name: X-More, value: b}", `{name: X-More, value: "b\nc"}`, "openai Accepted/Invalid spec.headers.add[0].value: must be one line"},
		{"[X-Gone]", "[x-fairway-route]", "openai Accepted/Invalid spec.headers.remove[0]: is not the name of a header that can be changed"},
		{"name: service_tier", "name: model", "openai Accepted/Invalid spec.body.set[0].name: model cannot be changed here; set model in the AIRoute's backendRefs"},
		{"remove: [user]", "remove: [stream]", "openai Accepted/Invalid spec.body.remove[0]: stream cannot be changed; the client says how it reads the answer"},
		{"remove: [user]", "remove: [service_tier]", "openai Accepted/Invalid spec.body.remove[0]: must be the name of a field, each only once"},
		{`' "flex" '`, "flex", `openai Accepted/Invalid spec.body.set[0].value: must be JSON of at most 4096 bytes, as in "text" with the quotes, true or 3`},
		{toPool, toPool + "\n  tls: {mode: None}", "pool Accepted/UnsupportedValue spec.tls: pods of an InferencePool are reached without TLS; remove it"},
		// Credentials.
		{"type: FromRequestHeader, fromRequestHeader: {name: X-Key}", "type: FromRequestHeader", "open Accepted/Invalid spec.credentials.type: must be APIKey, AWS, Azure, GCP or FromRequestHeader, and just the part of that type must be there"},
		{"{name: X-Key}", "{name: X-Fairway-Route}", "open Accepted/Invalid spec.credentials.fromRequestHeader.name: is not the name of a header that can be changed"},
		{"{name: X-Key}", `{name: X-Key, header: X-Other, prefix: "a\n"}`, "open Accepted/Invalid spec.credentials.fromRequestHeader.prefix: must be one line of at most 64 characters"},
		{"schema: {name: AzureOpenAI}", "schema: {name: OpenAI}", "azure Accepted/Invalid spec.credentials.type: Azure does not go with schema OpenAI"},
		{"schema: {name: AzureOpenAI}", "schema: {name: GCPAnthropic}", "azure Accepted/Invalid spec.credentials: schema GCPAnthropic needs type GCP, which names project and location"},
		{"region: eu-west-1, secretRef", "region: '', secretRef", "bedrock Accepted/Invalid spec.credentials.aws.region: must be a region as in eu-west-1"},
		{"profile: p, roleARN", "webIdentityTokenFile: /f, roleARN", "bedrock Accepted/Invalid spec.credentials.aws.webIdentityTokenFile: needs roleARN, and goes without secretRef"},
		{"aws: {region: eu-west-1}}", "aws: {region: eu-west-1, profile: p, roleARN: a, webIdentityTokenFile: /f}}", "own Accepted/Invalid spec.credentials.aws.profile: goes without webIdentityTokenFile; remove one of them"},
		{"{tenantID: t, clientID", "{clientID", "azure Accepted/Invalid spec.credentials.azure: secretRef needs tenantID and clientID"},
		{"project: p", "project: p/q", "vertex Accepted/Invalid spec.credentials.gcp: project and location must be there, as in my-project and global"},
		{"apiKey: {secretRef: {name: keys}}", "apiKey: {secretRef: {name: gone}}", "openai ResolvedRefs/SecretNotFound spec.credentials.apiKey.secretRef.name: there is no Secret default/gone; create it, with the entry apiKey"},
		{"apiKey: {secretRef: {name: keys}}", "apiKey: {secretRef: {name: keys, key: k}}", "openai ResolvedRefs/SecretNotFound spec.credentials.apiKey.secretRef.key: Secret default/keys has no entry k, or it is empty; add it, or name another one (the default is apiKey)"},
		{"client-secret: y", "client-secret: ''", "azure ResolvedRefs/SecretNotFound spec.credentials.azure.secretRef.key: Secret default/keys has no entry client-secret, or it is empty; add it, or name another one (the default is client-secret)"},
		{"service_account.json: ", "other: ", "vertex ResolvedRefs/SecretNotFound spec.credentials.gcp.secretRef.key: Secret default/keys has no entry service_account.json, or it is empty; add it, or name another one (the default is service_account.json)"},
		{"region: eu-west-1, secretRef: {name: keys, key: aws}", "region: eu-west-1", "bedrock ResolvedRefs/IdentityNotPermitted spec.credentials.aws: without secretRef, the gateway's own identity is used, and namespace default may not use it; set secretRef, or add the namespace to the chart's value gateway.ownIdentityNamespaces"},
		{"azure: {tenantID: t, clientID: c, secretRef: {name: keys}}", "azure: {}", "azure ResolvedRefs/IdentityNotPermitted spec.credentials.azure: without secretRef, the gateway's own identity is used, and namespace default may not use it; set secretRef, or add the namespace to the chart's value gateway.ownIdentityNamespaces"},
		{"location: global, secretRef: {name: keys}", "location: global", "vertex ResolvedRefs/IdentityNotPermitted spec.credentials.gcp: without secretRef, the gateway's own identity is used, and namespace default may not use it; set secretRef, or add the namespace to the chart's value gateway.ownIdentityNamespaces"},
		// What AIBackends name.
		{toVLLM, strings.Replace(toVLLM, "8000", "9", 1), "service ResolvedRefs/BackendNotFound spec.destination.service.port: Service ml/vllm has no TCP port 9; name one that it has"},
		{toVLLM, strings.Replace(toVLLM, "8000", "8000, endpointPicker: {name: epp}", 1), "service ResolvedRefs/BackendNotFound spec.destination.service.endpointPicker.name: there is no Service ml/epp; create it, or correct the reference; until then the failure mode applies"},
		{toVLLM, strings.Replace(toVLLM, "name: vllm", "name: gone", 1), "service ResolvedRefs/BackendNotFound spec.destination.service.name: there is no Service ml/gone; create it, or correct the reference"},
		{"{ports: [{port: 8000}]}", "{type: ExternalName, externalName: evil.example}", "service Accepted/UnsupportedValue spec.destination.service.name: Service ml/vllm is of type ExternalName; use destination type Hostname\n" +
			"service-tls Accepted/UnsupportedValue spec.destination.service.name: Service ml/vllm is of type ExternalName; use destination type Hostname"},
		{"{ports: [{port: 8000}]}", "{ports: [{port: 8000, protocol: UDP}]}", "service ResolvedRefs/BackendNotFound spec.destination.service.port: Service ml/vllm has no TCP port 8000; name one that it has\n" +
			"service-tls ResolvedRefs/BackendNotFound spec.destination.service.port: Service ml/vllm has no TCP port 8000; name one that it has"},
		{"inferencePool: {name: shared", "inferencePool: {name: gone", "pool ResolvedRefs/BackendNotFound spec.destination.inferencePool.name: there is no InferencePool ml/gone; create it, or correct the reference"},
		{"kind: ConfigMap, name: ca", "kind: ConfigMap, name: gone", "service-tls ResolvedRefs/CertificateNotFound spec.tls.caCertificateRefs[0].name: there is no ConfigMap default/gone with an entry ca.crt; create it, or correct the reference"},
		{"{kind: Secret, name: ca", "{kind: Secret, name: keys", "service-tls ResolvedRefs/CertificateNotFound spec.tls.caCertificateRefs[1].name: there is no Secret default/keys with an entry ca.crt; create it, or correct the reference"},
		{"stringData:\n  ca.crt: |\n    CERTIFICATE-HERE", "stringData:\n  ca.crt: |\n    -----BEGIN CERTIFICATE-----\n    AAAA\n    -----END CERTIFICATE-----", "service-tls ResolvedRefs/CertificateNotFound spec.tls.caCertificateRefs[1].name: ca.crt of Secret default/ca must be certificates in PEM, and nothing else"},
		{"{kind: Secret, name: ca", "{kind: Ca, name: ca", "service-tls ResolvedRefs/InvalidKind spec.tls.caCertificateRefs[1].kind: must be ConfigMap or Secret"},
		{"{kind: ConfigMap, name: ca, group: \"\"}", "{kind: ConfigMap, name: ca, group: apps}", "service-tls ResolvedRefs/InvalidKind spec.tls.caCertificateRefs[0].group: must be empty"},
		{"- {group: \"\", kind: Service}", "- {group: x, kind: Service}", "by-name ResolvedRefs/RefNotPermitted spec.destination.hostname.host: Service ml/vllm is in another namespace, " + grant + `"fairway.dev", kind AIBackend, namespace default to group "", kind Service` + "\n" +
			"service ResolvedRefs/RefNotPermitted spec.destination.service.namespace: Service ml/vllm is in another namespace, " + grant + `"fairway.dev", kind AIBackend, namespace default to group "", kind Service` + "\n" +
			"service-tls ResolvedRefs/RefNotPermitted spec.destination.service.namespace: Service ml/vllm is in another namespace, " + grant + `"fairway.dev", kind AIBackend, namespace default to group "", kind Service`},
		{"kind: AIBackend, name: open}\n    -", "kind: AIBackend, name: shut}\n    -", "young ResolvedRefs/RefNotPermitted spec.rules[2].backendRefs[1].namespace: AIBackend ml/open is in another namespace, " + grant + `"fairway.dev", kind AIRoute, namespace default to group "fairway.dev", kind AIBackend` + "\n" +
			"direct ResolvedRefs/RefNotPermitted spec.rules[1].backendRefs[1].namespace: AIBackend ml/open is in another namespace, " + grant + `"gateway.networking.k8s.io", kind HTTPRoute, namespace default to group "fairway.dev", kind AIBackend`},
		{"{group: fairway.dev, kind: AIBackend, namespace: default}", "{group: fairway.dev, kind: AIBackend, namespace: other}", "by-name ResolvedRefs/RefNotPermitted spec.destination.hostname.host: Service ml/vllm is in another namespace, " + grant + `"fairway.dev", kind AIBackend, namespace default to group "", kind Service` + "\n" +
			"pool ResolvedRefs/RefNotPermitted spec.destination.inferencePool.namespace: InferencePool ml/shared is in another namespace, " + grant + `"fairway.dev", kind AIBackend, namespace default to group "inference.networking.k8s.io", kind InferencePool` + "\n" +
			"service ResolvedRefs/RefNotPermitted spec.destination.service.namespace: Service ml/vllm is in another namespace, " + grant + `"fairway.dev", kind AIBackend, namespace default to group "", kind Service` + "\n" +
			"service-tls ResolvedRefs/RefNotPermitted spec.destination.service.namespace: Service ml/vllm is in another namespace, " + grant + `"fairway.dev", kind AIBackend, namespace default to group "", kind Service`},
		// AIRoutes.
		{"name: chain", "name: '1'", "young Accepted/Invalid spec.rules[1].name: must be unique, of letters, digits and dashes; a rule without a name has its number, from 0"},
		{"[{model: {value: m}}", "[{model: {value: ''}}", "young Accepted/Invalid spec.rules[0].matches[0].model.value: must have 1 to 4096 characters"},
		{"[{model: {value: m}}", "[{model: {type: Like, value: m}}", "young Accepted/Invalid spec.rules[0].matches[0].model.type: must be Exact, RegularExpression or Prefix"},
		{"value: /v1/chat/", "value: v1", "young Accepted/Invalid spec.rules[1].matches[0].path.value: must be a path of at most 1024 characters, as in /v1"},
		{`value: "/x/.*"`, `value: "/x/("`, "old Accepted/Invalid spec.rules[0].matches[0].path.value: is not a regular expression"},
		{"headers: [{name: X-Team, value: a}]}", "headers: [{name: x-fairway-route, value: a}]}", "young Accepted/Invalid spec.rules[0].matches[1].headers[0].name: must be a header that clients send"},
		{"weight: 7", "weight: -1", "young Accepted/Invalid spec.rules[0].backendRefs[1].weight: must be 0 to 1000000"},
		{"priority: 2", "priority: 32", "young Accepted/Invalid spec.rules[0].backendRefs[4].priority: must be 0 to 31"},
		{"model: small", "model: " + strings.Repeat("a", 257), "young Accepted/Invalid spec.rules[0].backendRefs[4].model: must have at most 256 characters"},
		{"kind: InferencePool, name: local}", "kind: InferencePool, name: shared, namespace: ml}", "young Accepted/UnsupportedValue spec.rules[0].backendRefs: InferencePool ml/shared has several models, which it can only where all are of the first priority; make an AIBackend of the pool for the others"},
		{"kind: InferencePool, name: local}", "kind: InferencePool, name: local}\n        - {group: inference.networking.k8s.io, kind: InferencePool, name: local, model: x}", ""},
		{"attempts: 2", "attempts: 33", "young Accepted/Invalid spec.rules[0].fallback.attempts: must be 0 to 32"},
		{`"5xx"`, `"500"`, "young Accepted/Invalid spec.rules[0].fallback.when[0]: must be ConnectFailure, 5xx, 429, NoEndpoints, Saturated or PickerUnavailable"},
		{"firstByteTimeout: 5s", "firstByteTimeout: 25h", "young Accepted/Invalid spec.rules[0].fallback.firstByteTimeout: must be a duration of at most a day, as in 30s"},
		{"{request: 1m}", "{request: 1m, backendRequest: 1s}", "young Accepted/Invalid spec.rules[0].fallback.firstByteTimeout: means the same as timeouts.backendRequest; remove one of them"},
		{"backendRequest: 3s", "request: 2s, backendRequest: 3s", "young Accepted/Invalid spec.rules[1].timeouts.backendRequest: must not be longer than timeouts.request"},
		{"backendRefs: [{name: vertex}", "backendRefs: [{name: vertex, kind: InferencePool}", "young ResolvedRefs/InvalidKind spec.rules[1].backendRefs[0].group: must be inference.networking.k8s.io for an InferencePool"},
		{"value: /v1/chat/}}, {path: {type: Exact, value: /v1/messages}}", "value: /v1/completions}}", "young Accepted/UntranslatableSchema spec.rules[1].backendRefs[0].name: AIBackend default/vertex of schema GCPVertexAI answers none of the paths that the rule matches; match others, or name another backend"},
		{"value: /v1/chat/", "value: /elsewhere", ""},
		// HTTPRoutes.
		{"timeouts: {request: 10s, backendRequest: 2s}", "timeouts: {request: x}", "direct Accepted/Invalid spec.rules[1].timeouts.request: must be a duration of at most a day, as in 30s"},
	} {
		if !strings.Contains(base, tt.old) {
			t.Fatalf("%q is not among the objects", tt.old)
		}
		if got := faults(Compile(world(t, strings.Replace(base, tt.old, tt.new, 1)))); got != tt.want {
			t.Errorf("%s: got\n%s\nwant\n%s", tt.new, got, tt.want)
		}
	}
}
