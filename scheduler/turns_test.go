package scheduler

import (
	"math"
	"testing"
	"time"
)

// TestSaturation: alone, an endpoint admits by what it prefills; where several replicas
// hold requests, the first in order goes.
func TestSaturation(t *testing.T) {
	now := time.Unix(1000, 0)
	at := func(seconds float64) int64 { return now.Add(time.Duration(seconds * 1e9)).UnixNano() }
	next := func(uncached int64, since float64) Next {
		return Next{Held: true, Uncached: uncached, Since: at(since)}
	}
	urgent := next(20_000, 0)
	urgent.Priority = 1
	for name, c := range map[string]struct {
		own   int64   // tokens that ours prefill, 0 for none
		their []int64 // tokens that each of theirs prefills
		ours  Next
		held  []Next // theirs, each on a share of its own
		want  float64
	}{
		"idle":                                 {want: 0},
		"alone, half full":                     {own: HoldTokens / 2, ours: next(1, 0), want: 0.5},
		"alone, full":                          {own: HoldTokens, ours: next(1, 0), want: 1},
		"others hold nothing":                  {own: HoldTokens / 2, their: []int64{HoldTokens}, ours: next(1, 0), want: 1.5},
		"ours is shorter":                      {own: HoldTokens / 2, ours: next(100, 0), held: []Next{next(200, 0)}, want: 0.5},
		"ours is longer":                       {own: HoldTokens / 2, ours: next(300, 0), held: []Next{next(200, 0)}, want: 1},
		"ours is as long":                      {own: HoldTokens / 2, ours: next(200, 0), held: []Next{next(200, 0)}, want: 0.5},
		"ours is longer than the second's":     {own: HoldTokens / 2, ours: next(300, 0), held: []Next{next(900, 0), next(200, 0)}, want: 1},
		"ours is longer, but waits for longer": {own: HoldTokens / 2, ours: next(300, -10), held: []Next{next(200, 0)}, want: 0.5},
		"theirs is more urgent":                {own: HoldTokens / 2, ours: next(300, 0), held: []Next{urgent}, want: 1},
		"ours is more urgent":                  {own: HoldTokens / 2, ours: urgent, held: []Next{next(300, 0)}, want: 0.5},
		"we hold none":                         {own: HoldTokens / 2, held: []Next{next(200, 0)}, want: 1},
		"nothing is prefilled":                 {ours: next(300, 0), held: []Next{next(200, 0)}, want: 0},
		"behind, and full":                     {own: 2 * HoldTokens, ours: next(300, 0), held: []Next{next(200, 0)}, want: 2},
		"first behind one long prompt":         {their: []int64{9 * HoldTokens}, ours: next(100, 0), held: []Next{next(200, 0)}, want: math.Nextafter(1, 0)},
		"first behind a long one of ours":      {own: 9 * HoldTokens, ours: next(100, 0), held: []Next{next(200, 0)}, want: math.Nextafter(1, 0)},
		"first behind two":                     {own: HoldTokens, their: []int64{HoldTokens}, ours: next(100, 0), held: []Next{next(200, 0)}, want: 2},
	} {
		t.Run(name, func(t *testing.T) {
			var l Load
			var f Flight
			if c.own > 0 {
				f.Bind(&l, c.own, c.own)
				f.Dispatch(now, c.own)
			}
			shares := make([]Share, len(c.their)+len(c.held))
			for i, n := range c.their {
				shares[i].Set(now, &l, Work{Requests: 1, Waiting: 1, Dispatched: 1, Backlog: n, Prefilling: n})
			}
			for i, n := range c.held {
				shares[len(c.their)+i].Set(now, &l, Work{Requests: 1, Waiting: 1, Backlog: n.Uncached, Next: n})
			}
			l.SetNext(c.ours)
			if got := l.Saturation(); got != c.want || l.Admits() != (c.want < 1) {
				t.Errorf("saturation %v, admits %v, want %v", got, l.Admits(), c.want)
			}
			if got := l.Own().Next; got != c.ours {
				t.Errorf("others are told of %+v, want %+v", got, c.ours)
			}
			for i := range shares {
				shares[i].End(now)
			}
			if got, want := l.Saturation(), float64(c.own)/HoldTokens; got != want {
				t.Errorf("saturation %v when the others are gone, want %v", got, want)
			}
		})
	}
}

// TestTurnsEnd: a replica counts as holding nothing as soon as it cannot hold any, and
// whoever waited for it is told.
func TestTurnsEnd(t *testing.T) {
	now := time.Unix(1000, 0)
	holds := Work{Requests: 2, Dispatched: 1, Waiting: 2, Backlog: 9, Next: Next{Held: true, Uncached: -5, Since: 1}}
	for name, c := range map[string]struct {
		then Work
		less bool
	}{
		"another one":         {Work{Requests: 2, Dispatched: 1, Waiting: 2, Backlog: 9, Next: Next{Held: true, Uncached: 7, Since: 1}}, true},
		"the same":            {holds, false},
		"none":                {Work{Requests: 2, Dispatched: 2, Waiting: 2, Backlog: 9}, true},
		"all are sent":        {Work{Requests: 2, Dispatched: 2, Waiting: 2, Backlog: 9, Next: holds.Next}, true},
		"there is no request": {Work{Next: holds.Next}, true},
	} {
		var l Load
		var s Share
		if less := s.Set(now, &l, holds); less {
			t.Errorf("%s: a first one lets nobody go", name)
		}
		if n := s.Work().Next; !n.Held || n.Uncached != 0 {
			t.Errorf("%s: %+v counts", name, n)
		}
		if less := s.Set(now, &l, c.then); less != c.less {
			t.Errorf("%s: less is %v", name, less)
		}
		s.End(now)
		if others, _ := l.shared.turns.look(0); others {
			t.Errorf("%s: it counts beyond its end", name)
		}
	}
}
