package kvevents

import "sync/atomic"

// Stats is a reading of a [Subscriber]'s counters, all since its start except
// where said otherwise.
type Stats struct {
	// Endpoints are those set now, Live those of them that are followed now,
	// Connected the connections now.
	Endpoints, Live, Connected int64
	// Connects and Disconnects count connections, and attempts at one as
	// Disconnects; Refused those to Options.Bind that were not let in.
	Connects, Disconnects, Refused uint64
	// Messages are those received for an endpoint, Dropped those of them that found
	// its queue full, Replayed those that a replay has brought.
	Messages, Dropped, Replayed uint64
	// Unknown are messages that named no endpoint of ours, Malformed those that
	// were no batch of events.
	Unknown, Malformed uint64
	// Stored and Removed count blocks, Cleared, Skipped and Invalid events: Skipped
	// concern blocks that do not count or are of a type that is not known, Invalid
	// cannot be understood.
	Stored, Removed, Cleared, Skipped, Invalid uint64
	// Gaps are losses in a sequence, Restarts sequences that began again, Resets
	// endpoints whose state was dropped while connected, Lost all endpoints' losses
	// of state.
	Gaps, Restarts, Resets, Lost uint64
	// Replays were begun, and ReplaysFailed came to nothing.
	Replays, ReplaysFailed uint64
}

type counters struct {
	live, connected                            atomic.Int64
	connects, disconnects, refused             atomic.Uint64
	messages, dropped, replayed                atomic.Uint64
	unknown, malformed                         atomic.Uint64
	stored, removed, cleared, skipped, invalid atomic.Uint64
	gaps, restarts, resets, lost               atomic.Uint64
	replays, replaysFailed                     atomic.Uint64
}

func (c *counters) add(t tally) {
	for _, p := range []struct {
		c *atomic.Uint64
		n int
	}{{&c.stored, t.stored}, {&c.removed, t.removed}, {&c.cleared, t.cleared}, {&c.skipped, t.skipped}, {&c.invalid, t.invalid}} {
		if p.n > 0 {
			p.c.Add(uint64(p.n))
		}
	}
}

// Stats reads the counters, one after another.
func (s *Subscriber) Stats() Stats {
	c := &s.stats
	s.mu.Lock()
	n := int64(0)
	for _, src := range s.sources {
		if !src.isLeaving() {
			n++
		}
	}
	s.mu.Unlock()
	return Stats{
		Endpoints: n, Live: c.live.Load(), Connected: c.connected.Load(),
		Connects: c.connects.Load(), Disconnects: c.disconnects.Load(), Refused: c.refused.Load(),
		Messages: c.messages.Load(), Dropped: c.dropped.Load(), Replayed: c.replayed.Load(),
		Unknown: c.unknown.Load(), Malformed: c.malformed.Load(),
		Stored: c.stored.Load(), Removed: c.removed.Load(), Cleared: c.cleared.Load(), Skipped: c.skipped.Load(), Invalid: c.invalid.Load(),
		Gaps: c.gaps.Load(), Restarts: c.restarts.Load(), Resets: c.resets.Load(), Lost: c.lost.Load(),
		Replays: c.replays.Load(), ReplaysFailed: c.replaysFailed.Load(),
	}
}
