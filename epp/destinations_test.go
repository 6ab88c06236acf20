package epp

import (
	"strings"
	"testing"
	"time"

	"github.com/fairway-ai/fairway/extproc"
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
