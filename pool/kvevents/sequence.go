package kvevents

import "math"

// handle applies one item. The caller owns the source's state.
func (src *source) handle(it item, d *decoder) {
	switch it.kind {
	case up:
		src.lose()
		src.conn = it.conn
		src.begin()
		if src.model = src.wanted().Model; src.model != "" {
			src.replay(0, nil)
		}
	case down:
		src.lose()
		src.conn = 0
		if src.isLeaving() {
			src.s.forget(src)
		}
	case gap:
		if it.conn == src.conn {
			src.missed(nil)
		}
	case message:
		if it.conn == src.conn {
			src.receive(it, d)
		}
	}
}

// begin says that the endpoint is followed, from an empty state.
func (src *source) begin() {
	src.groups = groups{}
	src.started, src.seen = false, false
	if !src.live {
		src.live = true
		src.s.stats.live.Add(1)
		src.s.o.Sink.Live(src.name)
	}
}

// lose says that what is known of the endpoint counts no more.
func (src *source) lose() {
	if src.live {
		src.live = false
		src.s.stats.live.Add(-1)
		src.s.stats.lost.Add(1)
		src.s.o.Sink.Lost(src.name)
	}
}

// reset drops what is known and starts anew on the same connection.
func (src *source) reset() {
	src.s.stats.resets.Add(1)
	cursor, seen := src.cursor, src.seen
	src.lose()
	src.begin()
	src.cursor, src.seen = cursor, seen
}

// receive puts a message into its place in the sequence.
func (src *source) receive(it item, d *decoder) {
	if src.model = it.model; len(src.model) > maxNameBytes {
		src.model = ""
	}
	if it.seq == math.MaxUint64 { // the mark of a replay's end, which is no message
		src.s.stats.malformed.Add(1)
		src.reset()
		return
	}
	if !it.again {
		if src.seen && it.seq < src.cursor {
			// The publisher has restarted, or does not tell the truth.
			src.s.stats.restarts.Add(1)
			src.reset()
		}
		src.seen, src.cursor = true, it.seq+1
	}
	switch {
	case !src.started:
		if it.seq > 0 && src.replay(0, &it) {
			return
		}
		src.apply(it, d)
	case it.seq < src.next: // a replay has brought it already
	case it.seq == src.next:
		src.apply(it, d)
	default:
		if !src.missed(&it) {
			src.apply(it, d)
		}
	}
}

// missed deals with lost messages before it, or before whatever comes next when it
// is nil. It reports whether a replay deals with them, and then with it too.
func (src *source) missed(it *item) bool {
	src.s.stats.gaps.Add(1)
	from := uint64(0)
	if src.started {
		from = src.next
	}
	if src.replay(from, it) {
		return true
	}
	src.reset()
	return false
}

func (src *source) apply(it item, d *decoder) {
	src.started, src.next = true, it.seq+1
	src.tell(d, it.payload)
}

// tell decodes a message for the sink.
func (src *source) tell(d *decoder, payload []byte) {
	t, err := d.decode(payload, origin{endpoint: src.name, model: src.model, rank: src.wanted().Rank}, &src.groups, src.s.o.Sink)
	src.s.stats.add(t)
	if err != nil {
		// It may have been anything, the removal of blocks included.
		src.s.stats.malformed.Add(1)
		src.reset()
	}
}

func (src *source) wanted() Endpoint {
	src.mu.Lock()
	defer src.mu.Unlock()
	return src.target
}
