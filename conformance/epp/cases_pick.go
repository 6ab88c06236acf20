package epp

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

func pickCases() []Case {
	return []Case{
		{ID: "pick/header", Level: Must, Section: secDestination,
			Clause: "the picked endpoints are set as request header `" + destinationHeader + "`",
			run: eachPick(func(p *pick) (string, string) {
				if !p.hasHeader {
					return "a pick only in metadata, " + quote(p.metadata), "the header, too"
				}
				return "", ""
			})},
		{ID: "pick/metadata", Level: Must, Section: secDestination,
			Clause: "the picked endpoints are set as dynamic metadata `envoy.lb` / `" + destinationHeader + "`",
			run: eachPick(func(p *pick) (string, string) {
				if !p.hasMetadata {
					return "a pick only in the header, " + quote(p.header), "the metadata in the same message, too"
				}
				return "", ""
			})},
		{ID: "pick/agree", Level: Must, Section: secDestination,
			Clause: "header and metadata have the same value",
			run: eachPick(func(p *pick) (string, string) {
				if p.hasHeader && p.hasMetadata && p.header != p.metadata {
					return "header " + quote(p.header) + " and metadata " + quote(p.metadata), "the same value, in the same order, in both"
				}
				return "", ""
			})},
		{ID: "pick/syntax", Level: Must, Section: secDestination,
			Clause: "the value is `ip:port`, or several separated by commas, the first to be tried first",
			run: eachPick(func(p *pick) (string, string) {
				for _, v := range []struct {
					where, value string
					has          bool
				}{{"header", p.header, p.hasHeader}, {"metadata", p.metadata, p.hasMetadata}} {
					for part := range strings.SplitSeq(v.value, ",") {
						if a, err := netip.ParseAddrPort(part); v.has && (err != nil || a.Port() == 0) {
							return v.where + " " + quote(v.value), "ip:port[,ip:port…]"
						}
					}
				}
				return "", ""
			})},
		{ID: "pick/order", Level: Should, Section: secDestination,
			Clause: "the list is walked in order by retries, so no endpoint is named twice",
			run: eachPick(func(p *pick) (string, string) {
				a := sorted(p.addresses)
				if len(slices.Compact(a)) != len(p.addresses) {
					return "the list " + list(p.addresses), "every endpoint once"
				}
				return "", ""
			})},
		{ID: "pick/pool", Level: Must, Section: secSubset,
			Clause: "without a subset, endpoints are picked from the pool (judged when `--endpoints` names them)",
			run:    pickFromPool},
		{ID: "pick/alternatives", Level: May, Section: secDestination, learns: true,
			Clause: "alternatives to retry with follow the first endpoint, when the pool has more than one",
			run: func(ctx context.Context, s *session) error {
				if len(s.endpoints) < 2 {
					return skipped("the picker is not known to have two endpoints")
				}
				x, p, err := s.pick(ctx, s.chat(1<<10))
				if err == nil && len(p.addresses) < 2 {
					return x.fail("the list "+list(p.addresses), "several endpoints")
				}
				return err
			}},
		{ID: "pick/bodyless", Level: Must, Section: secDestination,
			Clause: "every HTTP request gets a pick, one without a body too, in the headers answer",
			run: func(ctx context.Context, s *session) error {
				post := s.get()
				post.method, post.path = "POST", opaquePath
				for _, r := range []request{s.get(), post} {
					x, p, err := s.pick(ctx, r)
					if err != nil {
						return err
					}
					if len(p.addresses) == 0 {
						return x.fail("header "+quote(p.header)+" and metadata "+quote(p.metadata), "an ip:port")
					}
				}
				return nil
			}},
		{ID: "pick/clear-route-cache", Level: Should, Section: secExtProc,
			Clause: "the answer with the pick sets `clear_route_cache`, so that routes may match what the picker set",
			run: eachPick(func(p *pick) (string, string) {
				if !p.answer.common.GetClearRouteCache() {
					return "a headers answer without clear_route_cache", "clear_route_cache: true"
				}
				return "", ""
			})},
	}
}

// eachPick makes a case that checks several picks; check returns what it got and
// what it wants, or nothing.
func eachPick(check func(*pick) (got, want string)) func(context.Context, *session) error {
	return func(ctx context.Context, s *session) error {
		for i := range 8 {
			r := s.chat(200 << i)
			if i%4 == 3 {
				r.frame, r.tail = 977, true
			}
			x, p, err := s.pick(ctx, r)
			if err != nil {
				return err
			}
			if got, want := check(&p); got != "" {
				return x.fail(got, want)
			}
		}
		return nil
	}
}

func pickFromPool(ctx context.Context, s *session) error {
	if !s.given {
		return skipped("--endpoints does not say which endpoints the pool has")
	}
	for range 8 {
		x, p, err := s.pick(ctx, s.chat(1<<10))
		if err != nil {
			return err
		}
		if len(p.addresses) == 0 || !contains(s.endpoints, p.addresses) {
			return x.fail("the pick "+list(p.addresses), fmt.Sprintf("only endpoints of %s", list(s.endpoints)))
		}
	}
	return nil
}
