package kvevents

import (
	"bytes"
	"slices"
)

// readMetadata reads the cache salt of an earlier SGLang's metadata.
func (d *decoder) readMetadata(r *reader) error {
	n, err := r.object()
	if err != nil {
		return err
	}
	for range n {
		key, err := r.data()
		if err != nil {
			return err
		}
		if string(key) != "cache_salt" {
			if err := r.skip(); err != nil {
				return err
			}
			continue
		}
		if r.null() {
			continue
		}
		if d.ev.salt, err = name(r); err != nil {
			return err
		}
	}
	return nil
}

// placeSalt makes a salt that has a field of its own, which all blocks of a prompt
// repeat, what it is where it is among the extra keys: the last one of the prompt's first
// block.
func (d *decoder) placeSalt() {
	e := &d.ev
	if len(e.salt) == 0 || e.hasParent {
		return
	}
	first := 0
	if len(d.ends) > 0 {
		first = d.ends[0]
	}
	if slices.ContainsFunc(d.flat[:first], func(x Extra) bool { return bytes.Equal(x.Key, e.salt) }) {
		return // an engine may have it at both places
	}
	d.flat = slices.Insert(d.flat, first, Extra{Key: e.salt})
	if len(d.ends) == 0 {
		d.ends = append(d.ends, 0)
	}
	for i := range d.ends {
		d.ends[i]++
	}
	e.extraGiven = true
}
