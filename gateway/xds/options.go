package xds

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"time"
)

// Names of headers and metadata that the picker, the routes and the clusters agree
// on.
const (
	// DestinationHeader is the picked endpoints, "ip:port[,ip:port…]": a header and
	// a key of MetadataNamespace.
	DestinationHeader = "x-gateway-destination-endpoint"
	// SubsetHeader is the endpoints that a gateway allows.
	SubsetHeader = "x-gateway-destination-endpoint-subset"
	// ServedKey is the metadata key of the endpoint that served.
	ServedKey = "x-gateway-destination-endpoint-served"
	// PoolHeader is the pool that the picker chose, "namespace/name".
	PoolHeader = "x-fairway-pool"
	// MetadataNamespace holds the picked and the serving endpoint.
	MetadataNamespace = "envoy.lb"

	// explainHeader is the client's question to the picker, and nobody else's
	// business.
	explainHeader   = "x-fairway-explain"
	subsetNamespace = "envoy.lb.subset_hint"
)

// Names of resources. A pool's cluster has the pool's name, which contains a slash.
const (
	// ListenerName is also the prefix of the listener's statistics.
	ListenerName = "fairway"
	// RouteName is the route configuration.
	RouteName = "fairway"
	// PickerClusterName is the ext_proc server's cluster.
	PickerClusterName = "fairway-picker"
	// XDSClusterName is the cluster in the bootstrap that configuration comes from.
	XDSClusterName = "fairway-xds"
	// NoPickerClusterName has no endpoint; what must fail is routed there.
	NoPickerClusterName = "fairway-no-picker"
	// NodeID is Envoy's name for itself.
	NodeID = "fairway"
)

// Pool is an inference pool as far as Envoy must know it.
type Pool struct {
	// Name is "namespace/name".
	Name string
	// Endpoints are "ip:port".
	Endpoints []string
	// FailOpen serves the pool without the picker while that is down; otherwise it
	// answers 503.
	FailOpen bool
	// HTTP2 speaks HTTP/2 without TLS to the endpoints, instead of HTTP/1.1.
	HTTP2 bool
}

var poolName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?/[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$`)

// Validate names the first field that Envoy would not accept.
func (p *Pool) Validate() error {
	if !poolName.MatchString(p.Name) {
		return fmt.Errorf("pool %.80q: the name must be namespace/name, both in lower case letters, digits and dashes", p.Name)
	}
	for i, e := range p.Endpoints {
		a, err := netip.ParseAddrPort(e)
		if err != nil || a.Port() == 0 || a.Addr().Zone() != "" {
			return fmt.Errorf("pool %q: endpoint %d: %.80q is not ip:port", p.Name, i+1, e)
		}
	}
	return nil
}

// ValidatePools checks every pool, and that names are unique.
func ValidatePools(pools []Pool) error {
	var errs []error
	seen := make(map[string]bool, len(pools))
	for i := range pools {
		p := &pools[i]
		if err := p.Validate(); err != nil {
			errs = append(errs, err)
		} else if seen[p.Name] {
			errs = append(errs, fmt.Errorf("pool %q: is there twice; names must be unique", p.Name))
		}
		seen[p.Name] = true
	}
	return errors.Join(errs...)
}

// Options are what may differ from one gateway to the next. The zero value of a
// field means its default.
type Options struct {
	// Address is where the listener listens.
	Address netip.AddrPort
	// PickerSocket is the path of the unix socket on which the picker serves. It
	// must be empty with NoPicker.
	PickerSocket string
	// NoPicker leaves out the ext_proc filter and the picker's cluster, and nothing
	// else: the first FailOpen pool by name gets all requests. It exists to measure
	// what the picker costs.
	NoPicker bool
	// MaxBodyBytes is the longest request body the picker accepts, in bytes.
	// Default 16 MiB. Envoy's own limit is a little higher, so that the picker
	// answers, who knows the client's schema.
	MaxBodyBytes int64
	// MessageTimeout is how long the picker may take to answer a message unless it
	// asks for more. Default 1 s.
	MessageTimeout time.Duration
	// MaxMessageTimeout is the most the picker may ask for. Default 120 s.
	MaxMessageTimeout time.Duration
	// StreamIdleTimeout ends a request on which nothing moves in either direction.
	// It also bounds the time to the first token. Default 10 min.
	StreamIdleTimeout time.Duration
	// RequestTimeout bounds how long a client may take to send a request. Default 5
	// min.
	RequestTimeout time.Duration
	// ConnectTimeout bounds the connection to an endpoint. Default 1 s.
	ConnectTimeout time.Duration
	// Retries is how many further endpoints are tried. Default 3.
	Retries int
	// AccessLog writes a JSON line per request to standard output.
	AccessLog bool
	// SystemCA is the path of the system's certificate authorities, for providers; ""
	// when there are none.
	SystemCA string
	// MetadataNamespaces are further namespaces of dynamic metadata that the picker
	// may set, besides MetadataNamespace: for access logs and rate limits.
	MetadataNamespaces []string
}

const (
	// bodySlack is how much more than MaxBodyBytes Envoy buffers.
	bodySlack = 1 << 20
	// headersTimeout bounds the time a client may take to send its headers.
	headersTimeout = 10 * time.Second
)

// DefaultMaxMessageTimeout is Options.MaxMessageTimeout when zero.
const DefaultMaxMessageTimeout = 120 * time.Second

func (o Options) withDefaults() Options {
	o.MaxBodyBytes = cmp.Or(o.MaxBodyBytes, 16<<20)
	o.MessageTimeout = cmp.Or(o.MessageTimeout, time.Second)
	o.MaxMessageTimeout = cmp.Or(o.MaxMessageTimeout, DefaultMaxMessageTimeout)
	o.StreamIdleTimeout = cmp.Or(o.StreamIdleTimeout, 10*time.Minute)
	o.RequestTimeout = cmp.Or(o.RequestTimeout, 5*time.Minute)
	o.ConnectTimeout = cmp.Or(o.ConnectTimeout, time.Second)
	o.Retries = cmp.Or(o.Retries, 3)
	return o
}

// maxSocketPath is what fits a socket address on every system.
const maxSocketPath = 103

// Validate names the first field that is out of range.
func (o Options) Validate() error {
	o = o.withDefaults()
	switch {
	case !o.Address.IsValid():
		return errors.New("listen address: is missing")
	case o.NoPicker && o.PickerSocket != "":
		return fmt.Errorf("picker socket %.200q: must be empty without a picker", o.PickerSocket)
	case !o.NoPicker && (o.PickerSocket == "" || len(o.PickerSocket) > maxSocketPath):
		return fmt.Errorf("picker socket %.200q: the path must have 1 to %d bytes; set TMPDIR to a shorter directory", o.PickerSocket, maxSocketPath)
	}
	return o.ValidateLimits()
}

// ValidateLimits checks sizes, times and counts, which are all there is to check
// where another control plane makes listeners.
func (o Options) ValidateLimits() error {
	o = o.withDefaults()
	switch {
	case o.MaxBodyBytes < 0 || o.MaxBodyBytes > 1<<30:
		return fmt.Errorf("maximum body size %d: must be at most 1 GiB", o.MaxBodyBytes)
	case o.Retries < 0 || o.Retries > 100:
		return fmt.Errorf("retries %d: must be 0 to 100", o.Retries)
	}
	for _, d := range []struct {
		name string
		d    time.Duration
	}{
		{"message timeout", o.MessageTimeout},
		{"maximum message timeout", o.MaxMessageTimeout},
		{"stream idle timeout", o.StreamIdleTimeout},
		{"request timeout", o.RequestTimeout},
		{"connect timeout", o.ConnectTimeout},
	} {
		if d.d < time.Millisecond {
			return fmt.Errorf("%s %v: must be at least 1ms", d.name, d.d)
		}
	}
	if o.MaxMessageTimeout < o.MessageTimeout {
		return fmt.Errorf("maximum message timeout %v: must not be shorter than the message timeout, %v", o.MaxMessageTimeout, o.MessageTimeout)
	}
	return nil
}
