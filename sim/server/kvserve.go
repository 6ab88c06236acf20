package server

import (
	"net"
	"net/http"

	"github.com/fairway-ai/fairway/sim/engine"
)

// StoredBlock implements engine.BlockEvents.
func (d *driver) StoredBlock(r *engine.Request, i int) {
	if d.publisher != nil {
		d.kv.stored(r, i)
	}
}

// Offloaded implements engine.TierEvents.
func (d *driver) Offloaded(uint64) {
	if d.publisher != nil {
		d.kv.copied()
	}
}

// Dropped implements engine.TierEvents.
func (d *driver) Dropped(hash uint64) {
	if d.publisher != nil {
		d.kv.dropped(hash)
	}
}

// tellKV publishes what has happened in the KV cache. The caller holds d.mu.
func (d *driver) tellKV() {
	if d.publisher == nil {
		return
	}
	if payload := d.kv.take(d.clock.Now()); payload != nil {
		d.publisher.publish(payload)
	}
}

// resetCache empties the prefix cache, unless requests use it.
func (d *driver) resetCache() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.eng.ResetPrefixCache() && d.publisher != nil {
		d.kv.cleared()
		d.tellKV()
	}
}

// resetPrefixCache answers as vLLM does: with success, whether or not a running
// request kept the cache from being emptied.
func (s *Server) resetPrefixCache(w http.ResponseWriter, _ *http.Request) {
	s.driver.resetCache()
	w.WriteHeader(http.StatusOK)
}

// KVEventAddrs are where KV cache events are published and replayed, nil where
// nothing is listened on.
func (s *Server) KVEventAddrs() (events, replay net.Addr) {
	if p := s.driver.publisher; p != nil {
		return p.addr, p.replay
	}
	return nil, nil
}
