package scheduler

import (
	"maps"
	"strings"
)

const (
	// MaxAdapters bounds how many LoRA adapters are known of a pool. When more have been
	// named over time, the earlier ones are forgotten.
	MaxAdapters = 4096
	// adapterBits is how many adapters are told apart at one endpoint: those whose numbers
	// have the same remainder count as one.
	adapterBits = 1024
)

// Adapters numbers the LoRA adapters that a pool's engines have named so far, from 1
// on, and so tells them from the base model, which engines do not name. It is
// immutable; nil knows none.
type Adapters struct{ numbers map[string]int32 }

// With returns a with those of the names that it does not have, or a itself when it has
// all. The others' numbers stay what they are, unless there are more than
// [MaxAdapters].
func (a *Adapters) With(names []string) *Adapters {
	var numbers map[string]int32
	if a != nil {
		numbers = a.numbers
	}
	grown := false
	for _, n := range names {
		if n == "" || numbers[n] != 0 {
			continue
		}
		if !grown {
			numbers, grown = maps.Clone(numbers), true
		}
		if numbers == nil || len(numbers) >= MaxAdapters {
			numbers = make(map[string]int32, len(names))
		}
		// What is given may be part of a larger string.
		numbers[strings.Clone(n)] = int32(len(numbers) + 1)
	}
	if !grown {
		return a
	}
	return &Adapters{numbers}
}

// Number is the number of the adapter of that name, 0 when there is none.
func (a *Adapters) Number(name string) int32 {
	if a == nil {
		return 0
	}
	return a.numbers[name]
}

// Use returns what an endpoint says that it has, by number; nil when that is nothing.
// Names that a does not have are left out.
func (a *Adapters) Use(active, waiting []string) *AdapterUse {
	if a == nil || len(active)+len(waiting) == 0 {
		return nil
	}
	u := new(AdapterUse)
	for _, n := range active {
		if k := a.Number(n); k != 0 && u.active.add(k) {
			u.distinct++
		}
	}
	for _, n := range waiting {
		if k := a.Number(n); k != 0 && u.waiting.add(k) && !u.active.has(k) {
			u.distinct++
		}
	}
	return u
}

// AdapterUse is the LoRA adapters of an endpoint's running and queued requests. It is
// immutable; nil has none.
type AdapterUse struct {
	active, waiting adapterSet
	distinct        int32
}

// adapterSet has a bit for each number's remainder.
type adapterSet [adapterBits / 64]uint64

func (s *adapterSet) add(number int32) (fresh bool) {
	word, bit := &s[uint32(number)%adapterBits/64], uint64(1)<<(uint32(number)%64)
	fresh = *word&bit == 0
	*word |= bit
	return fresh
}

func (s *adapterSet) has(number int32) bool {
	return s[uint32(number)%adapterBits/64]&(1<<(uint32(number)%64)) != 0
}
