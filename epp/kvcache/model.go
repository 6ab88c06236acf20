package kvcache

import (
	"strings"
	"sync/atomic"
)

// onlyModel is the model that a pool's engines name in their events, if all name the
// same: a request that names none is for that one.
type onlyModel struct{ seen atomic.Pointer[string] }

// saw notes a model; "" says nothing.
func (m *onlyModel) saw(name string) {
	if name == "" {
		return
	}
	for {
		old := m.seen.Load()
		if old != nil && (*old == name || *old == "") {
			return
		}
		next := ""
		if old == nil {
			next = strings.Clone(name)
		}
		if m.seen.CompareAndSwap(old, &next) {
			return
		}
	}
}

// name is "" where there is none, or several.
func (m *onlyModel) name() string {
	if p := m.seen.Load(); p != nil {
		return *p
	}
	return ""
}
