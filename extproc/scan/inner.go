package scan

import (
	"encoding/binary"

	"google.golang.org/protobuf/encoding/protowire"
)

// Inner is the prompt of a gRPC request, as its engine gets it. One of JSON, Text and IDs
// is set. JSON and Text are parts of the body.
type Inner struct {
	// JSON is a request in the JSON of the call's API.
	JSON []byte
	// Text is a prompt that the engine tokenizes as one of [Completions].
	Text []byte
	// IDs are token ids.
	IDs []uint32
	// Items are what in IDs is not text, in the order of the request.
	Items []Item
}

// Item is an image or another part of a prompt that is not text.
type Item struct {
	// Hash is the engine's name for it.
	Hash string
	// At is its first token, Length the number of its tokens.
	At, Length uint32
}

// InnerOf returns the prompt of the body of a gRPC request, one that was scanned without
// an error. It is false where the tokens that the engine computes do not follow from the
// prompt: of items that it is yet to load, for an adapter, for a cut prompt, and for
// calls whose prompts are none of an Inner's.
func InnerOf(c Call, body []byte) (in Inner, ok bool) {
	if len(body) < 5 || body[0] != 0 || uint64(binary.BigEndian.Uint32(body[1:])) != uint64(len(body)-5) || c == NoCall {
		return Inner{}, false
	}
	r := innerReader{call: c, ok: true}
	r.message(calls[c].root, body[5:])
	if !r.ok || len(r.items) != len(r.places) || len(r.items) > maxItems || len(r.in.IDs) > maxIDs {
		return Inner{}, false
	}
	for i, hash := range r.items {
		if len(hash) == 0 || len(hash) > maxHash {
			return Inner{}, false
		}
		r.in.Items = append(r.in.Items, Item{string(hash), r.places[i][0], r.places[i][1]})
	}
	return r.in, r.in.JSON != nil || r.in.Text != nil || len(r.in.IDs) > 0
}

type innerReader struct {
	call   Call
	in     Inner
	ok     bool
	items  [][]byte
	places [][2]uint32 // offset and length
}

// The bounds of an Inner: items, bytes of the hash of one, and token ids.
const (
	maxItems = 1024
	maxHash  = 256
	maxIDs   = 4 << 20
)

// truncatePrompt is a field of vLLM's sampling parameters.
const truncatePrompt = 27

// message reads the message b at p.
func (r *innerReader) message(p place, b []byte) {
	for len(b) > 0 && r.ok {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			r.ok = false
			return
		}
		b = b[n:]
		var v uint64
		var content []byte
		switch typ {
		case protowire.VarintType:
			v, n = protowire.ConsumeVarint(b)
		case protowire.BytesType:
			content, n = protowire.ConsumeBytes(b)
		default:
			n = protowire.ConsumeFieldValue(num, typ, b)
		}
		if n < 0 {
			r.ok = false
			return
		}
		b = b[n:]
		switch typ {
		case protowire.VarintType:
			r.number(p, num, v)
		case protowire.BytesType:
			r.content(p.field(num), content)
		}
	}
}

func (r *innerReader) number(p place, num protowire.Number, v uint64) {
	switch {
	case p.hasID(num):
		r.in.IDs = append(r.in.IDs, uint32(v))
	case p == sampling && num == truncatePrompt && r.call == VLLMGenerate:
		r.ok = false
	case p == placeholder && (num == 1 || num == 2):
		r.places[len(r.places)-1][num-1] = uint32(v)
	}
}

func (r *innerReader) content(p place, b []byte) {
	switch p {
	case placeNone:
	case placeJSON:
		r.in.JSON = b
	case placeText:
		r.in.Text, r.in.IDs = b, nil
		r.ok = r.call == VLLMGenerate
	case tokenized:
		r.in.Text = nil
		r.message(p, b)
	case placeIDs:
		r.in.IDs = appendIDs(r.in.IDs, b)
	case placeMedia:
		r.items = append(r.items, b)
	case placeholder:
		r.places = append(r.places, [2]uint32{})
		r.message(p, b)
	case placeAdapter, mediaRefs, schedulerMedia:
		r.ok = false
	default:
		r.message(p, b)
	}
}

// appendIDs appends packed token ids, up to the first that is malformed.
func appendIDs(ids []uint32, b []byte) []uint32 {
	if ids == nil {
		ids = make([]uint32, 0, len(b)/2)
	}
	for len(b) > 0 {
		v, n := protowire.ConsumeVarint(b)
		if n < 0 {
			return ids
		}
		ids, b = append(ids, uint32(v)), b[n:]
	}
	return ids
}
