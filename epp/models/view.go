package models

import (
	"bytes"
	"cmp"
	"encoding/json"
	"slices"
	"strings"

	"github.com/fairway-ai/fairway/scheduler"
)

// maxAnswer bounds the answer to a client, in bytes: what is further back in the
// alphabet is left out.
const maxAnswer = 1 << 20

// view is what is known of a pool's endpoints at a moment. It is immutable.
type view struct {
	// serving are the endpoints that list a model, and listed those that have a list.
	serving map[string]*servers
	listed  slots
	// models are all of them, by ID.
	models []Model
	// known is how many endpoints have a list.
	known int
}

// servers are the endpoints that list a model.
type servers struct {
	all, adapter slots
}

// slots is a set of endpoints by their slots.
type slots []uint64

func (s slots) has(slot int32) bool {
	word := int(slot) / 64
	return word < len(s) && s[word]&(1<<(slot%64)) != 0
}

func (s *slots) add(slot int32) {
	for int(slot)/64 >= len(*s) {
		*s = append(*s, 0)
	}
	(*s)[slot/64] |= 1 << (slot % 64)
}

// newView puts the lists of endpoints together. Of a model in several lists, what the
// endpoint of the least ID says counts.
func newView(endpoints []scheduler.Endpoint, list func(*scheduler.Endpoint) (models []Model, known bool)) *view {
	v := &view{serving: map[string]*servers{}}
	ordered := make([]*scheduler.Endpoint, len(endpoints))
	for i := range endpoints {
		ordered[i] = &endpoints[i]
	}
	slices.SortFunc(ordered, func(a, b *scheduler.Endpoint) int { return cmp.Compare(a.ID, b.ID) })
	for _, e := range ordered {
		models, known := list(e)
		if !known {
			continue
		}
		v.known++
		v.listed.add(e.Slot)
		for _, m := range models {
			s := v.serving[m.ID]
			if s == nil {
				s = &servers{}
				v.serving[m.ID] = s
				v.models = append(v.models, m)
			}
			s.all.add(e.Slot)
			if m.Adapter {
				s.adapter.add(e.Slot)
			}
		}
	}
	slices.SortFunc(v.models, byID)
	return v
}

func byID(a, b Model) int { return strings.Compare(a.ID, b.ID) }

// keep is Lists.Filter.
func (v *view) keep(model string, endpoints []scheduler.Endpoint, in []int32) []int32 {
	if model == "" || v.known == 0 {
		return in
	}
	s := v.serving[model]
	some, adapter, unlisted := false, false, false
	for _, i := range in {
		slot := endpoints[i].Slot
		unlisted = unlisted || !v.listed.has(slot)
		if s != nil && s.all.has(slot) {
			some = true
			adapter = adapter || s.adapter.has(slot)
		}
	}
	if !some && !unlisted {
		return in // the lists may be incomplete
	}
	out := in[:0]
	for _, i := range in {
		slot := endpoints[i].Slot
		// A server that has not said what it has is unlikely to have an adapter.
		if some && s.all.has(slot) || !adapter && !v.listed.has(slot) {
			out = append(out, i)
		}
	}
	return out
}

// merge is the models of several views, of which the first that has one counts.
func merge(views []*view) (models []Model, known int) {
	seen := map[string]bool{}
	for _, v := range views {
		known += v.known
		for _, m := range v.models {
			if !seen[m.ID] {
				seen[m.ID] = true
				models = append(models, m)
			}
		}
	}
	slices.SortFunc(models, byID)
	return models, known
}

// encode is an OpenAI list of models, which is whole or, at the limit, cut short.
func encode(models []Model, limit int) []byte {
	const head, tail = `{"object":"list","data":[`, `]}`
	var out bytes.Buffer
	out.WriteString(head)
	for i := range models {
		entry, err := json.Marshal(&models[i])
		if err != nil { // texts and a number
			continue
		}
		if out.Len()+1+len(entry)+len(tail) > limit {
			break
		}
		if out.Len() > len(head) {
			out.WriteByte(',')
		}
		out.Write(entry)
	}
	out.WriteString(tail)
	return out.Bytes()
}
