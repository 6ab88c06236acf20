package replicas

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"time"
)

// Fixed are replicas that do not change, as "ip:port".
type Fixed []string

// Watch implements [Peers].
func (f Fixed) Watch(ctx context.Context, set func([]string)) error {
	set(f)
	<-ctx.Done()
	return nil
}

// Resolver looks up a name's addresses; net.DefaultResolver is one.
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// DNS finds replicas by names: one that has all their addresses, as that of a headless
// Service, or one of each.
type DNS struct {
	// Hosts are the names or addresses, as "host" or "host:port", and Port where
	// replicas listen that are given without.
	Hosts []string
	Port  uint16
	// Every is the time between two look-ups; 0 means 5 s.
	Every time.Duration
	// Resolver looks up; nil means net.DefaultResolver.
	Resolver Resolver
	// Failed is told of a look-up that failed, after which the addresses known so far
	// stay; nil for nobody.
	Failed func(error)
}

// lookupTimeout bounds one look-up.
const lookupTimeout = 5 * time.Second

// Watch implements [Peers]. A name that does not exist yet is no error.
func (d *DNS) Watch(ctx context.Context, set func([]string)) error {
	if len(d.Hosts) == 0 || d.Port == 0 {
		return fmt.Errorf("replicas: %q and port %d are no place to look for them", d.Hosts, d.Port)
	}
	every := d.Every
	if every <= 0 {
		every = 5 * time.Second
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	var last []string
	for {
		if found, err := d.lookup(ctx); err == nil {
			if last == nil || !slices.Equal(found, last) {
				last = found
				set(slices.Clone(found))
			}
		} else if ctx.Err() == nil && d.Failed != nil {
			d.Failed(err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (d *DNS) lookup(ctx context.Context) ([]string, error) {
	var resolver Resolver = net.DefaultResolver
	if d.Resolver != nil {
		resolver = d.Resolver
	}
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	var found []string
	for _, host := range d.Hosts {
		port := strconv.Itoa(int(d.Port))
		if h, p, err := net.SplitHostPort(host); err == nil {
			host, port = h, p
		}
		ips, err := resolver.LookupNetIP(ctx, "ip", host)
		if err != nil {
			return nil, fmt.Errorf("replicas: %w", err)
		}
		for _, ip := range oneFamily(ips) {
			found = append(found, net.JoinHostPort(ip.String(), port))
		}
	}
	slices.Sort(found)
	return slices.Compact(found), nil
}

// oneFamily keeps the IPv4 addresses, or all where there are none: a replica with both
// is one replica.
func oneFamily(ips []netip.Addr) []netip.Addr {
	var v4 []netip.Addr
	for _, ip := range ips {
		if ip = ip.Unmap(); ip.Is4() {
			v4 = append(v4, ip)
		}
	}
	if len(v4) > 0 {
		return v4
	}
	return ips
}
