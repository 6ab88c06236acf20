package egress

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/fairway-ai/fairway/aibackend/chat"
	"github.com/fairway-ai/fairway/api/v1alpha1"
	"github.com/fairway-ai/fairway/gateway/airoute"
	"github.com/fairway-ai/fairway/gateway/costs"
	"github.com/fairway-ai/fairway/gateway/xds"
)

// AnswerNamespace is that of the dynamic metadata in which access logs and rate limits
// find who answered, and what was counted: backend, schema, rule, operation and model
// (the one that was sent), and input_tokens, output_tokens, cached_tokens,
// cache_write_tokens, reasoning_tokens and total_tokens. What is not known is not there.
const AnswerNamespace = xds.AnswerNamespace

// CostNamespace is that of the rule's costs, numbers by their names. They are there as
// soon as the rule is known, all 0, and change with what the answer uses.
const CostNamespace = xds.CostNamespace

// Costs computes what the answers of rules cost. Its methods may be called concurrently.
type Costs struct {
	log      *slog.Logger
	failures *prometheus.CounterVec
	rules    atomic.Pointer[map[string]*ruleCosts]
	// logged is when the last failure was, in seconds since 1970.
	logged atomic.Int64
	now    func() time.Time
}

// ruleCosts are a rule's.
type ruleCosts struct {
	from    []v1alpha1.Cost
	program *costs.Program
	route   string
}

// logEvery is how often a cost that cannot be computed is logged, at most; the counter
// has them all.
const logEvery = time.Minute

// NewCosts registers a counter of costs that could not be computed. log may be nil. It
// knows no rule until SetRules.
func NewCosts(r prometheus.Registerer, log *slog.Logger) (*Costs, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	c := &Costs{log: log, now: time.Now, failures: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "fairway_cost_errors_total",
		Help: "Costs of a rule that could not be computed, were negative or too large, and counted as 0.",
	}, []string{"rule", "cost"})}
	return c, r.Register(c.failures)
}

// SetRules replaces the rules. Costs that are wrong, which the AIRoute's status says, are
// left out, and the error names them.
func (c *Costs) SetRules(config *airoute.Config) error {
	var old map[string]*ruleCosts
	if m := c.rules.Load(); m != nil {
		old = *m
	}
	next := map[string]*ruleCosts{}
	var errs []error
	for i := range config.Rules {
		r := &config.Rules[i]
		if len(r.Costs) == 0 {
			continue
		}
		if x := old[r.Name]; x != nil && x.route == r.Route && slices.Equal(x.from, r.Costs) {
			next[r.Name] = x
			continue
		}
		p, err := costs.Compile(r.Costs)
		if err != nil {
			errs = append(errs, fmt.Errorf("rule %s: %w", r.Name, err))
			continue
		}
		next[r.Name] = &ruleCosts{slices.Clone(r.Costs), p, r.Route}
	}
	c.rules.Store(&next)
	for name := range old {
		if next[name] == nil {
			c.failures.DeletePartialMatch(prometheus.Labels{"rule": name})
		}
	}
	return errors.Join(errs...)
}

// Of is what a try costs so far, by name; nil where its rule has no costs. A try that did
// not answer, or with an error and no count of tokens, costs nothing, whatever the
// expressions say.
func (c *Costs) Of(o *Outcome) map[string]uint64 {
	m := c.rules.Load()
	if m == nil {
		return nil
	}
	r := (*m)[o.Rule]
	if r == nil {
		return nil
	}
	out := make(map[string]uint64, len(r.from))
	if !o.Usage.Known && (o.Status < 200 || o.Status > 299) {
		for _, name := range r.program.Names() {
			out[name] = 0
		}
		return out
	}
	u := o.Usage
	v := costs.Values{
		Model: o.Model, Backend: o.Backend, RouteName: r.route,
		Input: count(u.Input), Cached: count(u.Cached), CacheCreation: count(u.CacheWrite),
		Output: count(u.Output), Reasoning: count(u.Reasoning), Total: count(u.Input) + count(u.Output),
	}
	for _, f := range r.program.Eval(v, func(name string, n uint64) { out[name] = n }) {
		c.failures.WithLabelValues(o.Rule, f.Cost).Inc()
		now, last := c.now().Unix(), c.logged.Load()
		if now-last >= int64(logEvery/time.Second) && c.logged.CompareAndSwap(last, now) {
			c.log.Warn("a cost could not be computed and counts as 0", "rule", o.Rule, "cost", f.Cost, "error", clip(f.Err.Error()))
		}
	}
	return out
}

// count is a provider's number of tokens, which may be anything.
func count(n int64) uint64 { return uint64(min(max(n, 0), maxTokens)) }

// maxTokens is more than anybody ever used, and leaves room for sums.
const maxTokens = 1 << 50

// ledger remembers what Envoy was told of an answer, so that it is told what is new.
type ledger struct {
	who  bool
	used chat.Usage
}

// tell is dynamic metadata about an answer on its way: who answers, once, and usage and
// costs whenever they have changed. It goes with bodies alone: the head of an answer may
// still lead to the next try. nil is nothing new.
func (l *ledger) tell(usage chat.Usage, outcome func() *Outcome, costsOf func(*Outcome) map[string]uint64) []byte {
	used := usage.Known && usage != l.used
	if l.who && !used {
		return nil
	}
	o := outcome()
	fields := map[string]*structpb.Value{}
	if !l.who {
		for name, v := range map[string]string{
			"backend": o.Backend, "schema": string(o.Schema), "rule": o.Rule, "operation": string(o.Operation), "model": o.SentModel,
		} {
			if v != "" && utf8.ValidString(v) {
				fields[name] = structpb.NewStringValue(v)
			}
		}
	}
	if used {
		for name, n := range map[string]int64{
			"input_tokens": usage.Input, "output_tokens": usage.Output, "cached_tokens": usage.Cached,
			"cache_write_tokens": usage.CacheWrite, "reasoning_tokens": usage.Reasoning, "total_tokens": usage.Total(),
		} {
			fields[name] = structpb.NewNumberValue(float64(n))
		}
	}
	l.who = true
	if used {
		l.used = usage
	}
	namespaces := map[string]*structpb.Value{AnswerNamespace: structpb.NewStructValue(&structpb.Struct{Fields: fields})}
	if v := costValue(costsOf, o); v != nil {
		namespaces[CostNamespace] = v
	}
	b, err := proto.Marshal(&structpb.Struct{Fields: namespaces})
	if err != nil { // names and values are valid strings
		return nil
	}
	return b
}

// costValue is what an outcome costs as the value of CostNamespace; nil for nothing.
func costValue(costsOf func(*Outcome) map[string]uint64, o *Outcome) *structpb.Value {
	if costsOf == nil {
		return nil
	}
	all := costsOf(o)
	if len(all) == 0 {
		return nil
	}
	values := make(map[string]*structpb.Value, len(all))
	for name, n := range all {
		values[name] = structpb.NewNumberValue(float64(n))
	}
	return structpb.NewStructValue(&structpb.Struct{Fields: values})
}

// bare are the pools of a rule that are spoken to in the client's own API, without a
// translator that would know what they answer.
func bare(r *airoute.Rule) []string {
	pools := map[string]bool{}
	for _, g := range r.Groups {
		for _, t := range g {
			if t.Pool != "" && t.Backend == "" {
				pools[t.Pool] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(pools))
}

// poolOf is the pool of those that answered, by what the response says of itself: the
// name of a pool or of one of its clusters. "" means that it was none of them.
func poolOf(pools []string, by string) string {
	for _, prefix := range []string{"", RestorePrefix, xds.ClusterPrefix, xds.LaterPrefix} {
		if name, ok := strings.CutPrefix(by, prefix); ok && slices.Contains(pools, name) {
			return name
		}
	}
	return ""
}
