package scheduler

import (
	"fmt"
	"testing"
)

func TestAdaptersAreNumbered(t *testing.T) {
	var none *Adapters
	if none.Number("a") != 0 || none.Use([]string{"a"}, nil) != nil || none.With(nil) != nil || none.With([]string{""}) != nil {
		t.Error("no adapters have one")
	}
	a := none.With([]string{"a", "b", "a", ""})
	if a.Number("a") != 1 || a.Number("b") != 2 || a.Number("c") != 0 || a.Number("") != 0 {
		t.Errorf("%+v", a)
	}
	if a.With([]string{"b", "a"}) != a {
		t.Error("names that are known make a new set")
	}
	more := a.With([]string{"b", "c"})
	if more.Number("b") != 2 || more.Number("c") != 3 || a.Number("c") != 0 {
		t.Errorf("%+v, after %+v", more, a)
	}
}

func TestAdaptersAreBounded(t *testing.T) {
	var a *Adapters
	for i := range 3*MaxAdapters + 5 {
		before := a
		if a = a.With([]string{fmt.Sprint(i)}); a.Number(fmt.Sprint(i)) == 0 {
			t.Fatalf("the newest of %d is not known", i+1)
		}
		if len(a.numbers) > MaxAdapters || before != nil && len(before.numbers) > MaxAdapters {
			t.Fatalf("%d are known", len(a.numbers))
		}
	}
	many := make([]string, 2*MaxAdapters)
	for i := range many {
		many[i] = fmt.Sprint("many", i)
	}
	if a = a.With(many); len(a.numbers) > MaxAdapters || a.Number(many[len(many)-1]) == 0 {
		t.Errorf("%d are known", len(a.numbers))
	}
}

func TestAdapterUse(t *testing.T) {
	var a *Adapters
	for i := range adapterBits + 2 {
		a = a.With([]string{fmt.Sprint(i + 1)})
	}
	if a.Use(nil, nil) != nil {
		t.Error("an endpoint without adapters needs memory")
	}
	u := a.Use([]string{"1", "64", "1", "strange"}, []string{"64", "65", "65"})
	if u.distinct != 3 {
		t.Errorf("%d adapters, want 3", u.distinct)
	}
	for n := range int32(130) {
		if u.active.has(n) != (n == 1 || n == 64) || u.waiting.has(n) != (n == 64 || n == 65) {
			t.Errorf("adapter %d: active %v, waiting %v", n, u.active.has(n), u.waiting.has(n))
		}
	}
	if !u.active.has(adapterBits+1) || u.active.has(adapterBits+2) {
		t.Error("numbers with the same remainder are not the same")
	}
}

// TestAdapterCost has what a cost must be like, whatever its constants are.
func TestAdapterCost(t *testing.T) {
	a := (*Adapters)(nil).With([]string{"a", "b", "c", "d", "mine"})
	cost := func(places int32, active, waiting []string) (place, wait float64) {
		return adapterCost(&Metrics{MaxLoRA: places, Adapters: a.Use(active, waiting)}, a.Number("mine"))
	}
	p1, w1 := cost(4, nil, nil)
	p2, w2 := cost(4, []string{"a"}, nil)
	p4, w4 := cost(4, []string{"a", "b"}, []string{"c"})
	full, w5 := cost(4, []string{"a", "b", "c", "d"}, nil)
	if !(0 < p1 && p1 < p2 && p2 < p4 && p4 == adapterPlace && full == adapterPlace) {
		t.Errorf("the fewer places are left, the dearer: %v, %v, %v, %v", p1, p2, p4, full)
	}
	_, w6 := cost(3, []string{"a", "b", "c"}, []string{"d"})
	if w1 != 0 || w2 != 0 || w4 != 0 || w5 <= 0 || w6 <= w5 {
		t.Errorf("the more wait, the longer: %v, %v, %v, %v, %v", w1, w2, w4, w5, w6)
	}
	if p, w := cost(2, []string{"a", "mine"}, []string{"b", "c"}); p != 0 || w != 0 {
		t.Errorf("one that runs costs %v, %v", p, w)
	}
	if p, w := cost(2, []string{"a", "b"}, []string{"mine"}); p != 0 || w != w5 {
		t.Errorf("one that waits costs %v, %v, want 0, %v", p, w, w5)
	}
	if p, w := cost(0, []string{"a", "b"}, []string{"c"}); p != 0 || w != 0 {
		t.Errorf("an engine without a bound costs %v, %v", p, w)
	}
}

// adapterPool is a pool whose endpoints have adapters that run and wait.
func adapterPool(n int) *Snapshot {
	s := testPool(n)
	for i := range s.Metrics {
		names := []string{fmt.Sprint("a", i%7), fmt.Sprint("a", i%5), fmt.Sprint("b", i%3)}
		s.Adapters = s.Adapters.With(names)
		s.Metrics[i].MaxLoRA, s.Metrics[i].Adapters = 4, s.Adapters.Use(names[:2], names[2:])
	}
	return s
}

func TestScheduleWithAdaptersDoesNotAllocate(t *testing.T) {
	if raceDetector {
		t.Skip("the race detector allocates")
	}
	snap := adapterPool(8)
	s := New(Priced{Alternatives: 3}, nil)
	req := &Request{PromptTokens: 1000, Model: "a3"}
	var dec Decision
	if n := testing.AllocsPerRun(200, func() {
		if err := s.Schedule(req, snap, &dec, nil); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations per decision", n)
	}
}

// BenchmarkPriced is a decision of the default policy: in a pool without adapters, and
// for the base model and for an adapter of one with them.
func BenchmarkPriced(b *testing.B) {
	for _, n := range []int{8, 1000} {
		for _, tc := range []struct {
			name, model string
			snap        *Snapshot
		}{{"none", "a3", testPool(n)}, {"base", "base", adapterPool(n)}, {"adapter", "a3", adapterPool(n)}} {
			b.Run(fmt.Sprintf("%d/%s", n, tc.name), func(b *testing.B) {
				s := New(Priced{Alternatives: 3}, nil)
				req := &Request{PromptTokens: 1000, Model: tc.model}
				var dec Decision
				b.ReportAllocs()
				for b.Loop() {
					_ = s.Schedule(req, tc.snap, &dec, nil)
				}
			})
		}
	}
}
