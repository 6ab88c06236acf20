package epp

import (
	"context"
	"fmt"
	"strings"
)

func headerCases() []Case {
	return []Case{
		{ID: "headers/framing", Level: Must, Section: secExtProc,
			Clause: "pseudo-headers are left as they are, and `content-length` is the body's",
			run: func(ctx context.Context, s *session) error {
				r := s.chat(1 << 10)
				x, p, err := s.pick(ctx, r)
				if err != nil {
					return err
				}
				if v, ok := p.answer.header("content-length"); ok && v != fmt.Sprint(len(r.body)) {
					// It may follow from an encoding anew: then it is that body's.
					x, t, err := s.sentOn(ctx, r)
					if err != nil {
						return err
					}
					if v, ok := t.requestHeaders[0].header("content-length"); ok && v != fmt.Sprint(len(t.request.bytes)) {
						return x.fail("content-length "+quote(v)+fmt.Sprintf(" for a body of %d bytes", len(t.request.bytes)), "no change, or the right one")
					}
				}
				return x.untouched(&p.answer, r.headerList(), func(name string) bool { return strings.HasPrefix(name, ":") || name == "host" })
			}},
		{ID: "headers/untouched", Level: Should, Section: secPractice,
			Clause: "headers that the picker does not know are neither changed nor removed",
			run: func(ctx context.Context, s *session) error {
				r := s.chat(1 << 10)
				r.set = [][2]string{
					{"authorization", "Bearer conformance"}, {"x-conformance", "kept"}, {"cookie", "a=b"},
					{"x-conformance-list", "one"}, {"x-conformance-list", "two"},
				}
				x, p, err := s.pick(ctx, r)
				if err != nil {
					return err
				}
				return x.untouched(&p.answer, r.headerList(), func(name string) bool {
					return !strings.HasPrefix(name, ":") && name != "content-length" && name != requestIDHeader
				})
			}},
		{ID: "headers/request-id-kept", Level: Should, Section: secPractice,
			Clause: "an `x-request-id` that a request has is kept",
			run: func(ctx context.Context, s *session) error {
				r := s.chat(1 << 10)
				x, p, err := s.pick(ctx, r)
				if err != nil {
					return err
				}
				return x.untouched(&p.answer, r.headerList(), func(name string) bool { return name == requestIDHeader })
			}},
		{ID: "headers/request-id-made", Level: May, Section: secPractice,
			Clause: "a request without an `x-request-id` is given one",
			run: func(ctx context.Context, s *session) error {
				r := s.chat(1 << 10)
				r.id = ""
				x, p, err := s.pick(ctx, r)
				if err != nil {
					return err
				}
				if v, _ := p.answer.header(requestIDHeader); v == "" {
					return x.fail("no x-request-id", "an x-request-id in the headers answer")
				}
				return nil
			}},
	}
}

// untouched checks that an answer changes none of the headers sent that which
// tells.
func (x *stream) untouched(a *answer, sent [][2]string, which func(name string) bool) error {
	values := map[string]string{}
	count := map[string]int{}
	for _, h := range sent {
		values[h[0]] = h[1]
		count[h[0]]++
	}
	m := a.common.GetHeaderMutation()
	for _, o := range m.GetSetHeaders() {
		name := strings.ToLower(o.GetHeader().GetKey())
		value := string(o.GetHeader().GetRawValue())
		if value == "" {
			value = o.GetHeader().GetValue()
		}
		// Pseudo-headers that were not sent must not be added, either.
		if was, ok := values[name]; which(name) && (ok && (was != value || count[name] > 1) || name[:min(1, len(name))] == ":" && !ok) {
			return x.fail("header "+quote(name)+" set to "+quote(value), "header "+quote(name)+" left as "+quote(was))
		}
	}
	for _, name := range m.GetRemoveHeaders() {
		name = strings.ToLower(name)
		if was, ok := values[name]; ok && which(name) {
			return x.fail("header "+quote(name)+" removed", "header "+quote(name)+" left as "+quote(was))
		}
	}
	return nil
}
