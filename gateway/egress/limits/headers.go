package limits

import (
	"strconv"
	"time"

	"github.com/fairway-ai/fairway/api/v1alpha1"
	"github.com/fairway-ai/fairway/extproc"
	"github.com/fairway-ai/fairway/gateway/airoute"
)

// State is how much of a limit a client has left.
type State struct {
	Limit airoute.Limit
	// Left is what may still be used, Wait how long until there is room for a request
	// that was refused, and Reset how long until nothing is used.
	Left        int64
	Wait, Reset time.Duration
}

// names are how headers call what limits count. Costs have no such name.
var names = map[v1alpha1.LimitType]string{
	v1alpha1.LimitRequests: "requests", v1alpha1.LimitInputTokens: "input-tokens",
	v1alpha1.LimitOutputTokens: "output-tokens", v1alpha1.LimitTotalTokens: "tokens",
}

// Headers tell the client of the refusal, in OpenAI's or Anthropic's words, and when to
// come back.
func (r *Refusal) Headers(anthropic bool) []extproc.Header {
	return append(headers([]State{r.State}, r.now, anthropic), extproc.Header{Name: "retry-after", Value: strconv.FormatInt(seconds(r.Wait), 10)})
}

// Headers tell the client what is left, in OpenAI's or Anthropic's words. Of several
// limits on the same thing, they tell of the one with the least left.
func (a *Admission) Headers(anthropic bool) []extproc.Header {
	return headers(a.states, a.of.now(), anthropic)
}

func headers(states []State, now time.Time, anthropic bool) (out []extproc.Header) {
	for i, s := range states {
		name := names[s.Limit.Type]
		if name == "" || !least(states, i) {
			continue
		}
		add := func(header, value string) { out = append(out, extproc.Header{Name: header, Value: value}) }
		limit, left := strconv.FormatInt(s.Limit.Max, 10), strconv.FormatInt(s.Left, 10)
		if anthropic {
			at := "anthropic-ratelimit-" + name
			add(at+"-limit", limit)
			add(at+"-remaining", left)
			add(at+"-reset", now.Add(s.Reset).UTC().Format(time.RFC3339))
			continue
		}
		add("x-ratelimit-limit-"+name, limit)
		add("x-ratelimit-remaining-"+name, left)
		add("x-ratelimit-reset-"+name, s.Reset.Round(time.Millisecond).String())
	}
	return out
}

// least says whether no other state of the same type has less left, the first of several.
func least(states []State, i int) bool {
	for k, s := range states {
		if s.Limit.Type == states[i].Limit.Type && (s.Left < states[i].Left || s.Left == states[i].Left && k < i) {
			return false
		}
	}
	return true
}
