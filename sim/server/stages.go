package server

import "sync/atomic"

// stageTotals counts what a server has done of requests.
type stageTotals struct {
	whole, prefill, decode, encode atomic.Int64
	// expired are prompts that nobody fetched in time, failed those that could not be
	// fetched.
	expired, failed atomic.Int64
}

func (t *stageTotals) of(s stage) *atomic.Int64 {
	switch s {
	case stagePrefill:
		return &t.prefill
	case stageDecode:
		return &t.decode
	case stageEncode:
		return &t.encode
	}
	return &t.whole
}

func (t *stageTotals) count(s stage) { t.of(s).Add(1) }
