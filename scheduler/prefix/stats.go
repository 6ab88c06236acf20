package prefix

// Stats is a reading of an [Index]. Its parts are read one after another, while
// the index moves on.
type Stats struct {
	// Endpoints is the number of slots that were added and not removed.
	Endpoints int
	// Blocks is the number of distinct blocks, Entries that of (slot, block) pairs.
	Blocks, Entries int64
	// Exact is the part of Entries that engines reported.
	Exact int64
	// Tokens is the tokens held, by slot.
	Tokens []int64
	// Lookups counts calls of Match, Hits those of them in which some slot held at
	// least the first block.
	Lookups, Hits uint64
	// Inserted and Evicted count the entries that came by Insert and went for lack
	// of capacity. Dropped counts reported blocks beyond what one slot may have.
	Inserted, Evicted, Dropped uint64
}

// Stats reads the index. It is for metrics: it visits every shard.
func (x *Index) Stats() Stats {
	st := Stats{
		Exact:    x.exact.Load(),
		Lookups:  x.lookups.Load(),
		Hits:     x.hits.Load(),
		Inserted: x.inserted.Load(),
		Evicted:  x.evicted.Load(),
		Dropped:  x.dropped.Load(),
	}
	for i := range x.shards {
		s := &x.shards[i]
		s.mu.Lock()
		st.Blocks += int64(s.n)
		s.mu.Unlock()
	}
	list := *x.endpoints.Load()
	st.Tokens = make([]int64, len(list))
	for slot, e := range list {
		if e == nil {
			continue
		}
		e.mu.Lock()
		if e.active {
			st.Endpoints++
		}
		st.Entries += int64(e.n + e.said.len())
		e.mu.Unlock()
		st.Tokens[slot] = e.tokens.Load()
	}
	return st
}
