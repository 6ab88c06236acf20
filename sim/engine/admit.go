package engine

import "time"

// admit moves requests from the queue into the step while there is room. A
// request whose adapter finds no slot lets later ones pass, as in vLLM; one that
// finds no blocks does not.
func (e *Engine) admit(now time.Duration, budget int) (loads int) {
	for i := 0; i < e.waiting.len() && budget > 0 && len(e.running) < e.cfg.MaxSeqs; {
		r := e.waiting.at(i)
		if r.cancelled || !e.loras.fits(r.Adapter) {
			i++
			continue
		}
		if !e.allocatePrompt(r) {
			break
		}
		e.waiting.remove(i)
		if e.loras.acquire(r.Adapter) {
			loads++
		}
		external := e.external(r)
		if r.Preemptions == 0 {
			r.Cached, r.Transferred, r.Admitted = r.computed, external, now
			e.totals.queries += int64(r.prompt())
			e.totals.hits += int64(r.Cached)
		}
		if external > 0 {
			e.fetch(r, external, now)
			continue
		}
		r.phase = phasePrefill
		e.encode += r.encode()
		e.running = append(e.running, r)
		budget -= e.takeChunk(r, budget)
	}
	return loads
}

// allocatePrompt takes the cached prefix and blocks for the rest of the context.
func (e *Engine) allocatePrompt(r *Request) bool {
	if e.blocked == r && e.blockedReleased == e.cache.released {
		return false
	}
	context := r.prompt() + r.Generated
	// The last token must be computed, to have something to sample from.
	n, unused := e.cache.match(r.Hashes, (context-1)/e.cfg.BlockTokens)
	need := e.blocksFor(context) - n
	// An empty engine has room for every request that Submit let in.
	if e.occupied() && need > e.cache.available()-unused {
		e.blocked, e.blockedReleased = r, e.cache.released
		return false
	}
	e.blocked = nil
	if r.blocks == nil && len(r.Hashes) > 0 {
		r.blocks = make([]*block, 0, len(r.Hashes))
	}
	for _, h := range r.Hashes[:n] {
		b := e.cache.byHash[h]
		e.cache.use(b)
		r.blocks = append(r.blocks, b)
	}
	e.cache.allocate(need)
	r.private = need
	r.computed, r.target = n*e.cfg.BlockTokens, context
	return true
}
