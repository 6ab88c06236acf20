package relay

import (
	"context"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc/resolver"
)

// connectTimeout bounds one attempt to connect to an IP address. What was sent to the
// address of a Service that the cluster did not know yet, or to a pod that is gone, may
// be lost on its way for as long as it is repeated; another attempt takes the new way.
const connectTimeout = 500 * time.Millisecond

// target is a picker's address as gRPC is told it. A host's name is left to the dialer,
// which looks it up for each attempt: gRPC's resolver would believe what it knows for
// half a minute, also of pods that were replaced.
func target(address string) string {
	host, port, err := net.SplitHostPort(address)
	if err != nil || resolver.Get(host) != nil { // unix:1 has the form, too
		return address
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return address
	}
	return "passthrough:///" + address
}

// systemDial connects to a host:port, or to a socket's URL.
func systemDial(ctx context.Context, addr string) (net.Conn, error) {
	d := net.Dialer{KeepAliveConfig: net.KeepAliveConfig{
		// Finds a host that vanished, also while requests are held.
		Enable: true, Idle: 10 * time.Second, Interval: 3 * time.Second, Count: 3,
	}}
	if path, ok := strings.CutPrefix(addr, "unix:"); ok {
		return d.DialContext(ctx, "unix", strings.TrimPrefix(path, "//"))
	}
	return d.DialContext(ctx, "tcp", addr)
}

// dial connects to what gRPC's resolvers yield, an IP address within connectTimeout. The
// lookup of a name may take longer, within gRPC's own timeout.
func (c *client) dial(ctx context.Context, addr string) (net.Conn, error) {
	if _, err := netip.ParseAddrPort(addr); err == nil {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, connectTimeout)
		defer cancel()
	}
	return c.o.dial(ctx, addr)
}
