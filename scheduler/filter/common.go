package filter

import "github.com/fairway-ai/fairway/scheduler"

// labels is a filter that keeps the endpoints whose labels it accepts.
type labels struct {
	name   string
	accept func(map[string]string) bool
}

func newLabels(name, typ string, accept func(map[string]string) bool) labels {
	return labels{nameOr(name, typ), accept}
}

func nameOr(name, typ string) string {
	if name == "" {
		return typ
	}
	return name
}

// Name implements scheduler.Filter.
func (f labels) Name() string { return f.name }

// Filter implements scheduler.Filter.
func (f labels) Filter(c *scheduler.Cycle, in []int32) []int32 {
	return keep(in, false, func(i int32) bool { return f.accept(c.Snapshot.Endpoints[i].Labels) })
}

// keep moves the indices that ok accepts to the front of in and returns them. When
// there are none and all is set, it returns in as it was.
func keep(in []int32, all bool, ok func(i int32) bool) []int32 {
	out := in[:0]
	for _, i := range in {
		if ok(i) {
			out = append(out, i)
		}
	}
	if len(out) == 0 && all {
		return in // nothing was written to it
	}
	return out
}
