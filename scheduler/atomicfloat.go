package scheduler

import (
	"math"
	"sync/atomic"
)

// atomicFloat is a float64 that can be read while it is written.
type atomicFloat struct{ bits atomic.Uint64 }

func (f *atomicFloat) store(v float64) { f.bits.Store(math.Float64bits(v)) }
func (f *atomicFloat) load() float64   { return math.Float64frombits(f.bits.Load()) }
