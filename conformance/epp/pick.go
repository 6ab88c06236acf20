package epp

import (
	"context"
	"net/netip"
	"strings"
)

// header returns the value an answer sets for a header, by its lower-case name.
func (a *answer) header(name string) (string, bool) {
	value, ok := "", false
	for _, o := range a.common.GetHeaderMutation().GetSetHeaders() {
		if h := o.GetHeader(); strings.EqualFold(h.GetKey(), name) {
			// The last one counts: Envoy overwrites.
			if value, ok = string(h.GetRawValue()), true; value == "" {
				value = h.GetValue()
			}
		}
	}
	return value, ok
}

// destination returns the pick in an answer's dynamic metadata.
func (a *answer) destination() (string, bool) {
	v, ok := a.metadata.GetFields()[destinationNamespace].GetStructValue().GetFields()[destinationHeader]
	return v.GetStringValue(), ok
}

// pick is a picker's choice.
type pick struct {
	answer answer
	// header and metadata are the two ways it is told, each of which may lack.
	header, metadata       string
	hasHeader, hasMetadata bool
	// addresses are the endpoints told, by whichever way there is.
	addresses []netip.AddrPort
}

func pickOf(a answer) pick {
	p := pick{answer: a}
	p.header, p.hasHeader = a.header(destinationHeader)
	p.metadata, p.hasMetadata = a.destination()
	told := p.header
	if !p.hasHeader {
		told = p.metadata
	}
	for part := range strings.SplitSeq(told, ",") {
		if addr, err := netip.ParseAddrPort(strings.TrimSpace(part)); err == nil {
			p.addresses = append(p.addresses, addr)
		}
	}
	return p
}

// pickOn waits for the pick on a stream where a request was sent.
func pickOn(x *stream) (pick, error) {
	t, ok := x.until(picked)
	if !ok {
		got := x.describe(&t)
		if c := t.immediate.GetStatus().GetCode(); c == 400 || c == 404 {
			got += " (if the picker knows only some models, name one with --model)"
		}
		return pick{}, x.fail(got, "an answer to the request headers with a pick")
	}
	p := pickOf(t.requestHeaders[0])
	if !p.hasHeader && !p.hasMetadata {
		return p, x.fail(x.describe(&t), "a pick as header "+destinationHeader+" and as dynamic metadata "+destinationNamespace)
	}
	return p, nil
}

// pick sends r and returns the pick; the stream is cancelled, and returned for
// what was sent.
func (s *session) pick(ctx context.Context, r request) (*stream, pick, error) {
	x, err := s.ask(ctx, r)
	if err != nil {
		return nil, pick{}, err
	}
	defer x.cancel()
	p, err := pickOn(x)
	return x, p, err
}
