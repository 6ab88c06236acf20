package flowcontrol

import (
	"cmp"
	"errors"
	"fmt"
	"iter"
	"math"
	"slices"
	"strings"
	"time"
)

// Programs are the parameters of program-aware-fairness: a flow, there called a
// program, is the likelier to be next, the fewer tokens it was served with and the
// longer its first request waits.
type Programs struct {
	// WeightService and WeightHeadWait weigh both, each scaled to 0 to 1 over the
	// flows that wait.
	WeightService, WeightHeadWait float64
	// HalfLife is the time in which the tokens served count half; 0 leaves that to
	// DecayFactor, the factor for a second.
	HalfLife    time.Duration
	DecayFactor float64
	// TTL is how long a program that was not served is remembered.
	TTL time.Duration
}

// DefaultPrograms are the published ones.
func DefaultPrograms() Programs {
	return Programs{WeightService: 0.8, WeightHeadWait: 0.2, HalfLife: time.Minute, DecayFactor: 0.99997, TTL: time.Hour}
}

// Validate reports the first parameter that makes no sense.
func (p *Programs) Validate() error {
	switch {
	case !(p.WeightService >= 0) || !(p.WeightHeadWait >= 0) || math.IsInf(p.WeightService+p.WeightHeadWait, 1):
		return errors.New("lasWeightService and lasWeightHeadWait must be 0 or more")
	case p.HalfLife < 0:
		return fmt.Errorf("lasHalfLifeSeconds is %v: must be 0 or more", p.HalfLife.Seconds())
	case p.HalfLife == 0 && !(p.DecayFactor > 0 && p.DecayFactor <= 1):
		return fmt.Errorf("lasDecayFactor is %v: must be above 0 and at most 1", p.DecayFactor)
	case p.TTL <= 0:
		return fmt.Errorf("evictionTtlSeconds is %v: must be above 0", p.TTL.Seconds())
	}
	return nil
}

// rate is the exponent, base 2, by which what was served decays in a second.
func (p *Programs) rate() float64 {
	if p.HalfLife > 0 {
		return 1 / p.HalfLife.Seconds()
	}
	return -math.Log2(p.DecayFactor)
}

// maxPrograms bounds the programs remembered; clients choose their names.
const maxPrograms = 10_000

// program is what one flow was served with.
type program struct {
	// service is in tokens of the epoch: what is served later counts more, so that
	// nothing ever needs to be decayed.
	service float64
	last    time.Time
	waiting int // flows that refer to it
	// waits counts its requests that went, and waited is how long they waited in all.
	waits  int64
	waited time.Duration
}

// programs is the memory of one configuration of program-aware-fairness.
type programs struct {
	Programs
	known map[string]*program
	epoch time.Time
	swept time.Time
}

func (q *Queue) programsOf(c Programs) *programs {
	p := q.programs[c]
	if p == nil {
		p = &programs{Programs: c, known: map[string]*program{}}
		q.programs[c] = p
	}
	return p
}

// Served counts tokens that a flow of a priority was served with.
func (q *Queue) Served(now time.Time, priority int, flow string, tokens float64) {
	b := q.c.band(priority)
	if b.Fairness.Type == ProgramAware && tokens > 0 {
		q.programsOf(b.Fairness.Programs).served(now, flow, tokens)
	}
}

// ProgramView is what is known of a program.
type ProgramView struct {
	ID string
	// Service is the tokens it was served with, older ones counting less.
	Service float64
	// Waits counts its requests that waited and went, and Waited is how long in all.
	Waits  int64
	Waited time.Duration
}

// Programs calls yield for every program that is remembered. One of two bands with
// different parameters comes twice.
func (q *Queue) Programs(now time.Time) iter.Seq[ProgramView] {
	return func(yield func(ProgramView) bool) {
		for _, p := range q.programs {
			scale := math.Exp2(-now.Sub(p.epoch).Seconds() * p.rate())
			for id, g := range p.known {
				if !yield(ProgramView{id, g.service * scale, g.waits, g.waited}) {
					return
				}
			}
		}
	}
}

// leastService is the tokens below which a program counts as not served. Numbers that
// are much smaller could no longer be divided by.
const leastService = 1e-9

// maxEpoch is the exponent at which the epoch moves, far below what a float64
// holds.
const maxEpoch = 200

func (p *programs) served(now time.Time, id string, tokens float64) {
	g := p.get(now, id)
	if g == nil {
		return
	}
	exponent := now.Sub(p.epoch).Seconds() * p.rate()
	if exponent > maxEpoch {
		scale := math.Exp2(-exponent)
		for _, o := range p.known {
			if o.service *= scale; o.service < leastService {
				o.service = 0
			}
		}
		p.epoch, exponent = now, 0
	}
	g.service += tokens * math.Exp2(exponent)
	g.last = now
}

// get finds a program, or makes it; nil when too many are known.
func (p *programs) get(now time.Time, id string) *program {
	if g := p.known[id]; g != nil {
		return g
	}
	if p.epoch.IsZero() {
		p.epoch, p.swept = now, now
	}
	if now.Sub(p.swept) > p.TTL/8 {
		p.swept = now
		for id, g := range p.known {
			if g.waiting == 0 && now.Sub(g.last) > p.TTL {
				delete(p.known, id)
			}
		}
	}
	if len(p.known) >= maxPrograms {
		p.forgetLeast()
	}
	if len(p.known) >= maxPrograms {
		return nil
	}
	g := &program{last: now}
	p.known[strings.Clone(id)] = g
	return g
}

// forgetLeast forgets half of the programs that nothing waits for, those that were served
// least: it makes the least difference, and names that a client makes up keep nobody
// else's from being counted.
func (p *programs) forgetLeast() {
	type served struct {
		id      string
		service float64
	}
	all := make([]served, 0, len(p.known))
	for id, g := range p.known {
		if g.waiting == 0 {
			all = append(all, served{id, g.service})
		}
	}
	slices.SortFunc(all, func(a, b served) int { return cmp.Compare(a.service, b.service) })
	for _, s := range all[:(len(all)+1)/2] {
		delete(p.known, s.id)
	}
}

// leastServed prefers the flow that was served least.
type leastServed struct {
	programs *programs
	flows    []candidate
}

// candidate is what a choice looks at of a flow.
type candidate struct {
	flow    *flow
	program *program // nil when too many are known; it counts as not served
	head    int64    // since when its first waits
	seq     uint64   // of its first
}

func (c *candidate) service() float64 {
	if c.program == nil {
		return 0
	}
	return c.program.service
}

func (l *leastServed) join(f *flow, now time.Time) {
	p := l.programs.get(now, f.id)
	if p != nil {
		p.waiting++
	}
	f.place = len(l.flows)
	l.flows = append(l.flows, candidate{flow: f, program: p})
}

func (l *leastServed) leave(f *flow) {
	if p := l.flows[f.place].program; p != nil {
		p.waiting--
	}
	last := len(l.flows) - 1
	l.flows[f.place] = l.flows[last]
	l.flows[f.place].flow.place = f.place
	l.flows[last] = candidate{}
	l.flows = l.flows[:last]
}

func (l *leastServed) changed(f *flow) {
	if w := f.line.head(); w != nil {
		l.flows[f.place].head, l.flows[f.place].seq = w.began, w.seq
	}
}

func (l *leastServed) pick(now time.Time) *flow {
	c := &l.flows[0]
	if len(l.flows) > 1 {
		c = l.best()
	}
	if w, g := c.flow.line.head(), c.program; w != nil && g != nil {
		g.waits++
		g.waited += now.Sub(w.since)
	}
	return c.flow
}

// best is the flow whose turn it is, of several.
func (l *leastServed) best() *candidate {
	// The times since which the first ones wait stand for how long they do: only
	// differences count.
	least, most := math.Inf(1), math.Inf(-1)
	first, latest := int64(math.MaxInt64), int64(math.MinInt64)
	for i := range l.flows {
		c := &l.flows[i]
		s := c.service()
		least, most = min(least, s), max(most, s)
		first, latest = min(first, c.head), max(latest, c.head)
	}
	perToken, perWait := 0.0, 0.0
	if most > least {
		perToken = l.programs.WeightService / (most - least)
	}
	if latest > first {
		perWait = l.programs.WeightHeadWait / float64(latest-first)
	}
	var best *candidate
	var bestScore float64
	for i := range l.flows {
		c := &l.flows[i]
		score := perToken*(most-c.service()) + perWait*float64(latest-c.head)
		if best == nil || score > bestScore || score == bestScore && c.seq < best.seq {
			best, bestScore = c, score
		}
	}
	return best
}
