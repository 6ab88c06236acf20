package credentials

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"syscall"
	"time"
)

// Guard is for an issuer that somebody chose who must not reach, through this process,
// what is not theirs. Addresses of this machine and of its link are refused, also where
// a name leads to them, and names are those of the DNS's root: search domains do not
// count.
type Guard struct {
	// Domain is a cluster's, as in cluster.local. A token endpoint with a name in it is
	// refused, unless its host is the issuer's own.
	Domain string
}

// admits says whether a token endpoint's host may be asked.
func (g *Guard) admits(host, issuer string) bool {
	host = hostName(host)
	return g == nil || host == hostName(issuer) ||
		!(host == g.Domain || strings.HasSuffix(host, "."+g.Domain) || strings.HasSuffix(host, ".svc"))
}

// hostName is a host as names are compared.
func hostName(host string) string { return strings.ToLower(strings.TrimSuffix(host, ".")) }

var errOwnNetwork = errors.New("the address is one of this machine or of its link")

// newGuarded is a client for issuers under a Guard. What a proxy of this machine's
// environment reaches is the proxy's to decide.
func newGuarded() *http.Client {
	// There is a request an hour or so: connections are not kept.
	return &http.Client{Transport: &guarded{
		direct: &http.Transport{
			DialContext: dialOthers(&net.Dialer{Timeout: 10 * time.Second}), TLSHandshakeTimeout: 10 * time.Second,
			TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12}, DisableKeepAlives: true,
		},
		proxied: http.DefaultTransport, proxy: http.ProxyFromEnvironment,
	}}
}

type guarded struct {
	direct, proxied http.RoundTripper
	proxy           func(*http.Request) (*url.URL, error)
}

// RoundTrip implements http.RoundTripper.
func (g *guarded) RoundTrip(r *http.Request) (*http.Response, error) {
	switch to, err := g.proxy(r); {
	case err != nil:
		return nil, err
	case to != nil:
		return g.proxied.RoundTrip(r)
	}
	return g.direct.RoundTrip(r)
}

// dialOthers dials with d, but to no address of this machine or of its link.
func dialOthers(d *net.Dialer) func(ctx context.Context, network, address string) (net.Conn, error) {
	d.Control = func(_, address string, _ syscall.RawConn) error {
		to, err := netip.ParseAddrPort(address)
		if err != nil || !elsewhere(to.Addr()) {
			return errOwnNetwork
		}
		return nil
	}
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		host, port, err := net.SplitHostPort(address)
		if err != nil {
			return nil, err
		}
		if _, err := netip.ParseAddr(host); err != nil && !strings.HasSuffix(host, ".") {
			host += "."
		}
		return d.DialContext(ctx, network, net.JoinHostPort(host, port))
	}
}

// elsewhere says that an address is not one of this machine or its link, or of Amazon's
// metadata server, which is not link-local in IPv6.
func elsewhere(a netip.Addr) bool {
	a = a.Unmap()
	return a.IsGlobalUnicast() && !netip.PrefixFrom(netip.MustParseAddr("fd00:ec2::"), 32).Contains(a)
}
