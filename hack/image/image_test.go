package main

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"log"
	"maps"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

// pretend stands for the Go compiler.
func pretend(_ context.Context, p v1.Platform, version, path string) error {
	return os.WriteFile(path, []byte("binary "+version+" for "+p.String()), 0o600)
}

// image runs the command with a file of authorities of its own.
func image(t *testing.T, args ...string) (string, error) {
	t.Helper()
	ca := filepath.Join(t.TempDir(), "ca.crt")
	if err := os.WriteFile(ca, []byte("authorities"), 0o600); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	err := run(t.Context(), append([]string{"--ca-certificates", ca}, args...), &out, pretend)
	return out.String(), err
}

func mustImage(t *testing.T, args ...string) string {
	t.Helper()
	out, err := image(t, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// contents lists the files of an image: mode, owner and what is in it or where it leads.
func contents(t *testing.T, img v1.Image) map[string]string {
	t.Helper()
	r := mutate.Extract(img)
	defer func() { _ = r.Close() }()
	files := map[string]string{}
	for tr := tar.NewReader(r); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(tr)
		if err != nil {
			t.Fatal(err)
		}
		if h.Uid != 0 || h.Gid != 0 || h.ModTime.Unix() != 0 {
			t.Errorf("%s: owner %d:%d, time %v", h.Name, h.Uid, h.Gid, h.ModTime)
		}
		files[strings.Trim(h.Name, "/")] = h.FileInfo().Mode().String() + " " + h.Linkname + string(b)
	}
}

func checkImage(t *testing.T, img v1.Image, platform string) {
	t.Helper()
	if err := validate.Image(img); err != nil {
		t.Error(err)
	}
	files := contents(t, img)
	for path, want := range map[string]string{
		"fairway":                           "-rwxr-xr-x binary v1 for " + platform,
		"epp":                               "Lrwxrwxrwx fairway",
		"lwepp":                             "Lrwxrwxrwx fairway",
		"tmp":                               "dtrwxrwxrwx ",
		"etc/ssl/certs/ca-certificates.crt": "-rw-r--r-- authorities",
	} {
		if files[path] != want {
			t.Errorf("%s is %q, want %q", path, files[path], want)
		}
	}
	if !strings.Contains(files["etc/passwd"], "nonroot:x:65532:65532:") || len(files) != 11 {
		t.Errorf("files %q", slices.Sorted(maps.Keys(files)))
	}
	c, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if c.Config.User != "65532:65532" || !slices.Equal(c.Config.Entrypoint, []string{"/fairway"}) ||
		c.OS+"/"+c.Architecture != platform || c.Created.Unix() != 0 || c.Config.Labels["org.opencontainers.image.version"] != "v1" {
		t.Errorf("config %+v", c)
	}
}

func TestDockerArchive(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fairway.tar")
	out := mustImage(t, "--tag", "example.com/fairway:v1", "--version", "v1", "--platform", "linux/arm64", "--output", path)
	tag, err := name.NewTag("example.com/fairway:v1")
	if err != nil {
		t.Fatal(err)
	}
	img, err := tarball.ImageFromPath(path, &tag)
	if err != nil {
		t.Fatal(err)
	}
	checkImage(t, img, "linux/arm64")
	// The digest is the one that a registry would have; an archive has another manifest.
	if !strings.Contains(out, "example.com/fairway@sha256:") {
		t.Errorf("said %q", out)
	}
}

func TestLayout(t *testing.T) {
	dir := t.TempDir()
	out := mustImage(t, "--tag", "example.com/fairway:v1", "--version", "v1", "--output", dir)
	index, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	m, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	if len(m.Manifests) != 1 || m.Manifests[0].Annotations["io.containerd.image.name"] != "example.com/fairway:v1" {
		t.Fatalf("index %+v", m)
	}
	if !strings.Contains(out, m.Manifests[0].Digest.String()) {
		t.Errorf("said %q, wrote %s", out, m.Manifests[0].Digest)
	}
	platforms, err := index.ImageIndex(m.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	checkPlatforms(t, platforms)
}

func checkPlatforms(t *testing.T, index v1.ImageIndex) {
	t.Helper()
	m, err := index.IndexManifest()
	if err != nil || len(m.Manifests) != 2 {
		t.Fatalf("index %+v: %v", m, err)
	}
	for i, platform := range []string{"linux/amd64", "linux/arm64"} {
		if got := m.Manifests[i].Platform.String(); got != platform {
			t.Errorf("platform %s, want %s", got, platform)
		}
		img, err := index.Image(m.Manifests[i].Digest)
		if err != nil {
			t.Fatal(err)
		}
		checkImage(t, img, platform)
	}
}

func TestSameBytesTwice(t *testing.T) {
	for _, args := range [][]string{{"--platform", "linux/amd64"}, {"--format", "oci"}} {
		var written [2][]byte
		for i := range written {
			path := filepath.Join(t.TempDir(), "fairway.tar")
			mustImage(t, append(args, "--output", path)...)
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			written[i] = b
		}
		if len(written[0]) == 0 || !bytes.Equal(written[0], written[1]) {
			t.Errorf("%v: two runs differ", args)
		}
	}
}

func TestPushAndBase(t *testing.T) {
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	defer server.Close()
	host := strings.TrimPrefix(server.URL, "http://")
	mustImage(t, "--tag", host+"/fairway:v1", "--version", "v1", "--push", "--plain-http")
	ref, err := name.ParseReference(host + "/fairway:v1")
	if err != nil {
		t.Fatal(err)
	}
	index, err := remote.Index(ref)
	if err != nil {
		t.Fatal(err)
	}
	checkPlatforms(t, index)

	base, err := random.Image(64, 2)
	if err != nil {
		t.Fatal(err)
	}
	if ref, err = name.ParseReference(host + "/base:v1"); err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref, base); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "fairway.tar")
	mustImage(t, "--base", host+"/base:v1", "--plain-http", "--platform", "linux/amd64", "--output", path)
	img, err := tarball.ImageFromPath(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	if len(layers) != 3 {
		t.Errorf("%d layers, want the base's two and the program's", len(layers))
	}
}

func TestMistakes(t *testing.T) {
	for args, want := range map[string]string{
		"":                                  "nothing to do",
		"-o x.tar more":                     "flags only",
		"-o x.tar --format docker":          "holds one platform",
		"-o x --platform linux/amd64":       "must end in .tar",
		"-o x --format zip":                 "must be docker or oci",
		"-o x.tar --platform windows/amd64": "must be linux/",
		"-o x.tar --tag Bad:Tag":            "--tag",
		"-o x.tar --base http://x":          "--base",
		"-o /nonexistent/x.tar --platform linux/amd64": "--output",
		"-o x.tar --ca-certificates /nonexistent":      "nonexistent",
		"-o x.tar --no-such-flag":                      "no-such-flag",
	} {
		t.Chdir(t.TempDir())
		if _, err := image(t, strings.Fields(args)...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want one that says %q", args, err, want)
		}
	}
}

// TestBuild compiles for real, twice.
func TestBuild(t *testing.T) {
	const hello = "github.com/fairway-ai/fairway/hack/image/testdata/hello"
	var built [2][]byte
	for i := range built {
		path := filepath.Join(t.TempDir(), "hello")
		if err := build(t.Context(), hello, v1.Platform{OS: runtime.GOOS, Architecture: runtime.GOARCH}, "v1.2.3", path); err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		built[i] = b
		if out, err := exec.Command(path).CombinedOutput(); err != nil || string(out) != "v1.2.3\n" {
			t.Errorf("it says %q: %v", out, err)
		}
	}
	if !bytes.Equal(built[0], built[1]) {
		t.Error("two builds differ")
	}
	wd, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(built[0], []byte(filepath.Dir(filepath.Dir(wd))+"/")) {
		t.Error("the binary holds a path of this machine")
	}
	err = build(t.Context(), hello, v1.Platform{OS: "linux", Architecture: "none"}, "v1", filepath.Join(t.TempDir(), "x"))
	if err == nil || !strings.Contains(err.Error(), "none") {
		t.Errorf("an architecture that does not exist: error %v", err)
	}
}
