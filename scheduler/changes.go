package scheduler

import "sync/atomic"

// Changes notes which of some [Load]s have changed, so that who adds them up need not
// read all of them again. Each Load is known by a small number. It is safe for
// concurrent use.
type Changes struct{ words []atomic.Uint64 }

// NewChanges returns a Changes for Loads numbered below n.
func NewChanges(n int) *Changes { return &Changes{words: make([]atomic.Uint64, (n+63)/64)} }

// Words is how many words of 64 numbers there are to [Changes.Take].
func (c *Changes) Words() int { return len(c.words) }

// Take returns which of the numbers from 64 × word on have been noted since the Take
// before, and forgets them. A Load that is read after that has at least the values it
// was noted for.
func (c *Changes) Take(word int) uint64 {
	w := &c.words[word]
	if w.Load() == 0 {
		return 0
	}
	return w.Swap(0)
}

// note is called after a Load's counters have changed.
func (c *Changes) note(i int) {
	w, bit := &c.words[i/64], uint64(1)<<(i%64)
	if w.Load()&bit == 0 {
		w.Or(bit)
	}
}

// watcher is somebody who wants a load's changes noted.
type watcher struct {
	changes *Changes
	number  int
}

// Watch notes number in c whenever Requests or Context of [Load.View] may have changed,
// from now on until Unwatch.
func (l *Load) Watch(c *Changes, number int) {
	for {
		old := l.watchers.Load()
		var all []watcher
		if old != nil {
			all = append(all, *old...)
		}
		all = append(all, watcher{c, number})
		if l.watchers.CompareAndSwap(old, &all) {
			return
		}
	}
}

// Unwatch ends what Watch began with c.
func (l *Load) Unwatch(c *Changes) {
	for {
		old := l.watchers.Load()
		if old == nil {
			return
		}
		var left *[]watcher
		for _, w := range *old {
			if w.changes == c {
				continue
			}
			if left == nil {
				left = new([]watcher)
			}
			*left = append(*left, w)
		}
		if l.watchers.CompareAndSwap(old, left) {
			return
		}
	}
}

// changed tells those who watch.
func (l *Load) changed() {
	if ws := l.watchers.Load(); ws != nil {
		for _, w := range *ws {
			w.changes.note(w.number)
		}
	}
}
