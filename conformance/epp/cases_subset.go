package epp

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"google.golang.org/protobuf/types/known/structpb"
)

// stranger is an endpoint that no pool has: its address is for documentation.
var stranger = netip.MustParseAddrPort("203.0.113.1:9")

func subsetCases() []Case {
	return []Case{
		{ID: "subset/one", Level: Must, Section: secSubset, learns: true,
			Clause: "with a subset of one endpoint, that one is picked",
			run: func(ctx context.Context, s *session) error {
				return s.eachEndpoint(1, func(e []netip.AddrPort) error {
					return s.within(ctx, s.chat(1<<10), subsetOf(e...), e)
				})
			}},
		{ID: "subset/several", Level: Must, Section: secSubset, learns: true,
			Clause: "with a subset of several endpoints, only those are picked, alternatives included",
			run: func(ctx context.Context, s *session) error {
				return s.eachEndpoint(2, func(e []netip.AddrPort) error {
					return s.within(ctx, s.chat(1<<10), subsetOf(e...), e)
				})
			}},
		{ID: "subset/strangers", Level: Must, Section: secSubset, learns: true,
			Clause: "endpoints of the subset that the pool does not have are passed over",
			run: func(ctx context.Context, s *session) error {
				return s.eachEndpoint(1, func(e []netip.AddrPort) error {
					return s.within(ctx, s.chat(1<<10), subsetOf(stranger, e[0]), e)
				})
			}},
		{ID: "subset/port", Level: Must, Section: secSubset, learns: true,
			Clause: "a subset's endpoints are compared with their ports: the right address with another port is not eligible",
			run: func(ctx context.Context, s *session) error {
				return s.eachEndpoint(1, func(e []netip.AddrPort) error {
					return s.unavailable(ctx, s.chat(1<<10), subsetOf(s.otherPort(e[0])))
				})
			}},
		{ID: "subset/bodyless", Level: Must, Section: secSubset, learns: true,
			Clause: "requests without a body heed the subset, too",
			run: func(ctx context.Context, s *session) error {
				err := s.eachEndpoint(1, func(e []netip.AddrPort) error {
					return s.within(ctx, s.get(), subsetOf(e...), e)
				})
				if err != nil {
					return err
				}
				return s.unavailable(ctx, s.get(), subsetOf(stranger))
			}},
		{ID: "subset/empty", Level: Must, Section: secSubset,
			Clause: "an empty subset is answered by an ImmediateResponse with status 503",
			run: func(ctx context.Context, s *session) error {
				return s.unavailable(ctx, s.chat(1<<10), subsetOf())
			}},
		{ID: "subset/none-eligible", Level: Must, Section: secSubset,
			Clause: "a subset without an eligible endpoint is answered by an ImmediateResponse with status 503, not by a gRPC error",
			run: func(ctx context.Context, s *session) error {
				return s.unavailable(ctx, s.chat(1<<10), subsetOf(stranger))
			}},
		{ID: "subset/string", Level: May, Section: secPractice, learns: true,
			Clause: "a subset written as one string with commas is read like a list",
			run: func(ctx context.Context, s *session) error {
				return s.eachEndpoint(1, func(e []netip.AddrPort) error {
					v := structpb.NewStringValue(strings.Join([]string{stranger.String(), e[0].String()}, ","))
					return s.within(ctx, s.chat(1<<10), v, e)
				})
			}},
	}
}

// maxSubsets bounds how many subsets one case tries.
const maxSubsets = 8

// eachEndpoint calls f for each n neighbouring endpoints known. A picker with no
// more than n cannot break the subset.
func (s *session) eachEndpoint(n int, f func([]netip.AddrPort) error) error {
	known := sorted(s.endpoints)
	if len(known) < n {
		return skipped(fmt.Sprintf("the picker is known to have %d endpoints, and %d are needed", len(known), n))
	}
	for i := range min(len(known), maxSubsets) {
		var e []netip.AddrPort
		for j := range n {
			e = append(e, known[(i+j)%len(known)])
		}
		if err := f(e); err != nil {
			return err
		}
	}
	return nil
}

// within checks that r with a subset gets a pick of nothing but want.
func (s *session) within(ctx context.Context, r request, subset *structpb.Value, want []netip.AddrPort) error {
	r.subset = subset
	x, p, err := s.pick(ctx, r)
	if err != nil {
		return err
	}
	if len(p.addresses) == 0 || !contains(want, p.addresses) {
		return x.fail("the pick "+list(p.addresses), "only endpoints of "+list(want))
	}
	return nil
}

// unavailable checks that r with a subset is answered 503.
func (s *session) unavailable(ctx context.Context, r request, subset *structpb.Value) error {
	r.subset = subset
	x, err := s.ask(ctx, r)
	if err != nil {
		return err
	}
	defer x.cancel()
	t, _ := x.until(picked)
	if t.immediate.GetStatus().GetCode() != 503 {
		return x.fail(x.describe(&t), "an ImmediateResponse with status 503")
	}
	return nil
}

// otherPort is the endpoint's address with a port that no known endpoint has.
func (s *session) otherPort(e netip.AddrPort) netip.AddrPort {
	for {
		e = netip.AddrPortFrom(e.Addr(), max(e.Port()+1, 1))
		if !slices.Contains(s.endpoints, e) {
			return e
		}
	}
}
