package jsonx

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
)

// Edit changes one member of a document's top object.
type Edit struct {
	Key string
	// Value replaces the member's value, or is a new member's at the front. nil removes
	// the member.
	Value []byte
	// Keep leaves a member that is already there as it is.
	Keep bool
}

type span struct{ lo, hi int }

// Apply makes the edits and leaves every other byte alone. doc must be a valid JSON
// object. A member that is edited must not be there twice, because receivers differ
// in which of two they take. The result is doc itself where nothing changes.
func Apply(doc []byte, edits []Edit) ([]byte, error) {
	type found struct {
		member, value span
		edit          int
	}
	var at []found
	i := space(doc, 0)
	if i >= len(doc) || doc[i] != '{' {
		return nil, errors.New("not a JSON object")
	}
	open := i + 1
	empty := true
	for i = space(doc, open); i < len(doc) && doc[i] == '"'; {
		empty = false
		lo := i
		end := endOfString(doc, i)
		key := unquoteKey(doc[i:end])
		i = space(doc, end)
		if i >= len(doc) || doc[i] != ':' {
			return nil, errors.New("invalid JSON")
		}
		i = space(doc, i+1)
		end = skip(doc, i)
		if e := slices.IndexFunc(edits, func(e Edit) bool { return e.Key == string(key) }); e >= 0 {
			if slices.ContainsFunc(at, func(f found) bool { return f.edit == e }) {
				return nil, fmt.Errorf("%q is given twice", key)
			}
			at = append(at, found{span{lo, end}, span{i, end}, e})
		}
		i = space(doc, end)
		if i < len(doc) && doc[i] == ',' {
			i = space(doc, i+1)
		}
	}

	var out []byte
	grow := 0
	for _, e := range edits {
		grow += len(e.Key) + len(e.Value) + 4
	}
	done := 0
	flush := func(to int) {
		if out == nil {
			out = make([]byte, 0, len(doc)+grow)
		}
		out = append(out, doc[done:to]...)
		done = to
	}
	removed := 0
	for _, f := range at {
		if edits[f.edit].Value == nil {
			removed++
		}
	}
	members := 0
	if !empty {
		members = countMembers(doc, open)
	}
	first := true
	for e := range edits {
		if edits[e].Value == nil || slices.ContainsFunc(at, func(f found) bool { return f.edit == e }) {
			continue
		}
		flush(open)
		if !first {
			out = append(out, ',')
		}
		first = false
		out = AppendString(out, edits[e].Key)
		out = append(out, ':')
		out = append(out, edits[e].Value...)
	}
	if !first && members > removed {
		out = append(out, ',')
	}
	for _, f := range at {
		e := edits[f.edit]
		switch {
		case e.Value == nil:
			lo, hi := f.member.lo, space(doc, f.member.hi)
			if hi < len(doc) && doc[hi] == ',' {
				hi = space(doc, hi+1)
				flush(max(lo, done))
				done = hi
				continue
			}
			// The last member: the comma before it goes too, if it is still there.
			flush(max(lo, done))
			out = bytes.TrimRight(out, " \t\r\n")
			if len(out) > 0 && out[len(out)-1] == ',' {
				out = out[:len(out)-1]
			}
			done = f.member.hi
		case e.Keep || bytes.Equal(doc[f.value.lo:f.value.hi], e.Value):
		default:
			flush(f.value.lo)
			out = append(out, e.Value...)
			done = f.value.hi
		}
	}
	if out == nil {
		return doc, nil
	}
	return append(out, doc[done:]...), nil
}

func countMembers(doc []byte, open int) int {
	n := 0
	_, _ = Each(doc[open-1:], func(_, _ []byte) error { n++; return nil })
	return n
}
