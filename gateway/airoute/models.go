package airoute

import (
	"cmp"
	"slices"
)

// Model is a model with an exact name.
type Model struct {
	Name    string
	OwnedBy string
	Created int64
}

// Models are those that rules name exactly and, for rules that take any model, those
// that their backends list, in the order of the rules.
func (c *Config) Models() []Model {
	return c.models(func(*Rule) bool { return true })
}

// ModelsOf is Models for the rules of some AIRoutes, "namespace/name".
func (c *Config) ModelsOf(routes []string) []Model {
	return c.models(func(r *Rule) bool { return r.Route != "" && slices.Contains(routes, r.Route) })
}

func (c *Config) models(of func(*Rule) bool) []Model {
	var all []Model
	seen := map[string]bool{}
	add := func(name string, r *Rule) {
		if !seen[name] {
			seen[name] = true
			all = append(all, Model{name, cmp.Or(r.OwnedBy, "fairway"), r.Created})
		}
	}
	for i := range c.Rules {
		r := &c.Rules[i]
		if !of(r) {
			continue
		}
		open := len(r.Matches) == 0
		for k := range r.Matches {
			m := &r.Matches[k].Model
			if m.Exact != "" {
				add(m.Exact, r)
			}
			open = open || !m.set
		}
		if !open || r.TrimModel != "" {
			continue
		}
		for _, g := range r.Groups {
			for _, t := range g {
				if b := c.Backend(t.Backend); b != nil {
					for _, m := range b.Models {
						add(m, r)
					}
				}
			}
		}
	}
	return all
}

// Served describes the models that the rules take, for people.
func (c *Config) Served() []string {
	return c.served(func(*Rule) bool { return true })
}

// ServedIn is Served for the rules of some AIRoutes, "namespace/name".
func (c *Config) ServedIn(routes []string) []string {
	return c.served(func(r *Rule) bool { return r.Route != "" && slices.Contains(routes, r.Route) })
}

// ServedBy describes the models that may reach a backend, for people.
func (c *Config) ServedBy(backend string) []string {
	return c.served(func(r *Rule) bool {
		return slices.ContainsFunc(r.Groups, func(g []Target) bool {
			return slices.ContainsFunc(g, func(t Target) bool { return t.Backend == backend })
		})
	})
}

func (c *Config) served(of func(*Rule) bool) []string {
	var all []string
	seen := map[string]bool{}
	add := func(s string) {
		if !seen[s] {
			seen[s] = true
			all = append(all, s)
		}
	}
	for i := range c.Rules {
		r := &c.Rules[i]
		if !of(r) {
			continue
		}
		if len(r.Matches) == 0 {
			add("any other")
		}
		for k := range r.Matches {
			switch m := &r.Matches[k].Model; {
			case !m.set:
				add("any with the right path or headers")
			case m.Regexp != nil:
				add("names like " + m.Regexp.String())
			case m.Prefix != "":
				add(m.Prefix + "*")
			default:
				add(m.Exact)
			}
		}
	}
	return all
}
