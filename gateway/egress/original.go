package egress

import (
	"fmt"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/fairway-ai/fairway/extproc"
	"github.com/fairway-ai/fairway/gateway/xds"
)

const (
	// Namespace is that of the dynamic metadata in which the request as it was
	// travels from the first ext_proc filter to those of the clusters. A client
	// cannot write it.
	Namespace = xds.RequestNamespace
	// PathKey is the key of the path that the client called, with its query.
	PathKey = xds.RequestPathKey
	// modelKey is the key of the model to send instead of the client's.
	modelKey = "model"
	// headersKey is the key of all headers: names and values by turns.
	headersKey = "headers"
)

// Original is what a try must know of the request as it was before any try, because
// Envoy keeps what a try changed of the headers for the next one.
type Original struct {
	// Path is the client's, with its query.
	Path string
	// Model replaces the client's, unless the backend has one of its own; "" leaves it.
	Model string
	// Headers are all of them, in order; nil where there will be no second try.
	Headers []extproc.Header
}

// fields is the original as the value of [Namespace].
func (o *Original) fields() *structpb.Struct {
	s := &structpb.Struct{Fields: map[string]*structpb.Value{PathKey: text(o.Path)}}
	if o.Model != "" {
		s.Fields[modelKey] = text(o.Model)
	}
	if o.Headers != nil {
		list := make([]*structpb.Value, 0, 2*len(o.Headers))
		for _, h := range o.Headers {
			list = append(list, text(h.Name), text(h.Value))
		}
		s.Fields[headersKey] = structpb.NewListValue(&structpb.ListValue{Values: list})
	}
	return s
}

// text is bytes as a string of protobuf, which must be UTF-8: every byte becomes the
// character of its number. ASCII stays as it is.
func text(s string) *structpb.Value {
	for i := range len(s) {
		if s[i] >= 0x80 {
			r := make([]rune, len(s))
			for k := range len(s) {
				r[k] = rune(s[k])
			}
			return structpb.NewStringValue(string(r))
		}
	}
	return structpb.NewStringValue(s)
}

// untext undoes text.
func untext(v *structpb.Value) string {
	s := v.GetStringValue()
	for i := range len(s) {
		if s[i] >= 0x80 {
			b := make([]byte, 0, len(s))
			for _, r := range s {
				b = append(b, byte(r))
			}
			return string(b)
		}
	}
	return s
}

// readOriginal finds what fields wrote in an encoded envoy.config.core.v3.Metadata;
// ok is false when it is not there.
func readOriginal(metadata []byte) (o Original, ok bool, err error) {
	if len(metadata) == 0 {
		return o, false, nil
	}
	var m corev3.Metadata
	if err := proto.Unmarshal(metadata, &m); err != nil {
		return o, false, fmt.Errorf("metadata_context: %w", err)
	}
	f := m.GetFilterMetadata()[Namespace].GetFields()
	if _, ok := f[PathKey].GetKind().(*structpb.Value_StringValue); !ok {
		return o, false, nil
	}
	o.Path, o.Model = untext(f[PathKey]), untext(f[modelKey])
	list := f[headersKey].GetListValue().GetValues()
	for i := 0; i+1 < len(list); i += 2 {
		o.Headers = append(o.Headers, extproc.Header{Name: untext(list[i]), Value: untext(list[i+1])})
	}
	return o, true, nil
}
