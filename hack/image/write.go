package main

import (
	"archive/tar"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// platformImage is the image for one platform.
type platformImage struct {
	v1.Image
	platform v1.Platform
}

// result is an image for one platform, or an index of several.
type result struct {
	image v1.Image // nil if there are several
	index v1.ImageIndex
}

func newResult(images []platformImage) (*result, error) {
	if len(images) == 1 {
		return &result{image: images[0].Image}, nil
	}
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for i := range images {
		index = mutate.AppendManifests(index, mutate.IndexAddendum{
			Add: images[i].Image, Descriptor: v1.Descriptor{Platform: &images[i].platform},
		})
	}
	return &result{index: index}, nil
}

func (r *result) digest() (v1.Hash, error) {
	if r.image != nil {
		return r.image.Digest()
	}
	return r.index.Digest()
}

func (r *result) push(tag name.Tag, o []remote.Option) error {
	if r.image != nil {
		return remote.Write(tag, r.image, o...)
	}
	return remote.WriteIndex(tag, r.index, o...)
}

// write puts the result into path, as an archive if that ends in .tar.
func (r *result) write(path, format string, tag name.Tag) error {
	if format == "docker" {
		return tarball.WriteToFile(path, tag, r.image)
	}
	if filepath.Ext(path) != ".tar" {
		return r.layout(path, tag)
	}
	dir, err := os.MkdirTemp(filepath.Dir(path), ".layout-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err := r.layout(dir, tag); err != nil {
		return err
	}
	return archive(dir, path)
}

// layout writes an OCI image layout with the name that tools look for.
func (r *result) layout(dir string, tag name.Tag) error {
	l, err := layout.Write(dir, empty.Index)
	if err != nil {
		return err
	}
	named := layout.WithAnnotations(map[string]string{
		"org.opencontainers.image.ref.name": tag.TagStr(),
		// containerd knows Docker's registry by another name than its API has.
		"io.containerd.image.name": strings.TrimPrefix(tag.Name(), "index."),
	})
	if r.image != nil {
		return l.AppendImage(r.image, named)
	}
	return l.AppendIndex(r.index, named)
}

// archive writes the files under dir into path, in order and without their times.
func archive(dir, path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	t := tar.NewWriter(f)
	err = filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(dir, p)
		if err != nil {
			return err
		}
		in, err := os.Open(p)
		if err != nil {
			return err
		}
		info, err := in.Stat()
		if err == nil {
			err = t.WriteHeader(&tar.Header{Name: filepath.ToSlash(rel), Mode: 0o644, Size: info.Size(), ModTime: time.Unix(0, 0), Format: tar.FormatUSTAR})
		}
		if err == nil {
			_, err = io.Copy(t, in)
		}
		return errors.Join(err, in.Close())
	})
	return errors.Join(err, t.Close(), f.Close())
}
