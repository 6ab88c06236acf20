package kvevents

// groups remembers which of an engine's groups of layers keep a whole prompt's
// blocks. Only those say what a prompt would find; a sliding window's blocks, for
// one, are gone while the prompt still matches.
type groups struct {
	skipped map[int]struct{}
}

const maxGroups = 256

// indexed are the kinds of cache whose blocks count.
func indexed(spec string) bool {
	switch spec {
	case "", "full_attention", "mla_attention", "sink_full_attention":
		return true
	}
	return false
}

// learn notes a group's kind, and reports whether its blocks count.
func (g *groups) learn(e *event) bool {
	ok := indexed(string(e.spec))
	if !e.hasGroup || len(e.spec) == 0 {
		return ok && !g.skips(e)
	}
	if ok {
		delete(g.skipped, e.group)
	} else if len(g.skipped) < maxGroups {
		if g.skipped == nil {
			g.skipped = make(map[int]struct{})
		}
		g.skipped[e.group] = struct{}{}
	}
	return ok
}

func (g *groups) skips(e *event) bool {
	if !e.hasGroup {
		return false
	}
	_, ok := g.skipped[e.group]
	return ok
}

// tally is what a message's events came to.
type tally struct {
	stored, removed, cleared, skipped, invalid int
}

// origin is what a message is known by before it is decoded.
type origin struct {
	endpoint string
	model    string
	rank     int
}

// decode tells the sink a message's events. An error means that the message is no
// batch at all. An event that is not understood is passed over: what it would have
// said is unknown, and the sink is told how many there were.
func (d *decoder) decode(payload []byte, o origin, g *groups, sink Sink) (t tally, err error) {
	b, err := parseBatch(payload)
	if err != nil {
		return t, err
	}
	if b.hasRank {
		o.rank = b.rank
	}
	r := reader{b: b.events}
	n, err := r.array()
	if err != nil {
		return t, err
	}
	for range n {
		next := r
		if err := next.skip(); err != nil {
			return t, err
		}
		one := reader{b: r.b[r.at:next.at]}
		r = next
		if err := d.read(&one); err != nil {
			t.invalid++
			continue
		}
		d.tell(o, g, sink, &t)
	}
	if t.invalid > 0 {
		sink.Unread(o.endpoint, t.invalid)
	}
	return t, nil
}

func (d *decoder) tell(o origin, g *groups, sink Sink, t *tally) {
	e := &d.ev
	switch string(e.kind) {
	case typeCleared:
		t.cleared++
		sink.Cleared(o.endpoint)
	case typeRemoved:
		switch {
		case !e.hasHashes:
			t.invalid++
		case g.skips(e):
			t.skipped++
		default:
			t.removed += len(d.hashes)
			d.removed = Removed{Hashes: d.hashes, Medium: d.where(e.medium), Rank: o.rank}
			sink.Removed(o.endpoint, &d.removed)
		}
	case typeStored:
		switch {
		case !e.hasHashes || e.blockSize > maxBlockSize || len(d.tokens) > 0 && e.blockSize == 0:
			t.invalid++
		case !g.learn(e):
			t.skipped++
		default:
			t.stored += len(d.hashes)
			if string(e.lora) != d.lora {
				d.lora = string(e.lora)
			}
			d.stored = Stored{
				Hashes: d.hashes, Parent: e.parent, HasParent: e.hasParent, Tokens: d.tokens, BlockSize: int(e.blockSize),
				Model: o.model, LoRA: d.lora, LoRAID: e.loraID, Medium: d.where(e.medium), Extra: d.extras(), Rank: o.rank,
			}
			sink.Stored(o.endpoint, &d.stored)
		}
	default:
		t.skipped++
	}
}

// where is the medium in lower case.
func (d *decoder) where(b []byte) string {
	switch string(b) {
	case "", "GPU", DefaultMedium:
		return DefaultMedium
	}
	if string(b) == d.folder {
		return d.folded
	}
	d.lower = d.lower[:0]
	for _, c := range b {
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		d.lower = append(d.lower, c)
	}
	d.folder, d.folded = string(b), string(d.lower)
	return d.folded
}

// extras cuts the extra keys into one list for each block.
func (d *decoder) extras() [][]Extra {
	if !d.ev.extraGiven || len(d.flat) == 0 {
		return nil
	}
	d.extra = trim(d.extra)
	from := 0
	for i := range d.hashes {
		to := from
		if i < len(d.ends) {
			to = d.ends[i]
		}
		d.extra = append(d.extra, d.flat[from:to:to])
		from = to
	}
	return d.extra
}
