package airoute

import (
	"regexp"
	"strings"
)

// Match is a condition on a request; all that is set must hold.
type Match struct {
	Model   Comparison
	Headers []HeaderMatch
	Path    Comparison
}

// HeaderMatch is a condition on a header, by its lower-case name.
type HeaderMatch struct {
	Name  string
	Value Comparison
}

// Comparison compares a string; its zero value holds for all.
type Comparison struct {
	Exact  string
	Prefix string
	// Element makes Prefix one of whole path elements.
	Element bool
	Regexp  *regexp.Regexp
	set     bool
}

// Equal holds for one string.
func Equal(s string) Comparison { return Comparison{Exact: s, set: true} }

// HasPrefix holds for strings that begin with s.
func HasPrefix(s string) Comparison { return Comparison{Prefix: s, set: true} }

// Below holds for a path and all paths below it.
func Below(path string) Comparison {
	return Comparison{Prefix: strings.TrimRight(path, "/"), Element: true, set: true}
}

// Matching holds for strings that the whole of re matches; re must be anchored.
func Matching(re *regexp.Regexp) Comparison { return Comparison{Regexp: re, set: true} }

// IsSet says that not every string holds.
func (c *Comparison) IsSet() bool { return c.set }

// Holds says whether c holds for s.
func (c *Comparison) Holds(s string) bool {
	switch {
	case !c.set:
		return true
	case c.Regexp != nil:
		return c.Regexp.MatchString(s)
	case c.Element:
		rest, ok := strings.CutPrefix(s, c.Prefix)
		return ok && (rest == "" || rest[0] == '/')
	case c.Prefix != "":
		return strings.HasPrefix(s, c.Prefix)
	}
	return s == c.Exact
}

const lengthBits = 13 // values have at most 4096 bytes

// specificity is higher for what holds for fewer strings: one string, those with a
// prefix, of which the longest is highest, those of a regular expression, all.
func (c *Comparison) specificity() uint64 {
	switch {
	case !c.set:
		return 0
	case c.Regexp != nil:
		return 1 << lengthBits
	case c.Element, c.Prefix != "":
		return 2<<lengthBits | uint64(min(len(c.Prefix), 1<<lengthBits-1))
	}
	return 3 << lengthBits
}

// specificity orders matches of different AIRoutes: by model, then by the number of
// headers, then by path.
func (m *Match) specificity() uint64 {
	s := m.Model.specificity()
	s = s<<8 | uint64(min(len(m.Headers), 1<<8-1))
	return s<<(lengthBits+2) | m.Path.specificity()
}

// Request is what rules look at.
type Request struct {
	Model string
	// Path has no query.
	Path string
	// Header returns a header by its lower-case name, "" when absent.
	Header func(name string) string
}

func (m *Match) holds(q *Request) bool {
	// A request without a model is not one for a model.
	if m.Model.set && (q.Model == "" || !m.Model.Holds(q.Model)) || !m.Path.Holds(q.Path) {
		return false
	}
	for i := range m.Headers {
		h := &m.Headers[i]
		if v := q.Header(h.Name); v == "" || !h.Value.Holds(v) {
			return false
		}
	}
	return true
}

// takes says whether the rule is one for the request, and how specific the most
// specific of its matches is that holds.
func (r *Rule) takes(q *Request) (specificity uint64, ok bool) {
	if len(r.Matches) == 0 {
		return 0, true
	}
	for i := range r.Matches {
		if m := &r.Matches[i]; m.holds(q) {
			specificity, ok = max(specificity, m.specificity()), true
		}
	}
	return specificity, ok
}

// Find returns the first rule that takes the request, nil when none does.
func (c *Config) Find(q Request) *Rule {
	for i := range c.Rules {
		if _, ok := c.Rules[i].takes(&q); ok {
			return &c.Rules[i]
		}
	}
	return nil
}

// FindIn returns the rule for a request that may be for any of the AIRoutes named
// ("namespace/name"), nil when none takes it. Of each AIRoute, the first rule that takes
// the request counts. Among those, the one whose match says most wins: an exact model
// before the longest prefix of one, before a regular expression, before none; then more
// headers; then, as for models, the path; then the order in Config.
func (c *Config) FindIn(routes []string, q Request) *Rule {
	ix := c.indexed()
	var best uint64
	found := -1
	for _, name := range routes {
		of := ix.routes[name]
		if of == nil {
			continue
		}
		if i, s := of.first(c, &q); i >= 0 && (found < 0 || s > best || s == best && i < found) {
			found, best = i, s
		}
	}
	if found < 0 {
		return nil
	}
	return &c.Rules[found]
}
