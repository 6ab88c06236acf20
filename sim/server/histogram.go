package server

import (
	"slices"
	"sort"
)

// histogram is a Prometheus histogram. Its owner guards it.
type histogram struct {
	bounds []float64
	counts []uint64 // one per bound, and the rest
	sum    float64
}

func newHistogram(bounds []float64) histogram {
	return histogram{bounds: bounds, counts: make([]uint64, len(bounds)+1)}
}

func (h *histogram) observe(v float64) {
	h.counts[sort.SearchFloat64s(h.bounds, v)]++
	h.sum += v
}

func (h *histogram) clone() histogram {
	return histogram{h.bounds, slices.Clone(h.counts), h.sum}
}

// Buckets, as vLLM has them.
func latencyBuckets() []float64 {
	return []float64{.3, .5, .8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480, 960, 1920, 7680}
}

func firstTokenBuckets() []float64 {
	return []float64{.001, .005, .01, .02, .04, .06, .08, .1, .25, .5, .75, 1, 2.5, 5, 7.5, 10, 20, 40, 80, 160, 640, 2560}
}

func interTokenBuckets() []float64 {
	return []float64{.01, .025, .05, .075, .1, .15, .2, .3, .4, .5, .75, 1, 2.5, 5, 7.5, 10, 20, 40, 80}
}

func iterationBuckets() []float64 {
	return []float64{1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384}
}

// lengthBuckets are 1, 2, 5, 10, ... up to a length.
func lengthBuckets(limit int) []float64 {
	var out []float64
	for v := 1.0; ; v *= 10 {
		for _, m := range []float64{1, 2, 5} {
			if v*m > float64(limit) {
				return out
			}
			out = append(out, v*m)
		}
	}
}

func httpBuckets() []float64 {
	return []float64{.01, .025, .05, .075, .1, .25, .5, .75, 1, 1.5, 2, 2.5, 3, 3.5, 4, 4.5, 5, 7.5, 10, 30, 60}
}

func httpHandlerBuckets() []float64 { return []float64{.1, .5, 1} }
