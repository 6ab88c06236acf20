package envoy

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// oneProfile picks one endpoint; a gateway that takes the destination from the header
// alone can go to no other.
const oneProfile = `
apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
plugins: [{type: prefix-cache-scorer}, {type: queue-scorer}]
schedulingProfiles:
- name: default
  plugins: [{pluginRef: prefix-cache-scorer, weight: 3}, {pluginRef: queue-scorer}]
`

// ranks starts a server of two ranks, a picker with a configuration and a gateway.
func ranks(t *testing.T, sim, picker string) *guide {
	t.Helper()
	g := openGuide(t, pdPage)
	g.write("one-profile.yaml", oneProfile)
	g.start(g.translate("bin/fairway sim --port 8011 --name rank --data-parallel-size 2" + sim + " &\n" +
		"bin/fairway epp -f examples/prefill-decode/ranks.yaml" + picker + " --grpc-port 9002 --secure-serving=false --grpc-health-port 0 --metrics-port 9090 &\n" +
		"bin/envoy --config-path examples/prefill-decode/envoy.yaml --disable-hot-restart --log-level error &"))
	g.ready()
	return g
}

// both asks until each rank has answered, and checks that the same prompt comes back to
// the same one.
func (g *guide) both() {
	g.t.Helper()
	by := map[string]string{}
	for i := 0; i < 200 && len(by) < 2; i++ {
		p := uncached(fmt.Sprint("conversation ", i))
		a := g.post(p)
		if a.status != 200 {
			g.t.Fatalf("%d %s", a.status, a.body)
		}
		by[a.server()] = p
	}
	if by["rank"] == "" || by["rank-1"] == "" {
		g.t.Fatalf("answered by %d ranks", len(by))
	}
	for server, p := range by {
		if a := g.post(p); a.server() != server || !strings.Contains(a.body, `"cached_tokens":1`) {
			g.t.Errorf("what %s has cached went to %s: %.300s", server, a.server(), a.body)
		}
	}
}

// TestRanksAsEndpoints has the gateway reach every rank's port.
func TestRanksAsEndpoints(t *testing.T) {
	g := ranks(t, "", " --config-file one-profile.yaml")
	g.both()
	// A pool with one of the ports, as the annotation active-ports leaves of a pod.
	path := "examples/prefill-decode/ranks.yaml"
	text, err := os.ReadFile(filepath.Join(g.dir, path))
	if err != nil {
		t.Fatal(err)
	}
	g.write(path, strings.Replace(string(text), "{number: "+g.ports["8011"]+"}, ", "", 1))
	eventually(t, "only the second rank is left", func() error {
		for i := range 10 {
			if a := g.post(uncached(fmt.Sprint("left ", i))); a.server() != "rank-1" {
				return fmt.Errorf("%d by %s", a.status, a.server())
			}
		}
		return nil
	})
}

// TestRanksBehindOnePort has the gateway reach the first port alone, where the sidecar
// is told the rank.
func TestRanksBehindOnePort(t *testing.T) {
	g := ranks(t, " --pd-sidecar", " --config-file examples/prefill-decode/data-parallel.yaml")
	g.both()
	if a := g.post(asking("hello"), "x-data-parallel-host-port", "127.0.0.1:1"); a.status != 200 {
		t.Errorf("the client's header: %d %s", a.status, a.body)
	}
	// Nobody passes requests on without the sidecar, so the ranks do not mix.
	plain := ranks(t, "", " --config-file examples/prefill-decode/data-parallel.yaml")
	for i := range 20 {
		if a := plain.post(uncached(fmt.Sprint("plain ", i))); a.server() != "rank" {
			t.Fatalf("answered by %s", a.server())
		}
	}
}
