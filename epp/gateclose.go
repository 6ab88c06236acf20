package epp

import "github.com/fairway-ai/fairway/epp/flowcontrol"

// close turns every waiting request away, for good: the endpoint or the pool is
// gone.
func (g *gate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = true
	if g.pool != nil {
		g.pool.meter.Close()
	}
	if g.stop != nil {
		g.stop()
	}
	g.drain()
}

// flush turns every waiting request away, and goes on: the endpoint refuses
// connections.
func (g *gate) flush() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.drain()
}

// dismiss turns every waiting request away, and from then on those that would have to
// wait: the process ends.
func (g *gate) dismiss() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.leaving = true
	g.drain()
}

func (g *gate) drain() {
	g.queue.Drain(func(w *flowcontrol.Waiter) {
		r := w.Payload.(*request)
		if g.pool != nil {
			g.refuse(r, &shuttingDown)
			return
		}
		g.callers.Add(-1)
		r.told <- gone
	})
	g.tellNext()
}
