package engine

import "time"

// external is the prompt tokens behind those computed that are elsewhere and can be
// fetched instead of computed.
func (e *Engine) external(r *Request) int {
	tokens := e.offload.match(r.Hashes, r.computed/e.cfg.BlockTokens) * e.cfg.BlockTokens
	if !r.fetched {
		tokens = max(tokens, r.Remote)
	}
	return max(0, min(tokens, r.prompt())-r.computed)
}

// fetch begins a transfer into blocks that the request has been given.
func (e *Engine) fetch(r *Request, tokens int, now time.Duration) {
	if !r.fetched && r.Remote > 0 {
		e.totals.externalQueries += int64(r.prompt() - r.computed)
		e.totals.externalHits += int64(tokens)
	}
	r.fetched = true
	r.phase, r.ready = phaseTransfer, now+time.Duration(tokens)*e.cfg.TransferPerToken
	r.chunk = tokens
	e.arriving = append(e.arriving, r)
}

// arrive lets the requests run whose transfer has ended. At least a token of each is
// left to compute, to have something to sample from.
func (e *Engine) arrive(now time.Duration) {
	kept := e.arriving[:0]
	for _, r := range e.arriving {
		if r.ready > now || len(e.running) >= e.cfg.MaxSeqs {
			kept = append(kept, r)
			continue
		}
		r.phase = phasePrefill
		r.computed = min(r.computed+r.chunk, r.target-1)
		r.chunk = 0
		e.encode += r.encode()
		e.storeComputed(r)
		e.running = append(e.running, r)
	}
	clear(e.arriving[len(kept):])
	e.arriving = kept
}

// poll is the end of a step in which nothing is computed: the next transfer's end, or
// sooner, so that requests that come are not kept waiting for it.
func (e *Engine) poll(now time.Duration) time.Duration {
	end := now + e.cfg.StepBase
	for _, r := range e.arriving {
		end = min(end, r.ready)
	}
	return max(end, now+1)
}

// encode is the items that are still to be encoded when the prompt is computed; the
// KV of what came from elsewhere has them already.
func (r *Request) encode() int {
	if r.Transferred > 0 || r.Preemptions > 0 {
		return 0
	}
	return max(0, r.Encode)
}

// end gives back what a sequence has, or keeps it for who fetches it.
func (e *Engine) end(r *Request) {
	if !r.Hold {
		e.leave(r)
		return
	}
	e.loras.release(r.Adapter)
	r.holding = true
	e.held++
}

// Release gives back the blocks of a request with Hold that has ended; it does
// nothing for any other. It may let a request run that has found no room.
func (e *Engine) Release(r *Request) {
	if !r.holding {
		return
	}
	r.holding = false
	e.held--
	e.cache.free(r)
}

// occupied reports whether blocks are used by requests.
func (e *Engine) occupied() bool {
	return len(e.running) > 0 || len(e.arriving) > 0 || e.held > 0
}
