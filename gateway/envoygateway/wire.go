package envoygateway

import (
	"errors"
	"fmt"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
)

// The fields of PostTranslateModifyRequest and its response. Both have the same
// four lists; in the request a context comes first.
const (
	requestClusters  = 2
	requestSecrets   = 3
	requestListeners = 4
	requestRoutes    = 5

	responseClusters  = 1
	responseSecrets   = 2
	responseListeners = 3
	responseRoutes    = 4
)

// resources are what the hook gets and gives, each message in its encoding. Secrets
// are never decoded.
type resources struct {
	clusters, secrets, listeners, routes [][]byte
}

// errTruncated is an encoding that ends or breaks in the middle.
var errTruncated = errors.New("not a protobuf message")

// decodeRequest reads a PostTranslateModifyRequest. The result refers to data.
func decodeRequest(data []byte) (resources, error) {
	var r resources
	err := eachField(data, func(f field) error {
		var list *[][]byte
		switch f.number {
		case requestClusters:
			list = &r.clusters
		case requestSecrets:
			list = &r.secrets
		case requestListeners:
			list = &r.listeners
		case requestRoutes:
			list = &r.routes
		default: // the context, and what later versions add
			return nil
		}
		if f.kind != protowire.BytesType {
			return fmt.Errorf("field %d: not a message", f.number)
		}
		*list = append(*list, f.value)
		return nil
	})
	return r, err
}

// encodeResponse writes a PostTranslateModifyResponse.
func encodeResponse(r resources) []byte {
	lists := [...]struct {
		number protowire.Number
		list   [][]byte
	}{
		{responseClusters, r.clusters},
		{responseSecrets, r.secrets},
		{responseListeners, r.listeners},
		{responseRoutes, r.routes},
	}
	size := 0
	for _, l := range lists {
		for _, m := range l.list {
			size += protowire.SizeTag(l.number) + protowire.SizeBytes(len(m))
		}
	}
	out := make([]byte, 0, size)
	for _, l := range lists {
		for _, m := range l.list {
			out = appendMessage(out, l.number, m)
		}
	}
	return out
}

func appendMessage(out []byte, number protowire.Number, m []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(out, number, protowire.BytesType), m)
}

// field is one field of an encoded message.
type field struct {
	number protowire.Number
	kind   protowire.Type
	// value is the content of a string, bytes or message field.
	value []byte
	// all is the field as it was encoded, its tag included.
	all []byte
}

// eachField calls f for every field of a message, in order, until it fails.
func eachField(data []byte, f func(field) error) error {
	for len(data) > 0 {
		number, kind, n := protowire.ConsumeTag(data)
		if n < 0 {
			return errTruncated
		}
		m := protowire.ConsumeFieldValue(number, kind, data[n:])
		if m < 0 {
			return errTruncated
		}
		at := field{number: number, kind: kind, all: data[:n+m]}
		if kind == protowire.BytesType {
			at.value, _ = protowire.ConsumeBytes(data[n:])
		}
		if err := f(at); err != nil {
			return err
		}
		data = data[n+m:]
	}
	return nil
}

// inField calls f with the content of every field of that number.
func inField(data []byte, number protowire.Number, f func([]byte) error) error {
	return eachField(data, func(at field) error {
		if at.number != number || at.kind != protowire.BytesType {
			return nil
		}
		return f(at.value)
	})
}

// stringField is the last value of a string field, as a decoder would have it.
func stringField(data []byte, number protowire.Number) (string, error) {
	var s []byte
	err := eachField(data, func(f field) error {
		if f.number == number && f.kind == protowire.BytesType {
			s = f.value
		}
		return nil
	})
	if err == nil && !utf8.Valid(s) {
		err = fmt.Errorf("field %d: not UTF-8", number)
	}
	return string(s), err
}
