package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/spf13/pflag"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout, goBuild); err != nil && !errors.Is(err, pflag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
}

// options are the command's flags.
type options struct {
	tag, output, format, base string
	platforms                 []string
	version, revision         string
	authorities               string
	push, plainHTTP           bool
}

func parse(args []string) (*options, error) {
	o := new(options)
	fs := pflag.NewFlagSet("image", pflag.ContinueOnError)
	fs.StringVar(&o.tag, "tag", "fairway:dev", "name of the image")
	fs.StringVarP(&o.output, "output", "o", "", "file (.tar) or, for format oci, folder to write")
	fs.StringVar(&o.format, "format", "", "docker (docker load, ctr import; one platform) or oci; docker is the default for one platform")
	fs.StringSliceVar(&o.platforms, "platform", []string{"linux/amd64", "linux/arm64"}, "platforms to build for")
	fs.StringVar(&o.base, "base", "", "image to build on, with certificate authorities of its own; none by default")
	fs.StringVar(&o.authorities, "ca-certificates", "/etc/ssl/certs/ca-certificates.crt", "file of the certificate authorities that the image trusts")
	fs.StringVar(&o.version, "version", "dev", "what `fairway version` says")
	fs.StringVar(&o.revision, "revision", "", "the sources' commit, for the image's labels")
	fs.BoolVar(&o.push, "push", false, "write to the registry that the tag names, with Docker's credentials")
	fs.BoolVar(&o.plainHTTP, "plain-http", false, "talk to registries without TLS")
	if err := fs.Parse(args); err != nil {
		return nil, err
	}
	if fs.NArg() > 0 {
		return nil, fmt.Errorf("%q: the command takes flags only", fs.Arg(0))
	}
	if o.output == "" && !o.push {
		return nil, errors.New("nothing to do: give --output, --push, or both")
	}
	if o.format == "" {
		o.format = "oci"
		if len(o.platforms) == 1 {
			o.format = "docker"
		}
	}
	switch {
	case o.format != "docker" && o.format != "oci":
		return nil, fmt.Errorf("--format: %q must be docker or oci", o.format)
	case o.format == "docker" && len(o.platforms) != 1:
		return nil, errors.New("--format docker holds one platform: name it with --platform, or use --format oci")
	case o.format == "docker" && o.output != "" && filepath.Ext(o.output) != ".tar":
		return nil, fmt.Errorf("--output: %q must end in .tar for --format docker", o.output)
	}
	return o, nil
}

// compiler puts the binary for a platform at path.
type compiler func(ctx context.Context, p v1.Platform, version, path string) error

// run is the command; it says on out what it has made.
func run(ctx context.Context, args []string, out io.Writer, compile compiler) error {
	o, err := parse(args)
	if err != nil {
		return err
	}
	var names []name.Option
	if o.plainHTTP {
		names = append(names, name.Insecure)
	}
	tag, err := name.NewTag(o.tag, names...)
	if err != nil {
		return fmt.Errorf("--tag: %w", err)
	}
	work, err := os.MkdirTemp("", "fairway-image-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(work) }()

	access := []remote.Option{remote.WithContext(ctx), remote.WithAuthFromKeychain(authn.DefaultKeychain)}
	var images []platformImage
	for _, s := range o.platforms {
		p, err := v1.ParsePlatform(s)
		if err != nil || p.OS != "linux" || p.Architecture == "" {
			return fmt.Errorf("--platform: %q must be linux/ARCHITECTURE", s)
		}
		binary := filepath.Join(work, strings.ReplaceAll(s, "/", "-"))
		if err := compile(ctx, *p, o.version, binary); err != nil {
			return fmt.Errorf("compile for %s: %w", s, err)
		}
		var base v1.Image
		if o.base != "" {
			ref, err := name.ParseReference(o.base, names...)
			if err != nil {
				return fmt.Errorf("--base: %w", err)
			}
			if base, err = remote.Image(ref, append(access, remote.WithPlatform(*p))...); err != nil {
				return fmt.Errorf("--base %s for %s: %w", o.base, s, err)
			}
		}
		img, err := buildImage(base, binary, *p, o)
		if err != nil {
			return fmt.Errorf("image for %s: %w", s, err)
		}
		images = append(images, platformImage{img, *p})
	}
	result, err := newResult(images)
	if err != nil {
		return err
	}
	if o.output != "" {
		if err := result.write(o.output, o.format, tag); err != nil {
			return fmt.Errorf("--output %s: %w", o.output, err)
		}
		if _, err := fmt.Fprintf(out, "%s is in %s\n", tag, o.output); err != nil {
			return err
		}
	}
	if o.push {
		if err := result.push(tag, access); err != nil {
			return fmt.Errorf("push %s: %w", tag, err)
		}
	}
	digest, err := result.digest()
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "%s@%s\n", tag.Context(), digest)
	return err
}
