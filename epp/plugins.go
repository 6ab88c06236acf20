package epp

import (
	"time"

	"github.com/fairway-ai/fairway/epp/flowcontrol"
	"github.com/fairway-ai/fairway/scheduler"
)

// stopwatch says how long ago some moment is. To ask it costs half of what the time does.
func stopwatch(c Clock) func() time.Duration {
	if _, real := c.(systemClock); real {
		start := time.Now()
		return func() time.Duration { return time.Since(start) }
	}
	start := c.Now()
	return func() time.Duration { return c.Now().Sub(start) }
}

// forgetPlugins drops what was measured of plugins that only these routes have, but for
// the routes that stay.
func (p *Picker) forgetPlugins(gone []*route, stay map[string]*route) {
	for _, r := range gone {
		if stay[r.name] != r {
			p.o.Metrics.ForgetPlugins(r.plugins)
		}
	}
}

// sheds asks whether the request is refused at once.
func (r *request) sheds(s *flowcontrol.Shedder) bool {
	p := r.picker
	start := p.elapsed()
	refused := s.Refuses(p.clock.Now(), r.sched.Priority, r.route.state.endpoints.Snapshot(), chance(r.sched.Seed))
	if s.Probabilistic != nil {
		p.o.Metrics.Admitted(p.elapsed() - start)
	}
	return refused
}

// newScheduler makes a route's scheduler, which is timed.
func (p *Picker) newScheduler(r *route, policy scheduler.Policy) *scheduler.Scheduler {
	r.plugins = p.o.Metrics.PluginTimes(scheduler.Parts(policy), p.elapsed)
	options := []scheduler.Option{scheduler.WithHoldings(r.cache), scheduler.WithStopwatch(r.plugins)}
	if r.lists != nil {
		options = append(options, scheduler.WithScreen(r.lists))
	}
	return scheduler.New(policy, r.index, options...)
}
