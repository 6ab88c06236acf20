package file

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync"
)

// lookups is how many host names are resolved at the same time.
const lookups = 16

type resolved struct {
	addr netip.Addr
	err  error
}

// hosts lists the host names of the endpoints, each once.
func (d *decoder) hosts() []string {
	var all []string
	for i := range d.endpoints {
		if h := d.endpoints[i].host; h != "" {
			all = append(all, h)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// lookupAll resolves host names.
func lookupAll(ctx context.Context, lookup func(context.Context, string) ([]netip.Addr, error), hosts []string) map[string]resolved {
	var (
		mu    sync.Mutex
		wg    sync.WaitGroup
		found = make(map[string]resolved, len(hosts))
		next  = make(chan string)
	)
	for range min(lookups, len(hosts)) {
		wg.Go(func() {
			for host := range next {
				r := lookupOne(ctx, lookup, host)
				mu.Lock()
				found[host] = r
				mu.Unlock()
			}
		})
	}
	for _, h := range hosts {
		next <- h
	}
	close(next)
	wg.Wait()
	return found
}

// lookupOne returns a host's first address, IPv4 before IPv6 and else in numeric
// order, so that the same answers give the same endpoint.
func lookupOne(ctx context.Context, lookup func(context.Context, string) ([]netip.Addr, error), host string) resolved {
	if host == "localhost" {
		return resolved{addr: netip.AddrFrom4([4]byte{127, 0, 0, 1})}
	}
	all, err := lookup(ctx, host)
	if err != nil {
		// The resolver's own text has the server's address in it, which changes.
		if dns, ok := errors.AsType[*net.DNSError](err); ok {
			err = errors.New(dns.Err)
		}
		return resolved{err: err}
	}
	usable := all[:0:0]
	for _, a := range all {
		if a = a.Unmap(); usableAddr(a) {
			usable = append(usable, a)
		}
	}
	if len(usable) == 0 {
		return resolved{err: errors.New("it has no usable address")}
	}
	return resolved{addr: slices.MinFunc(usable, netip.Addr.Compare)}
}

// usableAddr reports whether requests can be sent to the address.
func usableAddr(a netip.Addr) bool {
	return a.IsValid() && !a.IsUnspecified() && !a.IsMulticast() && a.Zone() == ""
}
