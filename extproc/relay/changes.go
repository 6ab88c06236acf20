package relay

import (
	"fmt"
	"slices"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/fairway-ai/fairway/extproc"
)

const (
	lbNamespace     = "envoy.lb"
	destinationName = extproc.DestinationHeader
)

// changes collects what answers change besides bodies, in order.
type changes struct {
	set    []setHeader
	remove []string
	size   int
	clear  bool

	metadata *structpb.Struct
	typed    [][]byte
	mdSize   int
}

// add adds an answer's.
func (c *changes) add(a *answer) error {
	if c.size += a.size; c.size > maxHeaderBytes {
		return fmt.Errorf("more than %d bytes of header mutations", maxHeaderBytes)
	}
	c.clear = c.clear || a.clear
	for _, name := range a.remove {
		// Removed after it was set: within one mutation Envoy would remove first.
		c.set = slices.DeleteFunc(c.set, func(h setHeader) bool { return strings.EqualFold(h.name, name) })
		c.remove = append(c.remove, name)
	}
	c.set = append(c.set, a.set...)
	if a.metadata == nil && a.typed == nil {
		return nil
	}
	for _, t := range a.typed {
		c.mdSize += len(t)
	}
	c.mdSize += proto.Size(a.metadata)
	if c.mdSize > maxMetadataBytes {
		return fmt.Errorf("more than %d bytes of dynamic metadata", maxMetadataBytes)
	}
	c.typed = append(c.typed, a.typed...)
	c.merge(a.metadata)
	return nil
}

// merge adds metadata as Envoy would: by namespace, the later value of a key counts.
func (c *changes) merge(md *structpb.Struct) {
	for namespace, v := range md.GetFields() {
		if c.metadata == nil {
			c.metadata = &structpb.Struct{Fields: map[string]*structpb.Value{}}
		}
		old := c.metadata.Fields[namespace].GetStructValue()
		if old == nil || v.GetStructValue() == nil {
			c.metadata.Fields[namespace] = v
			continue
		}
		if old.Fields == nil {
			old.Fields = map[string]*structpb.Value{}
		}
		for key, field := range v.GetStructValue().GetFields() {
			old.Fields[key] = field
		}
	}
}

// destinations returns the pick: as a header, else as metadata.
func (c *changes) destinations() (pick string, differ bool) {
	for i := range c.set {
		if strings.EqualFold(c.set[i].name, destinationName) && c.set[i].value != "" {
			pick = c.set[i].value // the last one counts
		}
	}
	md := c.metadata.GetFields()[lbNamespace].GetStructValue().GetFields()[destinationName].GetStringValue()
	if pick == "" {
		return md, false
	}
	return pick, md != "" && md != pick
}

// change returns what Envoy is told. pick, when not empty, is the request's
// destinations, which are set both ways.
func (c *changes) change(pick string) extproc.Change {
	out := extproc.Change{RemoveHeaders: c.remove, ClearRouteCache: c.clear, TypedMetadata: c.typed, Destinations: pick}
	for _, h := range c.set {
		// Lengths are Envoy's, and ours where a body changes.
		if !strings.EqualFold(h.name, "content-length") && !(pick != "" && strings.EqualFold(h.name, destinationName)) {
			out.SetHeaders = append(out.SetHeaders, h.option)
		}
	}
	if pick != "" {
		// Routes may tell by the header whether there was a pick.
		out.ClearRouteCache = true
		out.SetHeaders = append(out.SetHeaders, destinationOption(pick))
		c.merge(&structpb.Struct{Fields: map[string]*structpb.Value{
			lbNamespace: structpb.NewStructValue(&structpb.Struct{Fields: map[string]*structpb.Value{
				destinationName: structpb.NewStringValue(pick),
			}}),
		}})
	}
	if c.metadata != nil {
		out.Metadata, _ = proto.Marshal(c.metadata) // cannot fail: its strings were read from protobuf
	}
	return out
}

func destinationOption(pick string) []byte {
	option, _ := proto.Marshal(&corev3.HeaderValueOption{ // cannot fail: no strings that are not UTF-8
		Header:       &corev3.HeaderValue{Key: destinationName, RawValue: []byte(pick)},
		AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
	})
	return option
}

// validPick reports whether destinations can be told to Envoy: in a header and in a
// protobuf string.
func validPick(pick string) bool {
	if len(pick) > maxDestinations {
		return false
	}
	for i := range len(pick) {
		if pick[i] < ' ' || pick[i] > '~' {
			return false
		}
	}
	return strings.TrimLeft(pick, " ,") != ""
}
