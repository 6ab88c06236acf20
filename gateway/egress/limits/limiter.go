package limits

import (
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/fairway-ai/fairway/api/v1alpha1"
	"github.com/fairway-ai/fairway/gateway/airoute"
)

const (
	// mostClients bounds the counters of clients over all limits, but each limit may
	// have leastOfLimit; a limit alone has mostOfLimit at most.
	mostClients, leastOfLimit, mostOfLimit = 1 << 18, 1 << 10, 1 << 14
	// usualOutput is how many tokens an answer is expected to have before there was one.
	usualOutput = 256
)

// Limiter has the counters of all rules. Make it with [New]. Its methods are safe for
// concurrent use.
type Limiter struct {
	now              func() time.Time
	origin           time.Time
	allowed, refused *prometheus.CounterVec
	forgot           prometheus.Counter
	rules            atomic.Pointer[map[string]*rule]
}

// rule is a rule with limits.
type rule struct {
	limits []*limit
	// models are those that the rule names exactly.
	models map[string]bool
	// output is how many tokens answers have, on average.
	output           *atomic.Int64
	allowed, refused prometheus.Counter
}

// limit is a limit with its counters.
type limit struct {
	airoute.Limit
	window
	*counters
}

// counters outlive changes of a rule that leave them their meaning.
type counters struct {
	// models are those of models; "" is all that the rule does not name.
	models map[string]*counter
	// clients are used instead where the limit tells clients apart.
	clients *clients
}

// New returns a limiter without rules, which limits nothing, and registers its metrics.
// now is the clock; nil means time.Now.
func New(r prometheus.Registerer, now func() time.Time) (*Limiter, error) {
	if now == nil {
		now = time.Now
	}
	labels := []string{"route", "rule"}
	l := &Limiter{
		now: now, origin: now(),
		allowed: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "fairway_limit_allowed_total", Help: "Requests of rules with limits that were within them.",
		}, labels),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "fairway_limit_refused_total", Help: "Requests that were answered with 429 because of a limit of their rule.",
		}, labels),
		forgot: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "fairway_limit_clients_forgotten_total", Help: "Counters of clients that made room for those of others.",
		}),
	}
	for _, c := range []prometheus.Collector{l.allowed, l.refused, l.forgot} {
		if err := r.Register(c); err != nil {
			return nil, fmt.Errorf("metrics of limits: %w", err)
		}
	}
	return l, nil
}

// SetRules replaces the rules. A limit that was there before, of a rule of the same name
// and with the same type, period and clients, goes on counting. It must not be called
// concurrently.
func (l *Limiter) SetRules(c *airoute.Config) {
	old, next, keyed := map[string]*rule{}, map[string]*rule{}, 0
	if m := l.rules.Load(); m != nil {
		old = *m
	}
	for i := range c.Rules {
		for _, x := range c.Rules[i].Limits {
			if x.Per != "" {
				keyed++
			}
		}
	}
	most := min(max(mostClients/max(keyed, 1), leastOfLimit), mostOfLimit)
	for i := range c.Rules {
		if r := &c.Rules[i]; len(r.Limits) > 0 {
			next[r.Name] = l.rule(r, old[r.Name], most)
		}
	}
	l.rules.Store(&next)
	for name := range old {
		if next[name] == nil {
			route, of := labelsOf(name)
			l.allowed.DeleteLabelValues(route, of)
			l.refused.DeleteLabelValues(route, of)
		}
	}
}

// labelsOf are a rule's labels: its AIRoute, and its name there.
func labelsOf(rule string) (route, name string) {
	i := strings.LastIndexByte(rule, '/')
	return rule[:max(i, 0)], rule[i+1:]
}

// rule makes a rule, with the counters of the one before it, which may be nil.
func (l *Limiter) rule(from *airoute.Rule, before *rule, most int) *rule {
	route, name := labelsOf(from.Name)
	r := &rule{models: map[string]bool{}, allowed: l.allowed.WithLabelValues(route, name), refused: l.refused.WithLabelValues(route, name)}
	if before != nil {
		r.output = before.output
	} else {
		r.output = new(atomic.Int64)
		r.output.Store(usualOutput)
	}
	for i := range from.Matches {
		if model := from.Matches[i].Model.Exact; model != "" {
			r.models[model] = true
		}
	}
	taken := map[*counters]bool{}
	for _, x := range from.Limits {
		n := &limit{Limit: x, window: window{l.origin, x.Period / parts}, counters: &counters{models: map[string]*counter{}}}
		same := before.same(x, taken)
		if same != nil {
			taken[same] = true
		}
		if x.Per != "" {
			if same != nil {
				n.clients = same.clients
			} else {
				n.clients = newClients(l.forgot.Inc)
			}
			n.clients.keep(most)
			r.limits = append(r.limits, n)
			continue
		}
		add := func(model string) {
			if n.models[model] = new(counter); same != nil && same.models[model] != nil {
				n.models[model] = same.models[model]
			}
		}
		add("")
		for model := range r.models {
			add(model)
		}
		r.limits = append(r.limits, n)
	}
	return r
}

// same is the counters of a limit that counts the same, and is not taken; nil without.
func (r *rule) same(x airoute.Limit, taken map[*counters]bool) *counters {
	if r == nil {
		return nil
	}
	for _, y := range r.limits {
		was := y.Limit
		was.Max = x.Max
		if was == x && !taken[y.counters] {
			return y.counters
		}
	}
	return nil
}

// client is what the limit knows the request's client by.
func (n *limit) client(q *Request) string {
	switch n.Per {
	case v1alpha1.LimitPerHeader:
		return q.Header(n.Header)
	case v1alpha1.LimitPerUser:
		return q.User
	case v1alpha1.LimitPerSPIFFEID:
		return q.Identity
	}
	return ""
}

// counter is the one for a request.
func (n *limit) counter(model string, q *Request) *counter {
	if n.clients != nil {
		return n.clients.of(keyOf(model, n.client(q)))
	}
	return n.models[model]
}
