package envoy

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestRunConfiguration: what an EndpointPickerConfig, InferenceObjectives and
// InferenceModelRewrites say counts in fairway run as in a cluster, and edits of the
// objects, too.
func TestRunConfiguration(t *testing.T) {
	release := make(chan struct{})
	b := newBackend(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("x-slow") != "" {
			<-release
		}
		w.Header().Set("content-type", "application/json")
		_, _ = io.WriteString(w, `{"model":"sent"}`)
	})
	host, port, _ := strings.Cut(b.addr, ":")
	dir := t.TempDir()
	file, config := filepath.Join(dir, "pool.yaml"), filepath.Join(dir, "config.yaml")
	write := func(path, text string) {
		t.Helper()
		if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
	}
	objects := func(to string) string {
		return fmt.Sprintf(`
apiVersion: inference.networking.k8s.io/v1
kind: InferencePool
metadata: {name: llama, namespace: default}
spec: {targetPorts: [{number: %s}], selector: {matchLabels: {app: llama}}}
---
apiVersion: llm-d.ai/v1alpha2
kind: InferenceObjective
metadata: {name: batch, namespace: default}
spec: {priority: -1, poolRef: {name: llama}}
---
apiVersion: llm-d.ai/v1alpha2
kind: InferenceModelRewrite
metadata: {name: alias, namespace: default}
spec:
  poolRef: {name: llama}
  rules:
  - matches: [{model: {value: asked}}]
    targets: [{modelRewrite: %s}]
---
endpoints: [{name: a, namespace: default, address: %s, port: %s, labels: {app: llama}}]
`, port, to, host, port)
	}
	write(file, objects("sent"))
	write(config, `
plugins:
- {type: concurrency-detector, parameters: {maxConcurrency: 1}}
- {type: queue-scorer}
flowControl: {saturationDetector: {pluginRef: concurrency-detector}}
dataLayer: {injectDefaults: false}
`)
	p := startProgram(t, "-f", file, "--config-file", config)
	ask := func(headers ...string) (int, string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), "POST", p.url+chat, strings.NewReader(`{"model":"asked","messages":[{"role":"user","content":"hi"}]}`))
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i < len(headers); i += 2 {
			req.Header.Set(headers[i], headers[i+1])
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, string(body)
	}
	if status, body := ask(); status != 200 || body != `{"model":"asked"}` {
		t.Fatalf("status %d %s\n%s", status, body, p.out)
	}
	if _, body, _ := b.last(); !strings.Contains(string(body), `"model":"sent"`) {
		t.Errorf("the server got %s", body)
	}
	const objective = "x-llm-d-inference-objective"
	if status, body := ask(objective, "batch"); status != 200 {
		t.Errorf("a batch request to an idle pool: %d %s", status, body)
	}
	slow := make(chan int)
	go func() {
		status, _ := ask("x-slow", "1")
		slow <- status
	}()
	eventually(t, "a batch request is refused while another runs", func() error {
		if status, body := ask(objective, "batch"); status != 429 {
			return fmt.Errorf("%d %s", status, body)
		}
		return nil
	})
	close(release)
	if status := <-slow; status != 200 {
		t.Errorf("the slow request: %d", status)
	}
	write(file, objects("other"))
	eventually(t, "the edit counts", func() error {
		ask()
		if _, body, _ := b.last(); !strings.Contains(string(body), `"model":"other"`) {
			return fmt.Errorf("the server got %s", body)
		}
		return nil
	})
	p.signal(os.Interrupt)
	p.ended()
}
