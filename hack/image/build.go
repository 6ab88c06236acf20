package main

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

const (
	// nonroot is the user and group the image runs as, which distroless images use, too.
	nonroot = 65532
	// maxAuthorities bounds the file of certificate authorities, in bytes.
	maxAuthorities = 8 << 20
)

// names are paths that other pickers' manifests call; each leads to the binary.
var names = []string{"epp", "lwepp"}

// goBuild is the [compiler] of Fairway.
func goBuild(ctx context.Context, p v1.Platform, version, path string) error {
	return build(ctx, "github.com/fairway-ai/fairway/cmd/fairway", p, version, path)
}

// build compiles a package to a static binary that holds no path of this machine.
func build(ctx context.Context, pkg string, p v1.Platform, version, path string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=auto",
		"-ldflags", "-s -w -X main.version="+version, "-o", path, pkg)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS="+p.OS, "GOARCH="+p.Architecture, "GOARM="+goARM(p))
	var messages bytes.Buffer
	cmd.Stdout, cmd.Stderr = &messages, &messages
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%w: %s", err, messages.Bytes())
	}
	return nil
}

func goARM(p v1.Platform) string {
	if p.Architecture == "arm" && len(p.Variant) == 2 {
		return p.Variant[1:] // v7
	}
	return ""
}

// entry is a file, a folder or a link of a layer.
type entry struct {
	name string
	mode int64
	kind byte // of package tar
	link string
	data func() (io.ReadCloser, int64, error)
}

func text(s string) func() (io.ReadCloser, int64, error) {
	return func() (io.ReadCloser, int64, error) {
		return io.NopCloser(bytes.NewReader([]byte(s))), int64(len(s)), nil
	}
}

func onDisk(path string, limit int64) func() (io.ReadCloser, int64, error) {
	return func() (io.ReadCloser, int64, error) {
		f, err := os.Open(path)
		if err != nil {
			return nil, 0, err
		}
		info, err := f.Stat()
		if err == nil && limit > 0 && info.Size() > limit {
			err = fmt.Errorf("%s is longer than %d bytes", path, limit)
		}
		if err != nil {
			return nil, 0, errors.Join(err, f.Close())
		}
		return f, info.Size(), nil
	}
}

// system is what a static program needs of a system.
func system(authorities string) []entry {
	return []entry{
		{name: "etc/", mode: 0o755, kind: tar.TypeDir},
		{name: "etc/group", mode: 0o644, kind: tar.TypeReg, data: text(fmt.Sprintf("root:x:0:\nnonroot:x:%d:\n", nonroot))},
		{name: "etc/nsswitch.conf", mode: 0o644, kind: tar.TypeReg, data: text("hosts: files dns\n")},
		{name: "etc/passwd", mode: 0o644, kind: tar.TypeReg, data: text(fmt.Sprintf("root:x:0:0:root:/:/sbin/nologin\nnonroot:x:%d:%d:nonroot:/:/sbin/nologin\n", nonroot, nonroot))},
		{name: "etc/ssl/", mode: 0o755, kind: tar.TypeDir},
		{name: "etc/ssl/certs/", mode: 0o755, kind: tar.TypeDir},
		{name: "etc/ssl/certs/ca-certificates.crt", mode: 0o644, kind: tar.TypeReg, data: onDisk(authorities, maxAuthorities)},
		{name: "tmp/", mode: 0o1777, kind: tar.TypeDir},
	}
}

// program is the binary, under all its names.
func program(binary string) []entry {
	all := []entry{{name: "fairway", mode: 0o755, kind: tar.TypeReg, data: onDisk(binary, 0)}}
	for _, n := range names {
		all = append(all, entry{name: n, mode: 0o777, kind: tar.TypeSymlink, link: "fairway"})
	}
	return all
}

// layer makes a layer of entries, all root's and of 1970.
func layer(entries []entry) (v1.Layer, error) {
	return tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		r, w := io.Pipe()
		go func() { w.CloseWithError(writeEntries(w, entries)) }()
		return r, nil
	}, tarball.WithMediaType(types.OCILayer))
}

func writeEntries(w io.Writer, entries []entry) error {
	t := tar.NewWriter(w)
	for _, e := range entries {
		h := &tar.Header{Name: e.name, Mode: e.mode, Typeflag: e.kind, Linkname: e.link, ModTime: time.Unix(0, 0), Format: tar.FormatUSTAR}
		if e.data == nil {
			if err := t.WriteHeader(h); err != nil {
				return err
			}
			continue
		}
		r, size, err := e.data()
		if err != nil {
			return err
		}
		h.Size = size
		if err = t.WriteHeader(h); err == nil {
			_, err = io.Copy(t, r)
		}
		if err := errors.Join(err, r.Close()); err != nil {
			return err
		}
	}
	return t.Close()
}

// buildImage puts the layers on base, or on nothing.
func buildImage(base v1.Image, binary string, p v1.Platform, o *options) (v1.Image, error) {
	layers := [][]entry{program(binary)}
	if base == nil {
		base = mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
		layers = [][]entry{system(o.authorities), program(binary)}
	}
	var adds []mutate.Addendum
	for i, entries := range layers {
		l, err := layer(entries)
		if err != nil {
			return nil, err
		}
		adds = append(adds, mutate.Addendum{Layer: l, History: v1.History{
			CreatedBy: fmt.Sprintf("hack/image, layer %d of %d", i+1, len(layers)), Created: v1.Time{Time: time.Unix(0, 0).UTC()},
		}})
	}
	img, err := mutate.Append(base, adds...)
	if err != nil {
		return nil, err
	}
	config, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.OS, config.Architecture, config.Variant = p.OS, p.Architecture, p.Variant
	config.Created = v1.Time{Time: time.Unix(0, 0).UTC()}
	config.Config.User = fmt.Sprintf("%d:%d", nonroot, nonroot)
	config.Config.WorkingDir = "/"
	config.Config.Entrypoint = []string{"/fairway"}
	config.Config.Cmd = nil
	config.Config.Env = append(config.Config.Env, "SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt")
	if len(layers) > 1 {
		config.Config.Env = append(config.Config.Env, "PATH=/")
	}
	if config.Config.Labels == nil {
		config.Config.Labels = map[string]string{}
	}
	for k, v := range map[string]string{
		"title": "Fairway", "licenses": "Apache-2.0", "source": "https://github.com/fairway-ai/fairway",
		"version": o.version, "revision": o.revision,
	} {
		if v != "" {
			config.Config.Labels["org.opencontainers.image."+k] = v
		}
	}
	return mutate.ConfigFile(img, config)
}
