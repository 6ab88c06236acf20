package filter

import "github.com/fairway-ai/fairway/scheduler"

// labels is a filter that keeps the endpoints whose labels it accepts.
type labels struct {
	name   string
	accept func(map[string]string) bool
}

func newLabels(name, typ string, accept func(map[string]string) bool) labels {
	if name == "" {
		name = typ
	}
	return labels{name, accept}
}

// Name implements scheduler.Filter.
func (f labels) Name() string { return f.name }

// Filter implements scheduler.Filter.
func (f labels) Filter(c *scheduler.Cycle, in []int32) []int32 {
	out := in[:0]
	for _, i := range in {
		if f.accept(c.Snapshot.Endpoints[i].Labels) {
			out = append(out, i)
		}
	}
	return out
}
