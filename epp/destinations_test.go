package epp

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/fairway-ai/fairway/extproc"
	"github.com/fairway-ai/fairway/scheduler"
)

// TestMaxDestinations: how many endpoints the default policy names.
func TestMaxDestinations(t *testing.T) {
	for of, want := range map[int]int{0: DefaultMaxDestinations, 1: 1, 7: 7, MaxDestinations: MaxDestinations, 99: MaxDestinations} {
		p := newPicker(t, Options{Pools: onePool(newFakePool(20)), MaxDestinations: of})
		pick := mustPick(t, p, prompt("r", "m", 10))
		if n := len(strings.Split(pick.Destinations, ",")); n != want {
			t.Errorf("%d named with MaxDestinations %d, want %d", n, of, want)
		}
		pick.Observer.End(time.Now(), extproc.Outcome{})
	}
}

// TestLearnDestinations: lists are for gateways that say which endpoint served.
func TestLearnDestinations(t *testing.T) {
	clock := &stagesClock{now: time.Unix(1000, 0)}
	p := newPicker(t, Options{Pools: onePool(newFakePool(20)), LearnDestinations: true, Clock: clock})
	status := http.StatusOK
	ask := func(after time.Duration, served string, want int) {
		t.Helper()
		clock.now = clock.now.Add(after)
		pick := mustPick(t, p, prompt("r", "m", 10))
		if n := len(strings.Split(pick.Destinations, ",")); n != want {
			t.Errorf("%d named, want %d", n, want)
		}
		if served == "yes" {
			served, _, _ = strings.Cut(pick.Destinations, ",")
		}
		pick.Observer.ResponseHeaders(clock.now, status, served)
		pick.Observer.End(clock.now, extproc.Outcome{})
	}
	ask(0, "", 1)
	ask(2*listsAgain, "", 1) // time alone teaches nothing
	ask(2*listsAgain, "yes", 1)
	ask(2*listsAgain, "yes", DefaultMaxDestinations)
	ask(0, "", DefaultMaxDestinations) // another gateway, or the same one configured anew
	ask(0, "yes", 1)
	ask(listsAgain/2, "yes", 1)
	ask(listsAgain, "yes", DefaultMaxDestinations)
	status = http.StatusTooManyRequests // the gateway's own limit
	ask(0, "", DefaultMaxDestinations)
	ask(0, "", DefaultMaxDestinations)
	status = http.StatusServiceUnavailable // what an ORIGINAL_DST cluster makes of a list
	ask(0, "", DefaultMaxDestinations)
	ask(0, "", 1)
}

// TestLearnDestinationsLeavesPolicies: a configured picker names as many as it says.
func TestLearnDestinationsLeavesPolicies(t *testing.T) {
	pools := onePool(newFakePool(20))
	pools[0].Policy = scheduler.Priced{Alternatives: 3}
	p := newPicker(t, Options{Pools: pools, LearnDestinations: true})
	pick := mustPick(t, p, prompt("r", "m", 10))
	if n := len(strings.Split(pick.Destinations, ",")); n != 3 {
		t.Errorf("%d named, want 3", n)
	}
	pick.Observer.End(time.Now(), extproc.Outcome{})
}
