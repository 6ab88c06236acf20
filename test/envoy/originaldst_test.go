package envoy

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fairway-ai/fairway/test/realenvoy"
)

// TestOriginalDestination puts fairway epp with its default policy behind an Envoy whose
// cluster is ORIGINAL_DST: such a cluster takes one endpoint, and no list of them.
func TestOriginalDestination(t *testing.T) {
	envoy := realenvoy.Path(t)
	fairway, err := binary.build()
	if err != nil {
		t.Fatal(err)
	}
	bootstrap, err := os.ReadFile("../../examples/prefill-decode/envoy.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, fact := range []string{"type: ORIGINAL_DST", "use_http_header: true", "http_header_name: x-gateway-destination-endpoint"} {
		if !strings.Contains(string(bootstrap), fact) {
			t.Fatalf("the example has no %s", fact)
		}
	}
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	endpoints := "endpoints:\n"
	var servers [2]*backend
	for i := range servers {
		servers[i] = newBackend(t, nil)
		host, port, _ := strings.Cut(servers[i].addr, ":")
		endpoints += fmt.Sprintf("- {name: server-%d, address: %s, port: %q}\n", i, host, port)
	}
	file := write("endpoints.yaml", endpoints)
	for _, test := range []struct {
		args []string
		want int
	}{
		{[]string{"--max-destinations=1"}, http.StatusOK},
		{nil, http.StatusServiceUnavailable},
	} {
		t.Run(fmt.Sprint(test.args), func(t *testing.T) {
			gateway, picker := freePort(t), freePort(t)
			text := strings.NewReplacer("port_value: 8080", "port_value: "+gateway, "port_value: 9002", "port_value: "+picker).Replace(string(bootstrap))
			background(t, fairway, append([]string{"epp", "--endpoints-file", file, "--secure-serving=false", "--grpc-port", picker, "--grpc-health-port", "0", "--metrics-port", "0"}, test.args...)...)
			background(t, envoy, "--config-path", write("envoy"+picker+".yaml", text), "--disable-hot-restart", "--log-level", "error", "--concurrency", "1")
			ask := func() (int, error) {
				c := http.Client{Timeout: 10 * time.Second}
				resp, err := c.Post("http://127.0.0.1:"+gateway+chat, "application/json", strings.NewReader(`{"model":"m","messages":[{"role":"user","content":"hi"}]}`))
				if err != nil {
					return 0, err
				}
				defer resp.Body.Close()
				return resp.StatusCode, nil
			}
			// Before both are up the gateway refuses connections, or answers 500.
			eventually(t, fmt.Sprintf("status %d", test.want), func() error {
				status, err := ask()
				if err == nil && status != test.want {
					err = fmt.Errorf("status %d", status)
				}
				return err
			})
			for range 5 {
				if status, err := ask(); status != test.want || err != nil {
					t.Fatalf("status %d, %v; want %d", status, err, test.want)
				}
			}
		})
	}
}
