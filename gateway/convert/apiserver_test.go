package convert

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

// TestAPIServer: a real API server with the definitions takes everything that is made,
// with no field that it does not know.
func TestAPIServer(t *testing.T) {
	if os.Getenv("KUBEBUILDER_ASSETS") == "" {
		const text = "needs kube-apiserver and etcd; name their folder in KUBEBUILDER_ASSETS"
		if os.Getenv("CI") != "" {
			t.Fatal(text)
		}
		t.Skip(text)
	}
	gatewayAPI, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "sigs.k8s.io/gateway-api").Output()
	if err != nil {
		t.Fatal(err)
	}
	env := &envtest.Environment{
		CRDDirectoryPaths: []string{
			"../../charts/fairway/files/crds",
			filepath.Join(strings.TrimSpace(string(gatewayAPI)), "config/crd/standard/gateway.networking.k8s.io_referencegrants.yaml"),
		},
		ErrorIfCRDPathMissing: true, ControlPlaneStartTimeout: time.Minute, ControlPlaneStopTimeout: time.Minute,
	}
	t.Cleanup(func() {
		if err := env.Stop(); err != nil {
			t.Error(err)
		}
	})
	config, err := env.Start()
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.New(config, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	spaces := map[string]bool{"default": true}
	for _, dir := range cases(t) {
		for _, u := range decode(t, converted(t, dir, Options{}).YAML) {
			if u.GetNamespace() == "" {
				u.SetNamespace("default")
			}
			if ns := u.GetNamespace(); !spaces[ns] {
				spaces[ns] = true
				if err := c.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ns}}); err != nil {
					t.Fatal(err)
				}
			}
			if err := c.Create(t.Context(), u, client.DryRunAll, client.FieldValidation("Strict")); err != nil {
				t.Errorf("%s: %s %s: %v", dir, u.GetKind(), u.GetName(), err)
			}
		}
	}
	if len(spaces) < 5 {
		t.Errorf("only namespaces %v were seen", spaces)
	}
}
