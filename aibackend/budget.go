package aibackend

import "sync/atomic"

const (
	// freeAnswer is how much of an answer that has to be whole is held without a
	// [Budget], in bytes: nearly all answers, so that large ones cost nobody else theirs.
	freeAnswer = 1 << 20
	// budgetStep is how much is taken of a budget at once, in bytes.
	budgetStep = 256 << 10
)

// Budget bounds what many exchanges together hold of answers that are longer than 1 MiB
// and have to be read whole: an answer for which there is no room becomes an error of
// status 502. It is safe for concurrent use.
type Budget struct{ left atomic.Int64 }

// NewBudget returns a budget of so many bytes.
func NewBudget(bytes int64) *Budget {
	b := &Budget{}
	b.left.Store(bytes)
	return b
}

// take reports whether there was room for n bytes, which are then taken. A nil Budget
// has room for everything.
func (b *Budget) take(n int64) bool {
	if b == nil {
		return true
	}
	if b.left.Add(-n) >= 0 {
		return true
	}
	b.left.Add(n)
	return false
}

// give gives n bytes back.
func (b *Budget) give(n int64) {
	if b != nil {
		b.left.Add(n)
	}
}
