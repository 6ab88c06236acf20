package scheduler

import (
	"math/rand/v2"
	"sync"
	"testing"
	"time"
)

// flightModel is what a Flight should count, written down separately.
type flightModel struct {
	at                *Load
	uncached, context int64
	waiting, sent     bool
	awaits            bool
}

// view is what a load should read, given the flights.
func view(l *Load, ms []flightModel) LoadView {
	var v LoadView
	for _, m := range ms {
		if m.at != l {
			continue
		}
		v.Requests++
		v.Context += m.context
		if m.sent {
			v.Dispatched++
		}
		if m.waiting {
			v.Waiting++
			v.Backlog += m.uncached
			if m.sent && !m.awaits {
				v.Prefilling += m.uncached
			}
		}
	}
	return v
}

// TestFlightHistories runs random histories of operations, in any order, on
// flights over two loads: the loads always count exactly the flights, and
// nothing once they have ended.
func TestFlightHistories(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	now := time.Unix(1000, 0)
	for h := range histories {
		var loads [2]Load
		var flights [2]Flight
		var models [2]flightModel
		var ended [2]bool
		for range 3 + r.IntN(8) {
			i := r.IntN(2)
			f, m := &flights[i], &models[i]
			now = now.Add(time.Duration(r.IntN(2000)-100) * time.Millisecond)
			l, n := &loads[r.IntN(2)], int64(r.IntN(1000)-50)
			bound := m.at != nil
			switch r.IntN(8) {
			case 0, 1:
				f.Bind(l, n, 2*n)
				if !bound && !ended[i] {
					*m = flightModel{at: l, uncached: max(0, n), context: max(0, 2*n), waiting: true}
				}
			case 2:
				f.Dispatch(now, n)
				if bound && !m.sent {
					m.uncached, m.sent = max(0, n), true
				}
			case 3:
				f.FirstToken(now)
				if m.sent {
					m.waiting = false
				}
			case 4:
				f.Prefilled(now)
				if m.sent {
					m.waiting = false
				}
			case 5:
				f.Move(now, l, n)
				if bound && m.at != l {
					m.at, m.uncached, m.awaits = l, max(0, n), false
				}
			case 6:
				f.End(now)
				*m, ended[i] = flightModel{}, true
			case 7:
				f.Await(n%2 == 0)
				if bound && !m.sent {
					m.awaits = n%2 == 0
				}
			}
			checkLoads(t, h, loads[:], models[:])
		}
		for i := range flights {
			flights[i].End(now)
			models[i] = flightModel{}
		}
		checkLoads(t, h, loads[:], models[:])
		if t.Failed() {
			return
		}
	}
}

func checkLoads(t *testing.T, h int, loads []Load, models []flightModel) {
	t.Helper()
	for k := range loads {
		l := &loads[k]
		want := view(l, models)
		got := l.View()
		got.PrefillRate = 0
		if got != want {
			t.Errorf("history %d, load %d: %+v, want %+v", h, k, got, want)
		}
		if l.Idle() != (want.Requests == 0) || l.Prefilling() != want.Prefilling {
			t.Errorf("history %d, load %d: Idle or Prefilling disagrees with %+v", h, k, want)
		}
		if pending := prefilling(l, models); l.rate.pending != pending {
			t.Errorf("history %d, load %d: %d outstanding prefills, want %d", h, k, l.rate.pending, pending)
		}
	}
}

func prefilling(l *Load, ms []flightModel) int {
	n := 0
	for _, m := range ms {
		if m.at == l && m.sent && m.waiting && !m.awaits {
			n++
		}
	}
	return n
}

func TestLoadConcurrent(t *testing.T) {
	var loads [3]Load
	var wg sync.WaitGroup
	now := time.Unix(0, 0)
	for g := range 8 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			r := rand.New(rand.NewPCG(uint64(g), 1))
			for range 300 {
				var f Flight
				f.Bind(&loads[r.IntN(3)], 100, 200)
				f.Dispatch(now, 80)
				if v := loads[0].View(); v.Requests < 0 || v.Backlog < 0 {
					t.Errorf("negative: %+v", v)
				}
				f.Move(now, &loads[r.IntN(3)], 50)
				f.FirstToken(now)
				f.End(now)
			}
		}()
	}
	wg.Wait()
	for i := range loads {
		if v := loads[i].View(); v != (LoadView{}) {
			t.Errorf("load %d leaked %+v", i, v)
		}
	}
}

func TestPrefillRate(t *testing.T) {
	at := func(s float64) time.Time { return time.Unix(0, 0).Add(time.Duration(s * float64(time.Second))) }
	serve := func(l *Load, from, to float64, tokens int64) {
		var f Flight
		f.Bind(l, tokens, tokens)
		f.Dispatch(at(from), tokens)
		f.FirstToken(at(to))
		f.End(at(to))
	}
	rate := func(l *Load) float64 { return l.View().PrefillRate }

	var l Load
	serve(&l, 0, 1, 20_000)
	if got := rate(&l); got != 0 {
		t.Errorf("after 20,000 tokens: rate %v, want none yet", got)
	}
	// The idle time in between does not count.
	serve(&l, 100, 101, 20_000)
	if got := rate(&l); got != 20_000 {
		t.Errorf("rate %v, want 20,000", got)
	}
	// Overlapping requests share the time.
	var a, b Flight
	a.Bind(&l, 10_000, 1)
	b.Bind(&l, 10_000, 1)
	a.Dispatch(at(200), 10_000)
	b.Dispatch(at(200), 10_000)
	a.FirstToken(at(200.5))
	b.FirstToken(at(201))
	if got := rate(&l); got != 20_000 {
		t.Errorf("after overlapping requests: rate %v, want 20,000", got)
	}
	// An estimate, a cancelled request and a moved one teach nothing.
	for _, finish := range []func(f *Flight){
		func(f *Flight) { f.Prefilled(at(1301)) },
		func(f *Flight) { f.End(at(1301)) },
		func(f *Flight) { f.Move(at(1301), new(Load), 5); f.End(at(1302)) },
	} {
		var f Flight
		f.Bind(&l, 1, 1)
		f.Dispatch(at(301), 1)
		finish(&f)
		if got := rate(&l); got != 20_000 {
			t.Errorf("rate %v, want 20,000 still", got)
		}
	}
	// An endpoint that slows down is noticed within the window.
	for i := range 100 {
		serve(&l, float64(2000+10*i), float64(2001+10*i), 10_000)
	}
	if got := rate(&l); got > 11_000 {
		t.Errorf("rate %v, want about 10,000", got)
	}
	// A clock that goes backwards is no reason to divide by it.
	serve(&l, 9000, 8000, 10_000)
	if got := rate(&l); !(got > 0 && got < 1e9) {
		t.Errorf("rate %v after the clock went back", got)
	}
}
