package envoygateway

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// feature translates testdata/NAME: what Envoy Gateway made (input.yaml, recorded
// from version 1.9.1) of objects.yaml. The result is compared with output.yaml.
func feature(t *testing.T, name string) (in, out envoy) {
	t.Helper()
	dir := filepath.Join("testdata", name)
	text, err := os.ReadFile(filepath.Join(dir, "input.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	in = fromYAML(t, text)
	o := options(t, objects(t, filepath.Join(dir, "objects.yaml")))
	if ai := aiOf(t, filepath.Join(dir, "objects.yaml")); ai != nil {
		o.AI = ai
	}
	s := newServer(t, o)
	response, result, err := s.translate(context.Background(), in.request())
	if err != nil || result != "ok" {
		t.Fatal(result, err)
	}
	again, _, err := s.translate(context.Background(), in.request())
	if err != nil || !bytes.Equal(response, again) {
		t.Fatal("the same input gave other bytes", err)
	}
	out = decoded(t, decodeResponse(t, response))
	validate(t, out)
	golden(t, filepath.Join(dir, "output.yaml"), toYAML(t, out))
	return in, out
}

func validate(t testing.TB, e envoy) {
	t.Helper()
	for _, m := range e.Clusters {
		if err := m.ValidateAll(); err != nil {
			t.Error(err)
		}
	}
	for _, m := range e.Listeners {
		if err := m.ValidateAll(); err != nil {
			t.Error(err)
		}
	}
	for _, m := range e.Routes {
		if err := m.ValidateAll(); err != nil {
			t.Error(err)
		}
	}
}

func golden(t *testing.T, path string, got []byte) {
	t.Helper()
	if *rewrite {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v (go test -rewrite makes it)", err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s differs; go test -rewrite if that is meant (-want +got):\n%s", path, diff)
	}
}
