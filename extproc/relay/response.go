package relay

import (
	"time"

	"google.golang.org/grpc/mem"

	"github.com/fairway-ai/fairway/extproc"
)

// ResponseHeaders implements extproc.Exchange.
func (x *exchange) ResponseHeaders(h extproc.Head, hold func(time.Duration) error) extproc.Change {
	x.responded = true
	if h.End {
		x.finished = true
	}
	x.send(encodeHead(fieldResponseHeaders, &h, false))
	answered := x.await(x.client.o.ResponseTimeout, hold, func() bool { return x.headers })
	x.mu.Lock()
	if x.said != nil {
		defer x.mu.Unlock()
		return x.immediately()
	}
	if !answered {
		r := x.whyOver()
		x.mu.Unlock()
		x.abandon(r)
		return extproc.Change{}
	}
	defer x.mu.Unlock()
	c := x.told()
	if x.replaced != nil {
		x.finished = true
		c.Replace, c.BodyChanged = true, true
		if len(x.replaced.body) > 0 {
			c.Body = mem.BufferSlice{mem.SliceBuffer(x.replaced.body)}
		}
	}
	return c
}

// ResponseBody implements extproc.Exchange.
func (x *exchange) ResponseBody(part mem.BufferSlice, end, mayKeep bool, hold func(time.Duration) error) extproc.Change {
	n := part.Len()
	x.finished = end
	x.mu.Lock()
	watching := x.stage == stageWatching
	before := x.reply.kept.n
	full := !watching && (before+n > x.reply.limit || x.keep(n) != nil)
	if full {
		x.reply.kept.add(part)
		out := x.reply.rest()
		x.mu.Unlock()
		x.abandon(ReasonOverload)
		return changed(extproc.Change{}, out)
	}
	x.mu.Unlock()
	if watching {
		x.watch(part, end)
		return extproc.Change{}
	}
	x.pass(fieldResponseBody, part, end, x.reply.passed)
	patience := x.client.o.ResponseTimeout
	switch {
	case end || !mayKeep:
	case x.behind:
		patience = 0 // it waits for something; so may the client, but not Envoy
	default:
		patience = x.client.o.HoldAfter
	}
	answered := x.await(patience, hold, x.reply.answered)
	x.mu.Lock()
	over := end || x.ended || x.said != nil
	r := x.whyOver()
	// Whether it is known to be exactly what was passed just now.
	asIs := before == 0 && len(x.reply.out) == 0 && (answered && x.reply.same == n || !answered && over)
	var out mem.BufferSlice
	switch {
	case answered || !over && mayKeep:
		out = x.reply.take()
	default:
		out = x.reply.rest()
	}
	x.behind = !answered
	var c extproc.Change
	if answered || !over {
		c = x.told()
		c.SetHeaders, c.RemoveHeaders = nil, nil
	}
	if !answered && !over && !mayKeep {
		// The client cannot wait for this picker. It goes on to see the response.
		x.stage = stageWatching
		watching = true
	}
	x.client.held.Add(int64(x.reply.kept.n) - x.held)
	x.held = int64(x.reply.kept.n)
	x.mu.Unlock()
	switch {
	case !answered && over:
		x.abandon(r)
	case watching:
		x.lost(ReasonTimeout, "an endpoint picker keeps a response back whose end cannot be known; its changes to it are no longer waited for")
	}
	if asIs {
		out.Free()
		return c
	}
	return changed(c, out)
}

// whyOver says why the picker is waited for no longer; x.mu is held.
func (x *exchange) whyOver() Reason {
	switch {
	case x.said != nil:
		return Reason(Immediate)
	case x.ended:
		return reasonOf(x.err)
	}
	return ReasonTimeout
}

// changed is c with a changed body.
func changed(c extproc.Change, body mem.BufferSlice) extproc.Change {
	c.BodyChanged, c.Body = true, body
	return c
}

// watch passes a part of the response that nobody waits for an answer to.
func (x *exchange) watch(part mem.BufferSlice, end bool) {
	x.mu.Lock()
	tooMany := x.queued > maxBehind
	x.mu.Unlock()
	if tooMany {
		part.Free()
		x.abandon(ReasonOverload)
		return
	}
	x.pass(fieldResponseBody, part, end, func(part mem.BufferSlice, _ bool) { part.Free() })
}

// told returns the changes that Envoy was not told yet; x.mu is held.
func (x *exchange) told() extproc.Change {
	c := x.reply.changes.change("")
	x.reply.changes = changes{}
	return c
}

// immediately returns the picker's own answer; x.mu is held.
func (x *exchange) immediately() extproc.Change {
	var c changes
	_ = c.add(&answer{metadata: x.said.metadata, typed: x.said.typed}) // their size was checked
	out := c.change("")
	out.Immediate, out.ImmediateStatus = x.said.immediate, x.said.status
	return out
}

// await waits until done, the picker's end or an immediate response, and no longer
// than patience. It reports whether done, which is called with x.mu held.
func (x *exchange) await(patience time.Duration, hold func(time.Duration) error, done func() bool) bool {
	began := time.Now()
	var timer *time.Timer
	for {
		x.mu.Lock()
		ok, over := done(), x.ended || x.said != nil
		x.mu.Unlock()
		left := patience - time.Since(began)
		if ok || over || left <= 0 {
			return ok
		}
		if after := x.client.o.HoldAfter - time.Since(began); hold != nil && patience > x.client.o.HoldAfter {
			if after <= 0 {
				if hold(left+holdSlack) != nil {
					return false
				}
				hold = nil
			} else {
				left = min(left, after)
			}
		}
		if timer == nil {
			timer = time.NewTimer(left)
			defer timer.Stop()
		} else {
			timer.Reset(left)
		}
		select {
		case <-x.news:
		case <-timer.C:
		case <-x.envoy.Done():
			return false
		}
	}
}

// abandon leaves a picker behind that failed in the response phase.
func (x *exchange) abandon(r Reason) {
	x.leave(r)
	x.lost(r, "an endpoint picker failed while it was shown a response, which goes on without it")
}

// lost tells of a picker that no longer counts for a response.
func (x *exchange) lost(r Reason, text string) {
	if x.envoy.Err() != nil {
		return
	}
	x.client.o.Metrics.ResponseLeft(x.pool.name, x.client.address, r)
	x.warn("response "+string(r), text, nil)
}
