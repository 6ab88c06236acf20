package egress

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

const (
	// usualWait is how long a backend cools that had too many requests and does not say
	// for how long.
	usualWait = time.Second
	// longestWait bounds what a backend may ask for.
	longestWait = 5 * time.Minute
)

// providerLimits are the headers in which providers tell of a limit: how much is left of it,
// and when there is more.
var providerLimits = [...]struct{ remaining, reset string }{
	{"x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"},
	{"x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"},
	{"anthropic-ratelimit-requests-remaining", "anthropic-ratelimit-requests-reset"},
	{"anthropic-ratelimit-tokens-remaining", "anthropic-ratelimit-tokens-reset"},
	{"anthropic-ratelimit-input-tokens-remaining", "anthropic-ratelimit-input-tokens-reset"},
	{"anthropic-ratelimit-output-tokens-remaining", "anthropic-ratelimit-output-tokens-reset"},
}

// waitFor says how long an answer asks to be left alone: any 429 does, and a 503 or a
// 529, which is Anthropic's, that says for how long.
func waitFor(status int, header func(string) string, now time.Time) (time.Duration, bool) {
	if status != 429 && status != 503 && status != 529 {
		return 0, false
	}
	// Times are compared with the provider's own clock.
	if t, err := http.ParseTime(header("date")); err == nil {
		now = t
	}
	wait := retryAfter(header, now)
	if wait <= 0 && status != 429 {
		return 0, false
	}
	if wait <= 0 {
		for _, l := range providerLimits {
			if none(header(l.remaining)) {
				wait = max(wait, moment(header(l.reset), now))
			}
		}
	}
	if wait <= 0 {
		wait = usualWait
	}
	return min(wait, longestWait), true
}

func retryAfter(header func(string) string, now time.Time) time.Duration {
	if d := number(header("retry-after-ms"), time.Millisecond); d > 0 {
		return d
	}
	v := header("retry-after")
	if d := number(v, time.Second); d > 0 {
		return d
	}
	if t, err := http.ParseTime(strings.TrimSpace(v)); err == nil {
		return t.Sub(now)
	}
	return 0
}

// none says that a limit has nothing left.
func none(s string) bool {
	n, err := strconv.ParseFloat(strings.TrimSpace(s), 64)
	return err == nil && n <= 0
}

// moment reads when there is more of a limit: a time, a duration as in 6m0s, or seconds.
func moment(s string, now time.Time) time.Duration {
	s = strings.TrimSpace(s)
	if d := number(s, time.Second); d > 0 {
		return d
	}
	if d, err := time.ParseDuration(s); err == nil {
		return d
	}
	if t, err := time.Parse(time.RFC3339, s); err == nil {
		return t.Sub(now)
	}
	return 0
}

// number reads a number of units, up to more than is ever waited; 0 when it is none.
func number(s string, unit time.Duration) time.Duration {
	n, err := strconv.ParseFloat(strings.TrimSpace(s), 64)
	if err != nil || !(n > 0) {
		return 0
	}
	return time.Duration(min(n*float64(unit), float64(2*longestWait)))
}
