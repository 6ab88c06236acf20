package scheduler

import (
	"math"
	"time"
)

// Point is where in a decision a plugin is called, in llm-d's words.
type Point string

// The points of a decision.
const (
	// PointProducer finds out what filters and scorers read.
	PointProducer Point = "DataProducer"
	// PointHandler chooses which profiles run.
	PointHandler Point = "ProfilePicker"
	PointFilter  Point = "Filter"
	PointScorer  Point = "Scorer"
	PointPicker  Point = "Picker"
	// PointPicked is [Observer].
	PointPicked Point = "PreRequest"
)

// Part is a plugin at a point where it is called.
type Part struct {
	Point Point
	// Type is the plugin's type, Name its name in the configuration.
	Type, Name string
}

// Stopwatch learns how long the parts of decisions take. It is the caller's, since this
// package has no clock, and safe for concurrent use.
type Stopwatch interface {
	// Lap says that a part, which began at since, is done, and returns the moment. part
	// is an index of [Parts]; one below 0 only asks for the moment, whose zero is the
	// stopwatch's own. It is called within decisions and must not wait.
	Lap(part int, since time.Duration) (now time.Duration)
}

// Handler is a [Policy] that runs profiles and is a plugin itself.
type Handler interface {
	Policy
	// Plugin is its type, and its name in the configuration.
	Plugin() (typ, name string)
	// Profiles are those that it may run. They do not change.
	Profiles() []*Profile
}

// Wrapper is a [Policy] that has another one decide.
type Wrapper interface{ Unwrap() Policy }

// The parts that every scheduler has, by their places in [Parts]: the lookups of what
// endpoints have cached.
const (
	partKeys = iota
	partIndex
	partPolicy // the first of the policy
)

// noPart stays below 0 whatever is counted on from it.
const noPart = math.MinInt32

// Parts lists what a stopwatch is told of with a policy.
func Parts(p Policy) []Part {
	parts, _ := number(p)
	return parts
}

// timing is a stopwatch and what it calls a policy's parts.
type timing struct {
	watch Stopwatch
	// policy is the part for what is not a profile's.
	policy int
	// profiles are where the profiles begin.
	profiles []begins
}

type begins struct {
	profile *Profile
	first   int
}

// number lists a policy's parts. A policy that is unknown here is one part.
func number(p Policy) ([]Part, timing) {
	const keysType, indexType = "precise-prefix-cache-producer", "approx-prefix-cache-producer"
	parts := []Part{partKeys: {PointProducer, keysType, keysType}, partIndex: {PointProducer, indexType, indexType}}
	t := timing{policy: noPart}
	for {
		w, ok := p.(Wrapper)
		if !ok {
			break
		}
		p = w.Unwrap()
	}
	var profiles []*Profile
	switch p := p.(type) {
	case *Profile:
		profiles = []*Profile{p}
	case Handler:
		profiles = p.Profiles()
		typ, name := p.Plugin()
		t.policy, parts = len(parts), append(parts, Part{PointHandler, typ, name})
	default:
		t.policy, parts = len(parts), append(parts, Part{PointPicker, p.Name(), p.Name()})
	}
	for _, prof := range profiles {
		t.profiles = append(t.profiles, begins{prof, len(parts)})
		parts = prof.parts(parts)
	}
	return parts, t
}

// WithStopwatch tells w how long the parts of decisions take.
func WithStopwatch(w Stopwatch) Option {
	return func(s *Scheduler) {
		_, t := number(s.policy)
		t.watch = w
		s.timing = &t
	}
}

// decide runs the policy.
func (c *Cycle) decide(p Policy) []int32 {
	if c.timing == nil {
		return p.Schedule(c)
	}
	c.start()
	ranked := p.Schedule(c)
	c.lap(c.timing.policy)
	return ranked
}

// turn begins a profile, whose first part it returns: what was done until now was the
// handler's.
func (c *Cycle) turn(p *Profile) int {
	if c.timing == nil {
		return noPart
	}
	for i := range c.timing.profiles {
		if b := &c.timing.profiles[i]; b.profile == p {
			c.lap(c.timing.policy)
			return b.first
		}
	}
	return noPart
}

// start begins a part.
func (c *Cycle) start() {
	if c.timing != nil {
		c.since = c.timing.watch.Lap(noPart, 0)
	}
}

// lap ends a part, and begins the next one.
func (c *Cycle) lap(part int) {
	if part >= 0 && c.timing != nil {
		c.since = c.timing.watch.Lap(part, c.since)
	}
}
