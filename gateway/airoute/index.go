package airoute

// index is where things are in a Config, by their names.
type index struct {
	rules, backends map[string]int
	routes          map[string]*routeIndex
}

// routeIndex are the rules of an AIRoute, in order, by what can make one take a request:
// the exact name of a model, or something else. A rule may be in both.
type routeIndex struct {
	exact map[string][]int
	other []int
}

func (c *Config) indexed() *index {
	c.once.Do(func() {
		c.index = &index{make(map[string]int, len(c.Rules)), make(map[string]int, len(c.Backends)), map[string]*routeIndex{}}
		for i := range c.Backends {
			if _, dup := c.index.backends[c.Backends[i].Name]; !dup {
				c.index.backends[c.Backends[i].Name] = i
			}
		}
		for i := range c.Rules {
			r := &c.Rules[i]
			if _, dup := c.index.rules[r.Name]; !dup {
				c.index.rules[r.Name] = i
			}
			if r.Route == "" {
				continue
			}
			of := c.index.routes[r.Route]
			if of == nil {
				of = &routeIndex{exact: map[string][]int{}}
				c.index.routes[r.Route] = of
			}
			of.add(i, r)
		}
	})
	return c.index
}

func (x *routeIndex) add(i int, r *Rule) {
	other := len(r.Matches) == 0
	for k := range r.Matches {
		m := &r.Matches[k].Model
		if m.Exact == "" {
			other = true
		} else if at := x.exact[m.Exact]; len(at) == 0 || at[len(at)-1] != i {
			x.exact[m.Exact] = append(at, i)
		}
	}
	if other {
		x.other = append(x.other, i)
	}
}

// first is the first rule that takes the request, -1 when none does, and how specific
// it is.
func (x *routeIndex) first(c *Config, q *Request) (at int, specificity uint64) {
	exact, other := x.exact[q.Model], x.other
	for len(exact)+len(other) > 0 {
		if len(other) == 0 || len(exact) > 0 && exact[0] <= other[0] {
			at, exact = exact[0], exact[1:]
		} else {
			at, other = other[0], other[1:]
		}
		if s, ok := c.Rules[at].takes(q); ok {
			return at, s
		}
	}
	return -1, 0
}

// Rule returns the rule of that name, nil when there is none.
func (c *Config) Rule(name string) *Rule {
	if i, ok := c.indexed().rules[name]; ok {
		return &c.Rules[i]
	}
	return nil
}

// Backend returns the backend of that name, nil when there is none.
func (c *Config) Backend(name string) *Backend {
	if i, ok := c.indexed().backends[name]; ok {
		return &c.Backends[i]
	}
	return nil
}
