package relay

import (
	"errors"
	"fmt"
	"slices"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	modev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
)

const (
	// maxHeaderBytes bounds the header mutations that one picker makes of a request or
	// of a response, in bytes as encoded.
	maxHeaderBytes = 64 << 10
	// maxMetadataBytes bounds one message's dynamic metadata.
	maxMetadataBytes = 64 << 10
	// maxDepth bounds how deep dynamic metadata is nested.
	maxDepth = 16
	// maxDestinations bounds the list of picked endpoints.
	maxDestinations = 8 << 10
)

// Fields of ProcessingResponse.
const (
	answersRequestHeaders   = 1
	answersResponseHeaders  = 2
	answersRequestBody      = 3
	answersResponseBody     = 4
	answersRequestTrailers  = 5
	answersResponseTrailers = 6
	answersImmediately      = 7
)

var errWire = errors.New("not a ProcessingResponse")

// bodyKind is what an answer does to a body.
type bodyKind uint8

const (
	bodyKept     bodyKind = iota
	bodyReplaced          // by the answer's bytes, which may be none
	bodyStreamed          // the answer's bytes are the next ones
)

// answer is a decoded ProcessingResponse.
type answer struct {
	// to is the field number of the message that it answers; 0 for an answer to none.
	to      protowire.Number
	replace bool // CONTINUE_AND_REPLACE
	set     []setHeader
	remove  []string
	size    int // of set and remove, in bytes
	kind    bodyKind
	body    []byte // part of the message
	end     bool   // of a streamed body
	clear   bool   // the route cache

	immediate []byte // encoded
	status    int    // of immediate

	metadata *structpb.Struct
	typed    [][]byte
	mode     *modev3.ProcessingMode
}

// setHeader is a header to set.
type setHeader struct {
	name, value string
	option      []byte // the HeaderValueOption as it came
}

// decode reads a ProcessingResponse. Only the answer's body is part of b; all else is
// copied.
func decode(b []byte) (a answer, err error) {
	metadataBytes := 0
	err = fields(b, func(num protowire.Number, v []byte) error {
		switch {
		case num <= answersResponseBody:
			a.reset(num)
			return fields(v, func(n protowire.Number, common []byte) error {
				if n == 1 {
					return a.common(common)
				}
				return nil
			})
		case num <= answersResponseTrailers:
			a.reset(num)
		case num == answersImmediately:
			a.reset(num)
			return a.immediately(v)
		case num == 11:
			return errors.New("streamed_immediate_response is not supported")
		case num == 8 || num == 13:
			if metadataBytes += len(v); metadataBytes > maxMetadataBytes {
				return fmt.Errorf("more than %d bytes of dynamic metadata", maxMetadataBytes)
			}
			if num == 13 {
				return a.typedMetadata(v)
			}
			a.metadata = &structpb.Struct{}
			if err := proto.Unmarshal(v, a.metadata); err != nil {
				return err
			}
			if !shallow(structpb.NewStructValue(a.metadata), maxDepth) {
				return fmt.Errorf("dynamic metadata nested deeper than %d", maxDepth)
			}
			return nil
		case num == 9:
			a.mode = &modev3.ProcessingMode{}
			return proto.Unmarshal(v, a.mode)
		}
		return nil // an unknown field
	})
	return a, err
}

// reset makes a the answer to a message: of a oneof, the last one counts.
func (a *answer) reset(to protowire.Number) {
	*a = answer{to: to, metadata: a.metadata, typed: a.typed, mode: a.mode}
}

// values calls each for every field of message b, with its value as it is encoded.
func values(b []byte, each func(num protowire.Number, typ protowire.Type, v []byte) error) error {
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return errWire
		}
		b = b[n:]
		if n = protowire.ConsumeFieldValue(num, typ, b); n < 0 {
			return errWire
		}
		if err := each(num, typ, b[:n]); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// fields calls each for every field of message b that is bytes, and for no other.
func fields(b []byte, each func(num protowire.Number, v []byte) error) error {
	return values(b, func(num protowire.Number, typ protowire.Type, v []byte) error {
		if typ != protowire.BytesType {
			return nil
		}
		v, _ = protowire.ConsumeBytes(v)
		return each(num, v)
	})
}

// common reads a CommonResponse, but for its body with the generated code.
func (a *answer) common(b []byte) error {
	var rest []byte
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeField(b)
		if n < 0 {
			return errWire
		}
		field := b[:n]
		b = b[n:]
		if num != 3 || typ != protowire.BytesType {
			rest = append(rest, field...)
			continue
		}
		_, _, t := protowire.ConsumeTag(field)
		v, t := protowire.ConsumeBytes(field[t:])
		if t < 0 {
			return errWire
		}
		if err := a.bodyMutation(v); err != nil {
			return err
		}
	}
	if len(rest) > maxHeaderBytes {
		return fmt.Errorf("more than %d bytes of header mutations", maxHeaderBytes)
	}
	var c extprocv3.CommonResponse
	if err := proto.Unmarshal(rest, &c); err != nil {
		return err
	}
	a.replace = c.GetStatus() == extprocv3.CommonResponse_CONTINUE_AND_REPLACE
	a.clear = c.GetClearRouteCache()
	a.size = len(rest)
	for _, o := range c.GetHeaderMutation().GetSetHeaders() {
		h := setHeader{name: o.GetHeader().GetKey(), value: o.GetHeader().GetValue()}
		if raw := o.GetHeader().GetRawValue(); len(raw) > 0 {
			h.value = string(raw)
		}
		if !validHeader(h.name, h.value) {
			continue // one bad character would make Envoy drop the whole answer
		}
		var err error
		if h.option, err = proto.Marshal(o); err != nil {
			return err
		}
		a.set = append(a.set, h)
	}
	for _, name := range c.GetHeaderMutation().GetRemoveHeaders() {
		if validHeader(name, "") {
			a.remove = append(a.remove, name)
		}
	}
	return nil
}

func (a *answer) bodyMutation(b []byte) error {
	return values(b, func(num protowire.Number, typ protowire.Type, v []byte) error {
		switch {
		case num == 1 && typ == protowire.BytesType:
			a.kind = bodyReplaced
			a.body, _ = protowire.ConsumeBytes(v)
		case num == 2 && typ == protowire.VarintType:
			if on, _ := protowire.ConsumeVarint(v); on != 0 {
				a.kind, a.body = bodyReplaced, nil
			}
		case num == 3 && typ == protowire.BytesType:
			streamed, _ := protowire.ConsumeBytes(v)
			a.kind, a.body, a.end = bodyStreamed, nil, false
			return a.streamed(streamed)
		}
		return nil
	})
}

func (a *answer) streamed(b []byte) error {
	return values(b, func(num protowire.Number, typ protowire.Type, v []byte) error {
		switch {
		case num == 1 && typ == protowire.BytesType:
			a.body, _ = protowire.ConsumeBytes(v)
		case num == 2 && typ == protowire.VarintType:
			on, _ := protowire.ConsumeVarint(v)
			a.end = on != 0
		}
		return nil
	})
}

// immediately checks an ImmediateResponse and keeps it as it is, but for headers that
// would make Envoy drop it.
func (a *answer) immediately(b []byte) error {
	var m extprocv3.ImmediateResponse
	if err := proto.Unmarshal(b, &m); err != nil {
		return err
	}
	if a.status = int(m.GetStatus().GetCode()); a.status < 200 || a.status > 599 {
		return fmt.Errorf("an immediate response with status %d", a.status)
	}
	if proto.Size(m.GetHeaders()) > maxHeaderBytes {
		return fmt.Errorf("more than %d bytes of headers in an immediate response", maxHeaderBytes)
	}
	bad := func(o *corev3.HeaderValueOption) bool {
		h := o.GetHeader()
		return !validHeader(h.GetKey(), h.GetValue()) || !validHeader(h.GetKey(), string(h.GetRawValue()))
	}
	if h := m.GetHeaders(); slices.ContainsFunc(h.GetSetHeaders(), bad) {
		h.SetHeaders = slices.DeleteFunc(h.SetHeaders, bad)
		var err error
		a.immediate, err = proto.Marshal(&m)
		return err
	}
	a.immediate = append(make([]byte, 0, len(b)), b...)
	return nil
}

// typedMetadata checks and keeps an entry of typed_dynamic_metadata.
func (a *answer) typedMetadata(b []byte) error {
	if err := proto.Unmarshal(appendBytes(nil, 13, b), &extprocv3.ProcessingResponse{}); err != nil {
		return err
	}
	a.typed = append(a.typed, append([]byte(nil), b...))
	return nil
}
