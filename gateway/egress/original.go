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
	// ruleKey, askedKey and idKey are those of what only tells of the request.
	ruleKey, askedKey, idKey = "rule", "asked", xds.RequestIDKey
	// poolsKey is the key of models of pools: names of pools and of models by turns.
	poolsKey = "pools"
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
	// Rule is the name of the rule that the request follows, and Asked the model that
	// the client named; "" where they are not known.
	Rule, Asked string
	// ID names the request among all others, and no client can know it: what tries
	// did is told to [Tries] under it. "" means the request's x-request-id.
	ID string
	// Pools are the pools that have names of their own for the model; the first one of
	// a name counts.
	Pools []PoolModel
}

// PoolModel is the name by which a pool, "namespace/name", serves the request's model;
// "" when the body has it already.
type PoolModel struct{ Pool, Model string }

// modelFor is the name to send to a pool in place of the one in the body, "" to leave
// that.
func (o *Original) modelFor(pool string) string {
	for _, p := range o.Pools {
		if p.Pool == pool {
			return p.Model
		}
	}
	return o.Model
}

// fields is the original as the value of [Namespace].
func (o *Original) fields() *structpb.Struct {
	s := &structpb.Struct{Fields: map[string]*structpb.Value{PathKey: text(o.Path)}}
	if o.Model != "" {
		s.Fields[modelKey] = text(o.Model)
	}
	for key, value := range map[string]string{ruleKey: o.Rule, askedKey: o.Asked, idKey: o.ID} {
		if value != "" {
			s.Fields[key] = text(value)
		}
	}
	if len(o.Pools) > 0 {
		list := make([]*structpb.Value, 0, 2*len(o.Pools))
		for _, p := range o.Pools {
			list = append(list, text(p.Pool), text(p.Model))
		}
		s.Fields[poolsKey] = structpb.NewListValue(&structpb.ListValue{Values: list})
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
	o.Rule, o.Asked, o.ID = untext(f[ruleKey]), untext(f[askedKey]), untext(f[idKey])
	pools := f[poolsKey].GetListValue().GetValues()
	for i := 0; i+1 < len(pools); i += 2 {
		o.Pools = append(o.Pools, PoolModel{untext(pools[i]), untext(pools[i+1])})
	}
	list := f[headersKey].GetListValue().GetValues()
	for i := 0; i+1 < len(list); i += 2 {
		o.Headers = append(o.Headers, extproc.Header{Name: untext(list[i]), Value: untext(list[i+1])})
	}
	return o, true, nil
}
