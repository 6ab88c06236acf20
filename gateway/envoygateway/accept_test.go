package envoygateway

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/fairway-ai/fairway/gateway/xds"
	"github.com/fairway-ai/fairway/test/realenvoy"
)

// Envoy itself accepts every recorded translation.
func TestEnvoyAccepts(t *testing.T) {
	path := realenvoy.Path(t)
	outputs, err := filepath.Glob("testdata/*/output.yaml")
	if err != nil || len(outputs) == 0 {
		t.Fatalf("no outputs: %v", err)
	}
	for _, file := range outputs {
		t.Run(filepath.Base(filepath.Dir(file)), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			config, err := protojson.Marshal(static(t, fromYAML(t, text)))
			if err != nil {
				t.Fatal(err)
			}
			bootstrap := filepath.Join(t.TempDir(), "bootstrap.json")
			if err := os.WriteFile(bootstrap, config, 0o600); err != nil {
				t.Fatal(err)
			}
			out, err := exec.CommandContext(t.Context(), path, "--mode", "validate", "-l", "error", "--config-path", bootstrap).CombinedOutput()
			if err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

// static is a bootstrap with everything inside, because Envoy validates nothing that
// it would have to fetch.
func static(t *testing.T, e envoy) *bootstrapv3.Bootstrap {
	t.Helper()
	b := xds.Bootstrap("/tmp/xds.sock", "/tmp/admin.sock")
	b.DynamicResources.LdsConfig, b.DynamicResources.CdsConfig = nil, nil
	b.StaticResources.Clusters = append(b.StaticResources.Clusters, e.Clusters...)
	b.StaticResources.Listeners = e.Listeners
	for _, l := range e.Listeners {
		for _, chain := range append(l.FilterChains, l.DefaultFilterChain) {
			for _, f := range chain.GetFilters() {
				m := new(hcmv3.HttpConnectionManager)
				if f.GetTypedConfig().UnmarshalTo(m) != nil || m.GetRds() == nil {
					continue
				}
				name := m.GetRds().RouteConfigName
				for _, r := range e.Routes {
					if r.Name == name {
						// The lost share's cluster is not there, and should not be.
						r.ValidateClusters = wrapperspb.Bool(false)
						m.RouteSpecifier = &hcmv3.HttpConnectionManager_RouteConfig{RouteConfig: r}
					}
				}
				packed, err := anypb.New(m)
				if err != nil {
					t.Fatal(err)
				}
				f.ConfigType = &listenerv3.Filter_TypedConfig{TypedConfig: packed}
			}
		}
	}
	return b
}
