package scorer

import "github.com/fairway-ai/fairway/scheduler"

// named is a plugin's name; an empty one means its type.
type named string

func nameOr(name, typ string) named {
	if name == "" {
		return named(typ)
	}
	return named(name)
}

// Name implements scheduler.Scorer.
func (n named) Name() string { return string(n) }

// unless puts def where a parameter is not ok, and its name among those of others.
func unless[V any](ok bool, names []string, name string, value *V, def V) []string {
	if ok {
		return names
	}
	*value = def
	return append(names, name)
}

// leastFirst scores (max-v)/(max-min) over the candidates' values in out, 1 for
// all when they are equal.
func leastFirst(c *scheduler.Cycle, out []float32) {
	if len(c.Candidates) == 0 {
		return
	}
	lo, hi := out[c.Candidates[0]], out[c.Candidates[0]]
	for _, i := range c.Candidates {
		lo, hi = min(lo, out[i]), max(hi, out[i])
	}
	for _, i := range c.Candidates {
		if hi == lo {
			out[i] = 1
		} else {
			out[i] = (hi - out[i]) / (hi - lo)
		}
	}
}

// waiting is the requests in the endpoint's queue.
func waiting(c *scheduler.Cycle, i int32) int32 {
	m := &c.Snapshot.Metrics[i]
	if m.Known {
		return m.Waiting
	}
	return max(m.Waiting, c.Loads[i].Waiting)
}

// running is the requests in the endpoint's batch.
func running(c *scheduler.Cycle, i int32) int32 {
	m := &c.Snapshot.Metrics[i]
	if m.Known {
		return m.Running
	}
	return max(m.Running, c.Loads[i].Dispatched-c.Loads[i].Waiting)
}
