package extproc

import (
	"context"
	"time"

	"google.golang.org/grpc/mem"
)

// Foreign knows the pools that an endpoint picker of somebody else answers for.
// Package relay implements it.
type Foreign interface {
	// Consult begins to ask the picker of a pool about one request, and returns nil
	// for a pool that is the server's own Picker's. It does not block. ctx is the
	// request's: when it ends, so does the exchange.
	Consult(ctx context.Context, pool string) Exchange
}

// Misser is a [Foreign] that is told of streams for a pool that ended before their
// request was read: what the proxy wanted to ask about was over at once. ctx has the
// metadata of the stream's call.
type Misser interface {
	Missed(ctx context.Context, pool string)
}

// Exchange is one request's conversation with a foreign picker. All calls come from
// one goroutine, in the order of the methods; Close is called once and last. A
// picker that fails is the implementation's to deal with: after it, changes are
// empty and bodies pass as they were.
type Exchange interface {
	// RequestHeaders passes the request's head on. It does not block. An error is
	// answered to the client as a Picker's is.
	RequestHeaders(h Head) error
	// RequestBody passes a part of the request's body on, the last one when end. It
	// takes over the references and does not block.
	RequestBody(part mem.BufferSlice, end bool)
	// Decide waits for what the picker says about the request, which was passed on
	// whole. hold tells Envoy how long it may take. A Change without Destinations
	// and without Immediate lets the request pass unpicked. An error is answered to
	// the client as a Picker's is.
	Decide(hold func(time.Duration) error) (Change, error)
	// ResponseHeaders passes the response's head on and waits for the answer.
	ResponseHeaders(h Head, hold func(time.Duration) error) Change
	// ResponseBody passes a part of the response's body on, the last one when end,
	// and waits for what the client is to get instead. When mayKeep, that may be
	// less than is known so far: the rest comes later, the last of it at the end. It
	// takes over the references.
	ResponseBody(part mem.BufferSlice, end, mayKeep bool, hold func(time.Duration) error) Change
	// WantsResponse says whether the picker is to be asked about the response's
	// headers and body. What it says may turn to false at any time.
	WantsResponse() (headers, body bool)
	// Close ends the exchange; complete says that the response ended normally.
	Close(complete bool)
}

// Head is a request's or response's head as Envoy sent it.
type Head struct {
	// Headers, in order, less those that are not for pickers. They are valid as long
	// as the call.
	Headers []Header
	// Metadata is metadata_context, an encoded envoy.config.core.v3.Metadata.
	Metadata []byte
	// Attributes are the entries of attributes, encoded.
	Attributes [][]byte
	// End says that no body follows, or none that the picker will be sent.
	End bool
}

// Change is what a foreign picker wants changed. Encoded parts are as it sent them,
// checked to be well-formed and of a bounded size.
type Change struct {
	// Immediate, when not nil, is an encoded ImmediateResponse to answer with, and
	// ImmediateStatus its HTTP status.
	Immediate       []byte
	ImmediateStatus int
	// Destinations is the pick, "ip:port[,ip:port…]".
	Destinations string
	// SetHeaders are encoded HeaderValueOptions, in order; RemoveHeaders are names,
	// removed before.
	SetHeaders    [][]byte
	RemoveHeaders []string
	// Metadata is dynamic_metadata, an encoded google.protobuf.Struct, the pick in
	// it; TypedMetadata are entries of typed_dynamic_metadata.
	Metadata      []byte
	TypedMetadata [][]byte
	// ClearRouteCache asks Envoy to choose the route again.
	ClearRouteCache bool
	// Replace is the status CONTINUE_AND_REPLACE, of an answer to response headers:
	// Body is the whole body and no other follows.
	Replace bool
	// BodyChanged says that Body is to be used instead of the body passed on; it may
	// be empty. The receiver takes over the references.
	BodyChanged bool
	Body        mem.BufferSlice
}

// headersChanged reports whether there is a header mutation in c.
func (c *Change) headersChanged() bool { return len(c.SetHeaders)+len(c.RemoveHeaders) > 0 }

// attributes returns the encoded entries of the message's attributes.
func (m *message) attributes() (entries [][]byte, err error) {
	if !m.hasAttributes {
		return nil, nil
	}
	c := cursor{bufs: m.data, end: m.data.Len()}
	for total := 0; c.more(); {
		num, typ, err := c.tag()
		if err != nil {
			return nil, err
		}
		if num != 9 || typ != wireBytes {
			if err := c.skipField(typ); err != nil {
				return nil, err
			}
			continue
		}
		s, err := c.bytes()
		if err != nil {
			return nil, err
		}
		if total += s.n; total > maxSmall {
			return nil, errWire
		}
		b, err := m.bytes(s)
		if err != nil {
			return nil, err
		}
		entries = append(entries, append([]byte(nil), b...))
	}
	return entries, nil
}

// body returns the body bytes of the message as references of their own.
func (m *message) body() mem.BufferSlice {
	var out mem.BufferSlice
	_ = m.pieces(m.payload, func(b mem.Buffer, lo, hi int) error {
		out = append(out, b.Slice(lo, hi))
		return nil
	})
	return out
}
