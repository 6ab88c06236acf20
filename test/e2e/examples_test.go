package e2e

import (
	"net/http"
	"os"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

var httpClient = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 16}}

// exampleTargets are the hosts that each example serves, and what is to be said of who
// answers: for a prefix of a server's name, the least and most share of the requests.
var exampleTargets = map[string]struct {
	host, model string
	shares      map[string][2]float64
}{
	"pool.yaml":                   {"llama.example.com", "llama", nil},
	"pool-with-picker.yaml":       {"qwen.example.com", "qwen", nil},
	"pool-with-other-picker.yaml": {"gemma.example.com", "gemma", nil},
	"llm-d-epp.yaml":              {"olmo.example.com", "olmo", nil},
	"weighted-pools.yaml": {"mistral.example.com", "mistral", map[string][2]float64{
		"mistral-canary-": {0.15, 0.35}, "mistral-": {0.65, 0.85},
	}},
	"pool-and-service.yaml": {"phi.example.com", "phi", map[string][2]float64{
		"phi-old-": {0.38, 0.62}, "phi-": {0.38, 0.62},
	}},
	"cross-namespace.yaml":   {"granite.example.com", "granite", nil},
	"pool-then-cloud.yaml":   {"command.example.com", "command", nil},
	"limits.yaml":            {"mixtral.example.com", "mixtral", nil},
	"route-to-provider.yaml": {"nova.example.com", "nova", map[string][2]float64{"nova-": {1, 1}}},
}

// TestExamples applies every example and sends it requests.
func TestExamples(t *testing.T) {
	address := newCluster(t).gateway()
	for _, name := range exampleFiles(t) {
		t.Run(name, func(t *testing.T) {
			want, ok := exampleTargets[name]
			if !ok {
				t.Fatal("this example has no test: add it to exampleTargets")
			}
			c := newCluster(t)
			objects := c.apply(name)
			c.available(objects)
			g := target{address: address, host: want.host, model: want.model, tokens: 4}
			c.answers(g)
			outcomes := ask(t, g, 400)
			mustBeFlawless(t, outcomes)
			checkShares(t, servers(outcomes), len(outcomes), want.shares, deploymentNames(objects))
			g.stream = true
			mustBeFlawless(t, ask(t, g, 20))
		})
	}
}

// cloudsExample needs keys and the Internet; see TestClouds.
const cloudsExample = "clouds.yaml"

// accessExample needs a Gateway of its own, and workloads with certificates.
const accessExample = "access-policy.yaml"

// exampleFiles lists the examples but for the Gateway, which all of them use.
func exampleFiles(t *testing.T) []string {
	t.Helper()
	entries, err := os.ReadDir(examples)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".yaml") && e.Name() != "gateway.yaml" && e.Name() != cloudsExample && e.Name() != accessExample {
			names = append(names, e.Name())
		}
	}
	return names
}

// ask sends n requests, some at a time.
func ask(t *testing.T, g target, n int) []outcome {
	t.Helper()
	l := startLoad(t, g, 8)
	l.waitFor(n, patience)
	return l.end()
}

// checkShares compares who answered with what was wanted. A server counts for the
// longest prefix that fits.
func checkShares(t *testing.T, by map[string]int, all int, want map[string][2]float64, deployments []string) {
	t.Helper()
	count := map[string]int{}
	for server, n := range by {
		best, known := "", false
		for prefix := range want {
			if strings.HasPrefix(server, prefix) && len(prefix) > len(best) {
				best = prefix
			}
		}
		count[best] += n
		for _, d := range deployments {
			known = known || strings.HasPrefix(server, d+"-")
		}
		if !known {
			t.Errorf("server %q of none of %v answered %d requests", server, deployments, n)
		}
	}
	for prefix, bounds := range want {
		if share := float64(count[prefix]) / float64(all); share < bounds[0] || share > bounds[1] {
			t.Errorf("%s… answered %.0f%% of %d requests, want %.0f%% to %.0f%%", prefix, 100*share, all, 100*bounds[0], 100*bounds[1])
		}
	}
	if want == nil && len(by) < 2 {
		t.Errorf("only %v answered: the load is not spread", by)
	}
}

func deploymentNames(objects []*unstructured.Unstructured) []string {
	var names []string
	for _, o := range objects {
		if o.GetKind() == "Deployment" {
			names = append(names, o.GetName())
		}
	}
	return names
}
