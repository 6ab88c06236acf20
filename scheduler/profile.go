package scheduler

// Weighted is a scorer and its weight.
type Weighted struct {
	Scorer Scorer
	Weight float32
}

// Profile is a configured policy: filters in order, then for each scorer
// total += clamp(score, 0, 1) × weight, then the picker. Totals are not
// normalised by the sum of weights.
type Profile struct {
	name    string
	filters []Filter
	scorers []Weighted
	picker  Picker
	types   []string // of the plugins, in this order; empty where they are not known
}

// NewProfile returns a profile; picker must not be nil.
func NewProfile(name string, filters []Filter, scorers []Weighted, picker Picker) *Profile {
	return &Profile{name: name, filters: filters, scorers: scorers, picker: picker}
}

// Typed says of what types the filters, the scorers and the picker are, in this order,
// to who times them; without it, their names are taken for their types.
func (p *Profile) Typed(types []string) *Profile {
	p.types = types
	return p
}

// parts appends the profile's parts in the order in which they are done.
func (p *Profile) parts(parts []Part) []Part {
	var observers []Part
	n := 0
	add := func(point Point, name string, plugin any) {
		part := Part{point, name, name}
		if n < len(p.types) {
			part.Type = p.types[n]
		}
		n++
		parts = append(parts, part)
		if _, ok := plugin.(Observer); ok && point != PointPicker {
			part.Point = PointPicked
			observers = append(observers, part)
		}
	}
	for _, f := range p.filters {
		add(PointFilter, f.Name(), f)
	}
	for _, s := range p.scorers {
		add(PointScorer, s.Scorer.Name(), s.Scorer)
	}
	add(PointPicker, p.picker.Name(), p.picker)
	return append(parts, observers...)
}

// passes has a filter judge the candidates and reports whether any are left.
func (c *Cycle) passes(f Filter) bool {
	var before []int32
	if c.Explain != nil {
		before = append(before, c.Candidates...)
	}
	c.Candidates = f.Filter(c, c.Candidates)
	if c.Explain != nil {
		c.Explain.AddVerdict(f.Name(), c.Snapshot.Len(), before, c.Candidates)
	}
	return len(c.Candidates) > 0
}

// Name implements Policy.
func (p *Profile) Name() string { return p.name }

// Schedule implements Policy.
func (p *Profile) Schedule(c *Cycle) []int32 {
	c.Profile = p.name
	part := c.turn(p)
	for _, f := range p.filters {
		ok := c.passes(f)
		c.lap(part)
		part++
		if !ok {
			return nil
		}
	}
	total, col := c.Column(), c.Column()
	for _, s := range p.scorers {
		for i := range col {
			col[i] = NotAsked
		}
		s.Scorer.Score(c, col)
		for _, i := range c.Candidates {
			v := min(max(col[i], 0), 1)
			if v != v { // NaN
				v = 0
			}
			col[i] = v
			total[i] += v * s.Weight
		}
		if c.Explain != nil {
			c.Explain.Add(s.Scorer.Name(), Score, s.Weight, col)
		}
		c.lap(part)
		part++
	}
	if c.Explain != nil {
		c.Explain.Policy = p.name
		c.Explain.Add("total", Total, 1, total)
	}
	ranked := p.picker.Pick(c, total)
	c.lap(part)
	for _, f := range p.filters {
		if o, ok := f.(Observer); ok {
			o.Picked(c, ranked)
			part++
			c.lap(part)
		}
	}
	for _, s := range p.scorers {
		if o, ok := s.Scorer.(Observer); ok {
			o.Picked(c, ranked)
			part++
			c.lap(part)
		}
	}
	return ranked
}
