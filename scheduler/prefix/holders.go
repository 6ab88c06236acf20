package prefix

// holders is the set of slots that hold one block, packed into a word so that a
// table entry is two words. The low 16 bits say what the rest is: 1 to 3, that
// many slots of 16 bits each; setMark, where in the shard's memory a wide set is.
// Zero is the empty set, which a table never stores.
type holders uint64

const (
	inlineSlots = 3
	setMark     = 0xffff
	kindMask    = 0xffff
	// maxSlots is what 16 bits can name.
	maxSlots = 1 << 16
)

func oneHolder(slot uint16) holders { return holders(uint64(slot)<<16 | 1) }

func (h holders) wide() bool            { return h&kindMask == setMark }
func (h holders) inlineLen() int        { return int(h & kindMask) }
func (h holders) inlineAt(i int) uint16 { return uint16(h >> (16 * (i + 1))) }

// inlineIndex is -1 for a wide set.
func (h holders) inlineIndex(slot uint16) int {
	for i := range inlineSlots {
		if i < h.inlineLen() && h.inlineAt(i) == slot && !h.wide() {
			return i
		}
	}
	return -1
}
