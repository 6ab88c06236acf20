package picker

import (
	"cmp"
	"slices"

	"github.com/fairway-ai/fairway/scheduler"
)

// Parameters are the parameters of every picker.
type Parameters struct {
	// MaxNumOfEndpoints is how many endpoints to return, best first: the pick and
	// its alternatives. 0 means 1.
	MaxNumOfEndpoints int `json:"maxNumOfEndpoints"`
}

// DefaultParameters are llm-d's.
func DefaultParameters() Parameters { return Parameters{MaxNumOfEndpoints: 1} }

// Mend replaces a number that makes no sense by the default, as llm-d does, and returns
// the names of the parameters that it replaced.
func (p *Parameters) Mend() (names []string) {
	if p.MaxNumOfEndpoints < 1 {
		p.MaxNumOfEndpoints, names = 1, []string{"maxNumOfEndpoints"}
	}
	return names
}

// keep is how many of n candidates to return.
func (p Parameters) keep(n int) int { return min(max(1, p.MaxNumOfEndpoints), n) }

// selectUpTo is the number of endpoints up to which picking them one by one is
// cheaper than sorting all.
const selectUpTo = 8

// rank moves the k candidates with the largest keys to the front, best first,
// equal ones in random order, and returns them.
func rank(c *scheduler.Cycle, key []float32, k int) []int32 {
	cand := c.Candidates
	if k > selectUpTo {
		shuffle(c, cand, len(cand))
		slices.SortStableFunc(cand, func(a, b int32) int { return cmp.Compare(key[b], key[a]) })
		return cand[:k:k]
	}
	for j := range k {
		best, ties := j, uint64(1)
		for x := j + 1; x < len(cand); x++ {
			switch a, b := key[cand[x]], key[cand[best]]; {
			case a > b:
				best, ties = x, 1
			case a == b:
				ties++
				if c.Rand()%ties == 0 {
					best = x
				}
			}
		}
		cand[j], cand[best] = cand[best], cand[j]
	}
	return cand[:k:k]
}

// shuffle puts a random choice of k candidates in front, in random order.
func shuffle(c *scheduler.Cycle, cand []int32, k int) {
	for j := range k {
		x := j + int(c.Rand()%uint64(len(cand)-j))
		cand[j], cand[x] = cand[x], cand[j]
	}
}
