package limits

import (
	"fmt"
	"sync"
	"time"

	"github.com/fairway-ai/fairway/aibackend/chat"
	"github.com/fairway-ai/fairway/api/v1alpha1"
)

// Request is what limits look at.
type Request struct {
	// Model, User and Identity are the client's; "" where there is none. The identity is
	// one that was checked.
	Model, User, Identity string
	// Header returns a header by its lower-case name, "" when absent.
	Header func(name string) string
	// Prompt is the prompt's estimated length in tokens, MaxTokens the client's bound of
	// the output; 0 when there is none. NoOutput says that the API has no output tokens.
	Prompt, MaxTokens int64
	NoOutput          bool
	// Costs says what usage would cost, by the name of the cost; nil costs nothing.
	Costs func(chat.Usage) map[string]uint64
}

// Admission is a request that was let in. Its methods are safe for concurrent use.
type Admission struct {
	of     *Limiter
	rule   *rule
	states []State
	// expected is what the request was to use, and costs what usage costs; or nil.
	expected chat.Usage
	costs    func(chat.Usage) map[string]uint64

	mu    sync.Mutex
	items []item
	// told says that a backend has reported usage.
	told, ended bool
}

// item is a request's part in one counter.
type item struct {
	limit   *limit
	counter *counter
	// estimate is what the request will use, as far as anybody knows.
	estimate int64
	reserved bool
	// charged is what it was charged, in the slot at.
	charged, at int64
}

// Admit lets a request in, or says why not. Both are nil for a rule without limits. An
// admission must be ended, by Cancel or End.
func (l *Limiter) Admit(name string, q *Request) (*Admission, *Refusal) {
	rules := l.rules.Load()
	if rules == nil {
		return nil, nil
	}
	r := (*rules)[name]
	if r == nil {
		return nil, nil
	}
	now, model := l.now(), q.Model
	if !r.models[model] {
		model = ""
	}
	expected := r.expected(q)
	a := &Admission{
		of: l, rule: r, expected: expected, costs: q.Costs,
		items: make([]item, 0, len(r.limits)), states: make([]State, 0, len(r.limits)),
	}
	var costs map[string]uint64
	for _, n := range r.limits {
		if n.Type == v1alpha1.LimitCost && costs == nil && q.Costs != nil {
			costs = q.Costs(expected)
		}
		x := item{limit: n, counter: n.counter(model, q), estimate: min(n.amount(expected, costs), n.Max)}
		x.reserved = n.Type != v1alpha1.LimitRequests
		at, s, ok := x.counter.take(n.window, now, n.Max, x.estimate, x.reserved)
		state := State{Limit: n.Limit, Left: s.left, Wait: s.wait, Reset: s.reset}
		if !ok {
			a.Cancel()
			r.refused.Inc()
			return nil, &Refusal{State: state, now: now}
		}
		if !x.reserved {
			x.charged, x.at = x.estimate, at
		}
		a.items, a.states = append(a.items, x), append(a.states, state)
	}
	r.allowed.Inc()
	return a, nil
}

// expected is what a request will use, as far as that is known beforehand.
func (r *rule) expected(q *Request) chat.Usage {
	output := r.output.Load()
	switch {
	case q.NoOutput:
		output = 0
	case q.MaxTokens > 0:
		output = min(output, q.MaxTokens)
	}
	return chat.Usage{Known: true, Input: bounded(q.Prompt), Output: output}
}

// amount is what usage counts for the limit.
func (n *limit) amount(u chat.Usage, costs map[string]uint64) int64 {
	switch n.Type {
	case v1alpha1.LimitRequests:
		return 1
	case v1alpha1.LimitInputTokens:
		return bounded(u.Input)
	case v1alpha1.LimitOutputTokens:
		return bounded(u.Output)
	case v1alpha1.LimitTotalTokens:
		return bounded(u.Input) + bounded(u.Output)
	}
	return int64(min(costs[n.Cost], most))
}

// most is more than anybody uses, and leaves room for sums.
const most = 1 << 50

func bounded(n int64) int64 { return min(max(n, 0), most) }

// Charge counts what a backend reported, and what that costs. Several tries of one
// request add up.
func (a *Admission) Charge(u chat.Usage, costs map[string]uint64) {
	now := a.of.now()
	a.mu.Lock()
	defer a.mu.Unlock()
	for i := range a.items {
		x := &a.items[i]
		if !x.reserved {
			continue // a request is one
		}
		n := x.limit.amount(u, costs)
		if !a.told { // instead of the estimate, where that was charged
			x.at = x.counter.charge(x.limit.window, now, n, x.charged, x.at)
			x.charged = n
			continue
		}
		x.at = x.counter.charge(x.limit.window, now, n, 0, 0)
		x.charged += n
	}
	a.told = true
	if u.Output > 0 {
		a.rule.learn(bounded(u.Output))
	}
}

// learn takes an answer's length into the average. One of two at once may be lost.
func (r *rule) learn(output int64) {
	was := r.output.Load()
	step := (output - was) / 16
	if step == 0 && output != was {
		step = (output - was) / max(output-was, was-output)
	}
	r.output.Store(was + step)
}

// End gives back what was reserved. used says that a backend was at work for the request,
// as far as anybody knows: if none has reported usage, what was expected is charged, until
// one does after all. output is how many tokens of the answer went by, 0 where nobody
// counted.
func (a *Admission) End(used bool, output int64) {
	now := a.of.now()
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.ended {
		return
	}
	a.ended = true
	usage, costs := a.expected, map[string]uint64(nil)
	if output > 0 {
		usage.Output = output
	}
	if used && !a.told && a.costs != nil {
		costs = a.costs(usage)
	}
	for i := range a.items {
		x := &a.items[i]
		if !x.reserved {
			continue
		}
		x.counter.settle(x.estimate)
		if used && !a.told {
			x.charged = x.limit.amount(usage, costs)
			x.at = x.counter.charge(x.limit.window, now, x.charged, 0, 0)
		}
	}
}

// Told says whether a backend has reported usage.
func (a *Admission) Told() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.told
}

// Cancel gives everything back, for a request that nothing is sent for.
func (a *Admission) Cancel() {
	now := a.of.now()
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.ended {
		return
	}
	a.ended = true
	for i := range a.items {
		x := &a.items[i]
		if x.reserved {
			x.counter.settle(x.estimate)
		} else {
			x.counter.charge(x.limit.window, now, 0, x.charged, x.at)
		}
	}
}

// Refusal is why a request was not let in.
type Refusal struct {
	State
	now time.Time
}

// words are what limits count, for people.
var words = map[v1alpha1.LimitType]string{
	v1alpha1.LimitRequests: "requests", v1alpha1.LimitInputTokens: "input tokens",
	v1alpha1.LimitOutputTokens: "output tokens", v1alpha1.LimitTotalTokens: "tokens",
}

// Error says which limit it was, for the client.
func (r *Refusal) Error() string {
	what, per := words[r.Limit.Type], ""
	if r.Limit.Type == v1alpha1.LimitCost {
		what = "of " + r.Limit.Cost
	}
	if r.Limit.Per != "" {
		per = ", for each client,"
	}
	return fmt.Sprintf("the limit of %d %s in %s%s is reached; try again in %d s", r.Limit.Max, what, period(r.Limit.Period), per, seconds(r.Wait))
}

// period is a period for people.
func period(d time.Duration) string {
	const day = 24 * time.Hour
	for _, unit := range []struct {
		of   time.Duration
		name string
	}{{day, "days"}, {time.Hour, "hours"}, {time.Minute, "minutes"}} {
		if d%unit.of == 0 {
			return fmt.Sprintf("%d %s", d/unit.of, unit.name)
		}
	}
	return fmt.Sprintf("%d seconds", d/time.Second)
}

// seconds rounds up, to at least one.
func seconds(d time.Duration) int64 { return max(int64((d+time.Second-1)/time.Second), 1) }
