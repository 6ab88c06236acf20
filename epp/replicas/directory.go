package replicas

import (
	"crypto/sha256"
	"encoding/binary"
	"maps"
	"slices"
	"strings"

	"github.com/fairway-ai/fairway/scheduler"
	"github.com/fairway-ai/fairway/scheduler/prefix"
)

// endpoint is an endpoint that is known here.
type endpoint struct {
	key   uint64
	id    string
	load  *scheduler.Load
	slot  int32
	index *prefix.Index // nil when the pool keeps none
	pool  *poolEntry
	told  scheduler.Work // the last frame's
}

// poolEntry is a pool that is known here.
type poolEntry struct {
	members   []scheduler.Endpoint // as looked at last
	index     *prefix.Index
	endpoints []*endpoint       // in the order of their IDs
	loads     []*scheduler.Load // of the endpoints, for unseen
	unseen    scheduler.Unseen
	// sent and prompts count what others were heard to send here, in tokens and requests.
	sent, prompts int64
}

// What a replica can have sent to an endpoint between two frames: a lie counts for no more.
const (
	maxSentAtOnce    = 1 << 24
	maxPromptsAtOnce = 1 << 16
)

// count adds what a replica has sent to an endpoint since it was heard of before. What it
// did until it was heard of for the first time says nothing of what it does now.
func (p *poolEntry) count(before, w *scheduler.Work) {
	p.sent += max(0, min(w.Sent-before.Sent, maxSentAtOnce))
	p.prompts += max(0, min(w.Prompts-before.Prompts, maxPromptsAtOnce))
}

// directory finds endpoints by what replicas call them, and by their Load.
type directory struct {
	pools  map[string]*poolEntry
	byKey  map[uint64]*endpoint
	byLoad map[*scheduler.Load]*endpoint
}

// endpointKey is what replicas call an endpoint: eight bytes of a digest of its pool,
// its ID and its address. An ID at another address is another endpoint.
func endpointKey(pool, id, address string) uint64 {
	sum := sha256.Sum256([]byte(pool + "\x00" + id + "\x00" + address))
	return binary.LittleEndian.Uint64(sum[:])
}

// refresh brings the directory in line with the pools, and returns the endpoints that
// are gone. It costs next to nothing while nothing has changed.
func (d *directory) refresh(p Picker) (gone []*endpoint) {
	changed := false
	seen := 0
	p.EachPool(func(name string, snap *scheduler.Snapshot, index *prefix.Index) bool {
		seen++
		e := d.pools[name]
		if e == nil || e.index != index || !scheduler.SameEndpoints(e.members, snap.Endpoints) {
			changed = true
		}
		return true
	})
	if !changed && seen == len(d.pools) {
		return nil
	}
	old := *d
	*d = directory{pools: map[string]*poolEntry{}, byKey: map[uint64]*endpoint{}, byLoad: map[*scheduler.Load]*endpoint{}}
	p.EachPool(func(name string, snap *scheduler.Snapshot, index *prefix.Index) bool {
		e := &poolEntry{members: snap.Endpoints, index: index}
		if was := old.pools[name]; was != nil {
			e.unseen, e.sent, e.prompts = was.unseen, was.sent, was.prompts
		}
		d.pools[name] = e
		for i := range snap.Endpoints {
			s := &snap.Endpoints[i]
			key := endpointKey(name, s.ID, s.Address)
			if d.byLoad[s.Load] != nil || d.byKey[key] != nil {
				continue // a pool of two names counts once
			}
			m := &endpoint{key: key, id: s.ID, load: s.Load, slot: s.Slot, index: index, pool: e}
			if was := old.byKey[key]; was != nil && was.load == s.Load {
				m.told = was.told
			}
			d.byKey[key], d.byLoad[s.Load] = m, m
			e.endpoints = append(e.endpoints, m)
		}
		slices.SortFunc(e.endpoints, func(a, b *endpoint) int { return strings.Compare(a.id, b.id) })
		return true
	})
	for was := range maps.Values(old.byKey) {
		if now := d.byKey[was.key]; now == nil || now.load != was.load {
			gone = append(gone, was)
		}
	}
	return gone
}
