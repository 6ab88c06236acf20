// Package kubetest runs an API server for tests: a real kube-apiserver and etcd,
// found in KUBEBUILDER_ASSETS, without any node. Only tests import it.
package kubetest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

// Assets is the environment variable with the folder of kube-apiserver and etcd.
const Assets = "KUBEBUILDER_ASSETS"

// Available tells whether there is an API server to run. Without one, tests are
// skipped, except where CI is set: there they fail.
func Available(t testing.TB) {
	t.Helper()
	if os.Getenv(Assets) != "" {
		return
	}
	const text = "needs kube-apiserver and etcd; name their folder in " + Assets
	if os.Getenv("CI") != "" {
		t.Fatal(text)
	}
	t.Skip(text)
}

// Start runs an API server until the test ends. It knows no InferencePool.
func Start(t testing.TB) *envtest.Environment {
	t.Helper()
	Available(t)
	e := &envtest.Environment{ControlPlaneStartTimeout: time.Minute, ControlPlaneStopTimeout: time.Minute}
	if _, err := e.Start(); err != nil {
		t.Fatalf("starting an API server: %v", err)
	}
	t.Cleanup(func() {
		if err := e.Stop(); err != nil {
			t.Errorf("stopping the API server: %v", err)
		}
	})
	return e
}

// InstallInferencePool installs the InferencePool definition of the module that
// this one is built with.
func InstallInferencePool(t testing.TB, config *rest.Config) {
	t.Helper()
	dir, err := definitions()
	if err != nil {
		t.Fatal(err)
	}
	o := envtest.CRDInstallOptions{Paths: []string{filepath.Join(dir, "inference.networking.k8s.io_inferencepools.yaml")}, ErrorIfPathMissing: true}
	if _, err := envtest.InstallCRDs(config, o); err != nil {
		t.Fatalf("installing the InferencePool definition: %v", err)
	}
}

func definitions() (string, error) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "sigs.k8s.io/gateway-api-inference-extension").Output()
	if err != nil {
		return "", fmt.Errorf("finding the InferencePool definition: %w", err)
	}
	dir := strings.TrimSpace(string(out))
	if dir == "" {
		return "", errors.New("finding the InferencePool definition: its module is not downloaded")
	}
	return filepath.Join(dir, "config", "crd", "bases"), nil
}
