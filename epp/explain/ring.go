package explain

import (
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fairway-ai/fairway/scheduler"
)

const (
	// DefaultSize is the number of decisions kept.
	DefaultSize = 1000
	// MaxRows is the number of endpoints kept of one decision.
	MaxRows = 64
	// rowsForStages of them are for what other stages of the request picked.
	rowsForStages = 8
)

// Ring keeps the latest decisions. A nil Ring keeps none. It is safe for
// concurrent use.
type Ring struct {
	next  atomic.Uint64
	slots []slot
}

// slot is one decision's place. Its slices are reused.
type slot struct {
	mu       sync.Mutex
	seq      uint64 // 0: never used
	d        Decision
	outcome  Outcome
	ended    bool
	values   []Value   // all rows', one after the other
	shown    []int32   // endpoint indices, in the order of the rows
	unranked []int32   // scratch
	ranked   int       // how many of shown are the decision
	rated    []float32 // scratch, by endpoint index
}

// NewRing returns a ring of size places, DefaultSize when size is 0.
func NewRing(size int) *Ring {
	if size <= 0 {
		size = DefaultSize
	}
	return &Ring{slots: make([]slot, size)}
}

// Ref is a request's place in a Ring. The zero Ref has none yet.
type Ref struct{ seq uint64 }

// Input is a decision to keep. Nothing of Explanation and Snapshot is kept but
// strings.
type Input struct {
	ID, Pool, Model string
	Time            time.Time
	PromptTokens    int64
	// KeysKnown says that PromptTokens is exact.
	KeysKnown   bool
	Explanation *scheduler.Explanation
	Snapshot    *scheduler.Snapshot
	// Err is why no endpoint was picked.
	Err error
}

// at returns the locked place of ref, nil when it has been taken by a later
// request.
func (r *Ring) at(ref Ref) *slot {
	if r == nil || ref.seq == 0 {
		return nil
	}
	s := &r.slots[ref.seq%uint64(len(r.slots))]
	s.mu.Lock()
	if s.seq != ref.seq {
		s.mu.Unlock()
		return nil
	}
	return s
}

// Record keeps a decision, in place of the request's earlier one if ref has one.
func (r *Ring) Record(ref *Ref, in Input) {
	if r == nil {
		return
	}
	s := r.at(*ref)
	if s == nil {
		ref.seq = r.next.Add(1)
		s = &r.slots[ref.seq%uint64(len(r.slots))]
		s.mu.Lock()
		if s.seq > ref.seq { // lapped while waiting for the lock
			s.mu.Unlock()
			return
		}
		s.seq = ref.seq
	}
	defer s.mu.Unlock()
	s.fill(&in)
}

func (s *slot) fill(in *Input) {
	ex := in.Explanation
	d := &s.d
	*d = Decision{
		ID: in.ID, Time: in.Time, Pool: in.Pool, Model: in.Model, Policy: ex.Policy, Profile: ex.Primary,
		PromptTokens: in.PromptTokens, TokensExact: in.KeysKnown, CachedTokens: ex.Cached,
		Columns: d.Columns[:0], Rows: d.Rows[:0], Encode: d.Encode[:0],
	}
	if len(ex.Prefill) > 0 {
		d.Prefill = ex.Endpoints[ex.Prefill[0]].ID
	}
	for _, i := range ex.Encode {
		d.Encode = append(d.Encode, ex.Endpoints[i].ID)
	}
	s.outcome, s.ended = Outcome{}, false
	if in.Err != nil {
		d.Error = in.Err.Error()
	}
	for i := range ex.Columns {
		c := &ex.Columns[i]
		d.Columns = append(d.Columns, Column{Name: c.Name, Profile: c.Profile, Kind: c.Kind.String(), Weight: c.Weight})
	}
	s.choose(ex, in.Snapshot)
	d.Omitted = len(ex.Endpoints) - len(s.shown)
	k := len(ex.Columns)
	s.values = slices.Grow(s.values[:0], k*len(s.shown))[:k*len(s.shown)]
	for j, i := range s.shown {
		v := s.values[j*k : (j+1)*k : (j+1)*k]
		for c := range ex.Columns {
			v[c] = Value(ex.Columns[c].Values[i])
		}
		rank := 0
		if j < s.ranked {
			rank = j + 1
		}
		d.Rows = append(d.Rows, Row{
			ID: ex.Endpoints[i].ID, Address: ex.Endpoints[i].Address, Rank: rank,
			Unreachable: in.Snapshot.Metrics[i].Unreachable, Values: v,
		})
	}
}

// choose lists the endpoints to show: the ranked ones, then the others, of a
// large pool only those with the best totals.
func (s *slot) choose(ex *scheduler.Explanation, snap *scheduler.Snapshot) {
	s.shown = append(s.shown[:0], ex.Ranked...)
	most := MaxRows
	if len(ex.Prefill)+len(ex.Encode) > 0 {
		most -= rowsForStages
	}
	if len(s.shown) > most {
		s.shown = s.shown[:most]
	}
	s.ranked = len(s.shown)
	if len(ex.Prefill) > 0 {
		s.show(ex.Prefill[0])
	}
	for _, i := range ex.Encode {
		s.show(i)
	}
	var total []float32
	best := float32(1) // larger is better
	for i := range ex.Columns {
		if !ex.Decides(&ex.Columns[i]) {
			continue
		}
		switch ex.Columns[i].Kind {
		case scheduler.Total:
			total = ex.Columns[i].Values
		case scheduler.Price:
			best = -1
		}
	}
	s.unranked = s.unranked[:0]
	for i := range ex.Endpoints {
		if !slices.Contains(ex.Ranked, int32(i)) && !slices.Contains(s.shown[s.ranked:], int32(i)) {
			s.unranked = append(s.unranked, int32(i))
		}
	}
	room := MaxRows - len(s.shown)
	if total != nil && len(s.unranked) > room {
		s.rate(ex, snap, total, best)
		keepBest(s.unranked, room, s.rated)
		slices.Sort(s.unranked[:room])
	}
	s.shown = append(s.shown, s.unranked[:min(room, len(s.unranked))]...)
}

// show adds an endpoint that another stage picked.
func (s *slot) show(i int32) {
	if len(s.shown) < s.ranked+rowsForStages && len(s.shown) < MaxRows && !slices.Contains(s.shown, i) {
		s.shown = append(s.shown, i)
	}
}

// rate fills s.rated with the endpoints' totals, larger is better; an endpoint that
// was never compared has none and comes last.
func (s *slot) rate(ex *scheduler.Explanation, snap *scheduler.Snapshot, total []float32, best float32) {
	none := float32(math.Inf(-1))
	s.rated = slices.Grow(s.rated[:0], len(total))[:len(total)]
	for i, t := range total {
		s.rated[i] = best * t
		if snap.Metrics[i].Unreachable {
			s.rated[i] = none
		}
	}
	for c := range ex.Columns {
		if ex.Columns[c].Kind != scheduler.Verdict || !ex.Decides(&ex.Columns[c]) {
			continue
		}
		for i, v := range ex.Columns[c].Values {
			if v != 1 {
				s.rated[i] = none
			}
		}
	}
}

// keepBest moves the k elements of the largest value to the front, in no order
// (quickselect). values is indexed by element.
func keepBest(x []int32, k int, values []float32) {
	lo, hi := 0, len(x)
	for hi-lo > 1 && k > lo && k < hi {
		pivot := values[x[lo+(hi-lo)/2]]
		i, j, n := lo, lo, hi // larger, equal, smaller than the pivot
		for j < n {
			switch v := values[x[j]]; {
			case v > pivot:
				x[i], x[j] = x[j], x[i]
				i++
				j++
			case v < pivot:
				n--
				x[n], x[j] = x[j], x[n]
			default:
				j++
			}
		}
		switch {
		case k < i:
			hi = i
		case k > n:
			lo = n
		default:
			return
		}
	}
}

// Held notes how long the request was held.
func (r *Ring) Held(ref Ref, d time.Duration) {
	if s := r.at(ref); s != nil {
		s.d.HeldSeconds = d.Seconds()
		s.mu.Unlock()
	}
}

// Finish notes how the request went.
func (r *Ring) Finish(ref Ref, o Outcome) {
	if s := r.at(ref); s != nil {
		s.outcome, s.ended = o, true
		s.mu.Unlock()
	}
}

// Latest returns up to n decisions, the latest first.
func (r *Ring) Latest(n int) []Decision {
	if r == nil {
		return nil
	}
	n = min(max(n, 0), len(r.slots))
	out := make([]Decision, 0, n)
	for seq := r.next.Load(); seq > 0 && n > 0; seq, n = seq-1, n-1 {
		if s := r.at(Ref{seq}); s != nil {
			out = append(out, s.copy())
			s.mu.Unlock()
		}
	}
	return out
}

// Find returns the latest decision of the request with this ID.
func (r *Ring) Find(id string) (Decision, bool) {
	if r == nil {
		return Decision{}, false
	}
	first := r.next.Load()
	for k := uint64(0); k < uint64(len(r.slots)) && k < first; k++ {
		if s := r.at(Ref{first - k}); s != nil {
			if s.d.ID == id {
				d := s.copy()
				s.mu.Unlock()
				return d, true
			}
			s.mu.Unlock()
		}
	}
	return Decision{}, false
}

// copy returns the decision in memory of its own.
func (s *slot) copy() Decision {
	d := s.d
	d.Columns = slices.Clone(d.Columns)
	d.Rows = slices.Clone(d.Rows)
	d.Encode = slices.Clone(d.Encode)
	values := slices.Clone(s.values)
	k := len(d.Columns)
	for j := range d.Rows {
		d.Rows[j].Values = values[j*k : (j+1)*k : (j+1)*k]
	}
	if s.ended {
		o := s.outcome
		d.Outcome = &o
	}
	d.Why = why(&d)
	return d
}
