// Package realenvoy is what the tests with a real Envoy share: finding the binary,
// and waiting. It must never be imported by the product. Callers: the test packages
// beside it.
package realenvoy

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/fairway-ai/fairway/gateway/standalone"
)

// Path is the absolute path of the binary, or the end of the test: a failure where
// Envoy was promised ($FAIRWAY_ENVOY or $CI is set), a skip elsewhere and under
// -short.
func Path(t *testing.T) string {
	t.Helper()
	if testing.Short() {
		t.Skip("needs a real Envoy")
	}
	given := ""
	if os.Getenv("FAIRWAY_ENVOY") == "" {
		here := filepath.Join("..", "..", "bin", "envoy")
		if _, err := os.Stat(here); err == nil {
			given = here
		}
	}
	path, err := standalone.FindEnvoy(given)
	if err == nil {
		path, err = filepath.Abs(path)
	}
	switch {
	case err == nil:
		return path
	case os.Getenv("FAIRWAY_ENVOY") != "" || os.Getenv("CI") != "":
		t.Fatal(err)
	default:
		t.Skip(err)
	}
	return ""
}

// Eventually waits until f returns nil, for at most the given time.
func Eventually(t *testing.T, patience time.Duration, what string, f func() error) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %v", what, err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}
