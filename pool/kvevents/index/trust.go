package index

import "sync/atomic"

// trust is how much of what an engine tells of late is understood. An engine whose blocks
// mostly follow others that are not known, after a loss that nobody could replay, holds
// more than is known: a beginning that all prompts share is stored once and never told
// of again. Its cache is better guessed then.
type trust struct {
	good, bad int // blocks, those of long ago counting less
	patchy    atomic.Bool
}

const (
	// patchyFrom and patchyUntil are how many blocks must be known for each one that is
	// not: with fewer than the first an engine becomes patchy, with as many as the second
	// it is so no longer.
	patchyFrom  = 4
	patchyUntil = 8
	// judged is how many blocks the judgement is about.
	judged = 1 << 12
)

// judge counts the blocks of an event that were understood and that were not.
func (t *trust) judge(good, bad int) {
	t.good, t.bad = t.good+good, t.bad+bad
	for t.good+t.bad > judged {
		t.good, t.bad = t.good/2, t.bad/2
	}
	switch patchy := t.patchy.Load(); {
	case !patchy && t.bad*patchyFrom > t.good:
		t.patchy.Store(true)
	case patchy && t.bad*patchyUntil <= t.good:
		t.patchy.Store(false)
	}
}

// reset begins anew, where all is known.
func (t *trust) reset() {
	t.good, t.bad = 0, 0
	t.patchy.Store(false)
}
