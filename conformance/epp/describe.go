package epp

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/grpc/status"
)

// maxQuoted bounds what is shown of a picker's text, in bytes.
const maxQuoted = 200

// quote shows text that a picker sent.
func quote(s string) string {
	if len(s) > maxQuoted {
		return strconv.QuoteToASCII(s[:maxQuoted]) + "…"
	}
	return strconv.QuoteToASCII(s)
}

// describe tells what a picker said, and how it stands.
func (x *stream) describe(t *transcript) string {
	var parts []string
	add := func(format string, args ...any) { parts = append(parts, fmt.Sprintf(format, args...)) }
	for _, a := range t.requestHeaders {
		if d, ok := a.header(destinationHeader); ok {
			add("a pick of %s", quote(d))
		} else {
			add("a headers answer without a pick")
		}
	}
	t.request.describe("request", add)
	if len(t.responseHeaders) > 0 {
		add("an answer to the response headers")
	}
	t.response.describe("response", add)
	if i := t.immediate; i != nil {
		add("ImmediateResponse %d with body %s", i.GetStatus().GetCode(), quote(string(i.GetBody())))
	}
	switch {
	case t.excess:
		add("more than is read")
	case errors.Is(t.end, io.EOF) && t.immediate == nil:
		add("the end of the stream with gRPC status OK")
	case t.end != nil && !errors.Is(t.end, io.EOF):
		st := status.Convert(t.end)
		add("gRPC status %s %s instead of a message", st.Code(), quote(st.Message()))
	case t.immediate == nil:
		add("nothing more within %v", x.timeout)
	}
	return strings.Join(parts, ", ")
}

func (b *bodyAnswers) describe(which string, add func(string, ...any)) {
	if n := len(b.acks); n > 0 {
		add("%d %s body answers without streamed_response", n, which)
	}
	if len(b.bytes) > 0 || b.ends > 0 {
		add("%d %s body bytes with %d ends of stream", len(b.bytes), which, b.ends)
	}
	if b.trailers > 0 {
		add("%d answers to the %s trailers", b.trailers, which)
	}
}

// differ tells where two bodies differ.
func differ(got, want []byte) string {
	n := 0
	for n < len(got) && n < len(want) && got[n] == want[n] {
		n++
	}
	show := func(b []byte) string {
		if n >= len(b) {
			return "the end"
		}
		return quote(string(b[n:min(n+24, len(b))]))
	}
	return fmt.Sprintf("%d bytes that differ from byte %d on: %s instead of %s", len(got), n, show(got), show(want))
}

func list(a []netip.AddrPort) string {
	var s []string
	for _, e := range a {
		s = append(s, e.String())
	}
	return "[" + strings.Join(s, " ") + "]"
}

// sorted returns a sorted copy.
func sorted(a []netip.AddrPort) []netip.AddrPort {
	a = slices.Clone(a)
	slices.SortFunc(a, netip.AddrPort.Compare)
	return a
}
