package engine

import (
	"slices"
)

// adapters accounts for LoRA slots. Adapters of running sequences are active; an
// adapter stays in memory after that until its slot is needed.
type adapters struct {
	max      int
	active   map[string]int // running sequences by adapter
	resident []string       // in memory, least recently used first
}

// fits says whether a sequence with the adapter can run now.
func (a *adapters) fits(name string) bool {
	return name == "" || a.max == 0 || a.active[name] > 0 || len(a.active) < a.max
}

// acquire counts a sequence that starts to run, and says whether its adapter must
// be loaded. The caller has checked fits.
func (a *adapters) acquire(name string) (load bool) {
	if name == "" {
		return false
	}
	i := slices.Index(a.resident, name)
	switch {
	case i >= 0:
		a.resident = slices.Delete(a.resident, i, i+1)
	case a.max > 0 && len(a.resident) >= a.max:
		victim := slices.IndexFunc(a.resident, func(n string) bool { return a.active[n] == 0 })
		a.resident = slices.Delete(a.resident, victim, victim+1)
	}
	a.resident = append(a.resident, name)
	a.active[name]++
	return i < 0
}

// release counts a sequence that stops running.
func (a *adapters) release(name string) {
	if name == "" {
		return
	}
	if a.active[name]--; a.active[name] == 0 {
		delete(a.active, name)
	}
}
