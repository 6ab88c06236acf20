package airoute

import (
	"cmp"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/fairway-ai/fairway/aibackend"
	"github.com/fairway-ai/fairway/aibackend/credentials"
)

// Config is rules and the backends that they name.
type Config struct {
	// Rules are tried in order.
	Rules    []Rule
	Backends []Backend
	// Warnings are what is probably not meant but does no harm.
	Warnings []string
}

// Rule sends what matches to its groups, one after the other.
type Rule struct {
	// Name is unique, "namespace/route/rule".
	Name string
	// Route is the AIRoute it is of, "namespace/route".
	Route string
	// Matches are alternatives; without any, every request matches.
	Matches []Match
	// Groups are in the order of their priority, none of them empty. A rule without
	// any answers 500.
	Groups [][]Target
	// Managed says that another control plane configures Envoy, where clusters of
	// pools have other names.
	Managed bool
	// On says what leads to the next group.
	On Triggers
	// Attempts is how many groups are tried, the first included; at least 1.
	Attempts int
	// FirstByteTimeout bounds a try up to its answer's begin, Timeout a request; 0
	// means no bound.
	FirstByteTimeout, Timeout time.Duration
	// TrimModel is taken off the start of the model's name before it is sent.
	TrimModel string
	// OwnedBy and Created, in seconds since 1970, describe the rule's models.
	OwnedBy string
	Created int64
}

// Target is one place of a group.
type Target struct {
	// Pool is "namespace/name" of an InferencePool.
	Pool string
	// Backend is the name of a Backend. With Pool, it is that pool, spoken to as the
	// Backend says; without, a provider.
	Backend string
	// Weight is its share within the group; at least 1.
	Weight uint32
}

// Triggers are reasons to go on to the next group.
type Triggers struct {
	ConnectFailure, ServerError, TooManyRequests, NoEndpoints, Saturated, PickerUnavailable bool
}

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

// Request is what rules look at.
type Request struct {
	Model string
	// Path has no query.
	Path string
	// Header returns a header by its lower-case name, "" when absent.
	Header func(name string) string
}

// Find returns the first rule that takes the request, nil when none does.
func (c *Config) Find(q Request) *Rule {
	for i := range c.Rules {
		if c.Rules[i].takes(q) {
			return &c.Rules[i]
		}
	}
	return nil
}

func (r *Rule) takes(q Request) bool {
	return len(r.Matches) == 0 || slices.ContainsFunc(r.Matches, func(m Match) bool { return m.holds(q) })
}

func (m *Match) holds(q Request) bool {
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

// Served describes the models that the rules take, for people.
func (c *Config) Served() []string {
	var all []string
	for i := range c.Rules {
		r := &c.Rules[i]
		if len(r.Matches) == 0 {
			all = append(all, "any other")
		}
		for k := range r.Matches {
			switch m := &r.Matches[k].Model; {
			case !m.set:
				all = append(all, "any with the right path or headers")
			case m.Regexp != nil:
				all = append(all, "names like "+m.Regexp.String())
			case m.Prefix != "":
				all = append(all, m.Prefix+"*")
			default:
				all = append(all, m.Exact)
			}
		}
	}
	return unique(all)
}

// ServedBy describes the models that may reach a backend, for people.
func (c *Config) ServedBy(backend string) []string {
	only := &Config{}
	for _, r := range c.Rules {
		if slices.ContainsFunc(r.Groups, func(g []Target) bool {
			return slices.ContainsFunc(g, func(t Target) bool { return t.Backend == backend })
		}) {
			only.Rules = append(only.Rules, r)
		}
	}
	return only.Served()
}

// Model is a model with an exact name.
type Model struct {
	Name    string
	OwnedBy string
	Created int64
}

// Models are those that rules name exactly and, for rules that take any model, those
// that their backends list, in the order of the rules.
func (c *Config) Models() []Model {
	var all []Model
	add := func(name string, r *Rule) {
		if !slices.ContainsFunc(all, func(m Model) bool { return m.Name == name }) {
			all = append(all, Model{name, cmp.Or(r.OwnedBy, "fairway"), r.Created})
		}
	}
	for i := range c.Rules {
		r := &c.Rules[i]
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

// Backend returns the backend of that name, nil when there is none.
func (c *Config) Backend(name string) *Backend {
	if i := slices.IndexFunc(c.Backends, func(b Backend) bool { return b.Name == name }); i >= 0 && name != "" {
		return &c.Backends[i]
	}
	return nil
}

// Backend is a provider at an address.
type Backend struct {
	// Name is unique: "namespace/name", with the model after a # where a rule
	// replaces it.
	Name string
	// Label is the name without the model, for people.
	Label string
	// Provider says how to speak to it.
	Provider aibackend.Backend
	// Pool is the InferencePool that it is, "namespace/name"; "" for a host.
	Pool string
	// Host is a DNS name or an IP address.
	Host string
	Port uint16
	TLS  TLS
	// Credentials says what requests are signed with.
	Credentials credentials.Config
	// SetHeaders replace, AddHeaders join and RemoveHeaders take out headers of
	// requests, by lower-case names.
	SetHeaders, AddHeaders []aibackend.Header
	RemoveHeaders          []string
	// Models are those it is known to serve; empty for any.
	Models []string
}

// TLS is how a backend is trusted.
type TLS struct {
	// Off means no TLS, Insecure TLS without a look at the certificate.
	Off, Insecure bool
	// ServerName is sent and checked; "" means the host.
	ServerName string
	// CA is PEM; nil means the system's authorities.
	CA []byte
}

// Authority is the host as requests name it.
func (b *Backend) Authority() string {
	host := b.Host
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if b.Port == 443 && !b.TLS.Off || b.Port == 80 && b.TLS.Off {
		return host
	}
	return host + ":" + itoa(b.Port)
}

func itoa(n uint16) string { return strconv.FormatUint(uint64(n), 10) }

func unique(all []string) []string {
	var out []string
	for _, s := range all {
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}
