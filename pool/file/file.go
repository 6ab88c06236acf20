package file

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"time"

	"go.yaml.in/yaml/v3"
	inferencev1 "sigs.k8s.io/gateway-api-inference-extension/api/v1"

	"github.com/fairway-ai/fairway/pool"
)

const (
	// MaxSize is the largest file that is read.
	MaxSize = 4 << 20
	// MaxPools and MaxEndpoints bound what one file may hold.
	MaxPools     = 1024
	MaxEndpoints = 16384
	// DefaultNamespace is the namespace of objects that name none.
	DefaultNamespace = "default"
	// ModelsAnnotation on an InferencePool lists the models that it serves: names,
	// or the start of names followed by *, separated by commas.
	ModelsAnnotation = "fairway.dev/models"
)

// Config is what a file says.
type Config struct {
	// Pools has at least one element, unless there is something else.
	Pools []PoolConfig
	// Other is what Loader.Other found; nil when nothing.
	Other any
	// Warnings are what is probably not meant but does no harm, each with file,
	// line and field.
	Warnings []string
}

// PoolConfig is one pool of a file.
type PoolConfig struct {
	Name, Namespace string
	// FailureMode is FailOpen or FailClose.
	FailureMode inferencev1.EndpointPickerFailureMode
	// AppProtocol is http or kubernetes.io/h2c.
	AppProtocol inferencev1.AppProtocol
	// Models are names, or the start of names followed by "*"; empty when the pool
	// takes what no other pool names.
	Models []string
	// Specs are the endpoints that the pool selects, in the order of the file.
	Specs []pool.Spec
}

// FullName is "namespace/name".
func (p *PoolConfig) FullName() string { return p.Namespace + "/" + p.Name }

// Loader reads files. The zero value is ready to use.
type Loader struct {
	// Resolve looks up endpoints that are given by host name; nil means the
	// system's resolver.
	Resolve func(ctx context.Context, host string) ([]netip.Addr, error)
	// ResolveTimeout bounds all look-ups of one file together; 0 means 5 s.
	ResolveTimeout time.Duration
	// Debounce is how long Watch waits after a change for the change to be
	// complete; 0 means 100 ms.
	Debounce time.Duration
	// Other, when set, takes what is neither pool nor endpoint out of a file before it
	// is read: it returns what is left, on the same lines, and what it found, nil when
	// there is nothing.
	Other func(name string, data []byte) (rest []byte, found any, err error)
	// Poll is how often Watch looks at the file although nothing was notified, for
	// file systems that notify nothing; 0 means 10 s.
	Poll time.Duration
}

// Load reads a file with the zero [Loader].
func Load(ctx context.Context, path string) (*Config, error) { return new(Loader).Load(ctx, path) }

// Load reads a file. The error has one line per mistake,
//
//	file:line: field: what is wrong and how to fix it
//
// and unwraps to all of them.
func (l *Loader) Load(ctx context.Context, path string) (*Config, error) {
	data, err := readFile(path)
	if err != nil {
		return nil, err
	}
	return l.Parse(ctx, path, data)
}

// readFile reads at most one byte more than MaxSize.
func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("reading the pools: %w", err)
	}
	defer func() { _ = f.Close() }()
	data, err := io.ReadAll(io.LimitReader(f, MaxSize+1))
	if err != nil {
		return nil, fmt.Errorf("reading the pools: %w", err)
	}
	return data, nil
}

// Parse reads a file's content; name is used in errors.
func (l *Loader) Parse(ctx context.Context, name string, data []byte) (*Config, error) {
	d := &decoder{file: name}
	if len(data) > MaxSize {
		return nil, fmt.Errorf("%s: is larger than %d MiB; split the pools over several gateways", name, MaxSize>>20)
	}
	var found any
	var other error
	if l.Other != nil {
		data, found, other = l.Other(name, data)
	}
	if err := d.documents(data); err != nil {
		return nil, errors.Join(other, err)
	}
	if (found != nil || other != nil) && len(d.pools)+d.lists+len(d.problems) == 0 {
		if other != nil {
			return nil, other
		}
		return &Config{Other: found}, nil
	}
	l.resolve(ctx, d)
	c := d.config()
	c.Other = found
	if err := errors.Join(other, d.err()); err != nil {
		return nil, err
	}
	return c, nil
}

// documents decodes every YAML document. Its error is a syntax error, after which
// nothing else in the file means anything.
func (d *decoder) documents(data []byte) error {
	dec := yaml.NewDecoder(bytes.NewReader(data))
	for {
		var doc yaml.Node
		err := dec.Decode(&doc)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return d.syntax(err)
		}
		if len(doc.Content) > 0 {
			d.document(doc.Content[0])
		}
	}
}

// resolve replaces host names by addresses.
func (l *Loader) resolve(ctx context.Context, d *decoder) {
	timeout := l.ResolveTimeout
	if timeout <= 0 {
		timeout = 5 * time.Second
	}
	lookup := l.Resolve
	if lookup == nil {
		lookup = func(ctx context.Context, host string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	found := lookupAll(ctx, lookup, d.hosts())
	for i := range d.endpoints {
		e := &d.endpoints[i]
		if e.host == "" {
			continue
		}
		r := found[e.host]
		if r.err != nil {
			d.problem(e.addressNode, e.path+".address", "%q cannot be resolved (%v); use an IP address, or a name that resolves where Fairway runs", e.host, r.err)
			continue
		}
		e.addr = r.addr
	}
}
