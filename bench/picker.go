package bench

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// unscraped is an EndpointPickerConfig that keeps the default policy and reads no
// metrics.
const unscraped = `{"apiVersion": "llm-d.ai/v1alpha1", "kind": "EndpointPickerConfig", "dataLayer": {"injectDefaults": false}}`

// startPicker starts "fairway epp" on a socket in dir. name must be unique there.
func startPicker(ctx context.Context, self, dir, name string, endpoints []string, extra ...string) (*child, string, error) {
	var list strings.Builder
	list.WriteString("endpoints:\n")
	for i, e := range endpoints {
		host, port, ok := strings.Cut(e, ":")
		if !ok {
			return nil, "", fmt.Errorf("endpoint %q is not ip:port", e)
		}
		fmt.Fprintf(&list, "  - {name: server-%d, address: %q, port: %q}\n", i, host, port)
	}
	file := filepath.Join(dir, name+".yaml")
	if err := os.WriteFile(file, []byte(list.String()), 0o600); err != nil {
		return nil, "", fmt.Errorf("the picker's endpoints: %w", err)
	}
	socket := filepath.Join(dir, name+".sock")
	args := append([]string{
		"epp", "--endpoints-file", file, "--grpc-uds", socket, "--secure-serving=false",
		"--grpc-port", "0", "--grpc-health-port", "0", "--metrics-port", "0", "--zap-log-level", "error",
	}, extra...)
	c, err := startChild(ctx, socket, self, args...)
	return c, socket, err
}
