package airoute

import (
	"strings"
	"testing"
)

func TestHash(t *testing.T) {
	base := served(t)
	hashes := func(text string) map[string]string {
		r := Compile(world(t, text))
		out := map[string]string{}
		for n, x := range r.Routes {
			out[n.Name] = x.Hash
		}
		for n, x := range r.Direct {
			out[n.Name] = x.Hash
		}
		for name, h := range out {
			if len(h) != 16 {
				t.Fatalf("the hash of %s is %q", name, h)
			}
		}
		return out
	}
	// The texts of certificates differ between worlds; without them, nothing does.
	base = strings.Replace(base, "{name: service-tls}, ", "", 1)
	before := hashes(base)
	for _, tt := range []struct{ old, new, changed string }{
		{"", "", ""},
		// What only the picker and the translators look at.
		{"stringData: {apiKey: sk-1", "stringData: {apiKey: sk-2", ""},
		{"stringData: {apiKey: sk-1", "stringData: {more: x, apiKey: sk-1", ""},
		{"{secretRef: {name: keys}}", "{secretRef: {name: keys, key: aws}}", ""},
		{"generation: 7", "generation: 8", ""},
		{"remove: [user]", "remove: [seed]", ""},
		{"type: TotalToken", "type: InputToken", ""},
		{"hostname: {host: bedrock-runtime", "hostname: {host: other.bedrock-runtime", ""}, // nobody uses it
		// What Envoy must know.
		{"[ai.example.com]", "[ai.example.org]", "young"},
		{"name: chain", "name: links", "young"},
		{"weight: 7", "weight: 8", "young"},
		{"attempts: 2", "attempts: 1", "young"},
		{`["5xx", "429"]`, `["5xx"]`, "young"},
		{`["5xx", "429"]`, `["5xx", "429", Saturated]`, "young"},
		{"firstByteTimeout: 5s", "firstByteTimeout: 6s", "young"},
		{"request: 1m", "request: 2m", "young"},
		{"model: {value: m}", "model: {value: n}", "young"}, // the catalogue
		{"value: /v1/chat/", "value: /v1/chat/completions", "young"},
		{"value: \"/x/.*\"", "value: \"/y/.*\"", "old"},
		{"modelsOwnedBy: us", "modelsOwnedBy: them", "young"},
		{"model: gpt-4o}", "model: gpt-5}", "young"},
		{"[gpt-4o, gpt-4o-mini]", "[gpt-4o]", "old"},
		{"host: api.openai.com", "host: api.openai.org", "direct old young"},
		{"destination: {type: Hostname, hostname: {host: api.openai.com}}", "destination: {type: Hostname, hostname: {host: api.openai.com, port: 444}}", "direct old young"},
		{"destination: {type: Hostname, hostname: {host: api.openai.com}}", "destination: {type: Hostname, hostname: {host: api.openai.com}}\n  tls: {serverName: x}", "direct old young"},
		{"mode: Insecure", "mode: Verify", "direct young"},
		{"failureMode: FailOpen", "failureMode: FailClose", "young"},
		{"{appProtocol: kubernetes.io/h2c}", "{appProtocol: http}", "direct young"},
		{"weight: 9", "weight: 10", "direct"},
		{"request: 10s", "request: 11s", "direct"},
		// What can no longer be served.
		{"{apiKey: sk-1", "{apikey: sk-1", "direct old young"},
		{"metadata: {name: local}\n", "metadata: {name: gone}\n", "young"},
	} {
		if !strings.Contains(base, tt.old) {
			t.Fatalf("%q is not among the objects", tt.old)
		}
		after := hashes(strings.Replace(base, tt.old, tt.new, 1))
		var changed []string
		for _, name := range []string{"direct", "old", "young"} {
			if before[name] != after[name] {
				changed = append(changed, name)
			}
		}
		if got := strings.Join(changed, " "); got != tt.changed {
			t.Errorf("%s for %s changes the hash of %q, want %q", tt.new, tt.old, got, tt.changed)
		}
	}
	// Trust is part of it.
	one, two := hashes(served(t)), hashes(served(t))
	if one["young"] == two["young"] || one["old"] != two["old"] {
		t.Error("another certificate authority must change the hash of those that lead to it, and of nobody else")
	}
}
