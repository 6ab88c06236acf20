package flowcontrol

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/fairway-ai/fairway/scheduler"
)

// some is the endpoints of s that a subset allows, as a snapshot of their own.
func some(s *scheduler.Snapshot, subset []string) *scheduler.Snapshot {
	if subset == nil {
		return s
	}
	out := &scheduler.Snapshot{}
	for i := range s.Endpoints {
		if contains(subset, s.Endpoints[i].Address) {
			out.Endpoints = append(out.Endpoints, s.Endpoints[i])
			out.Metrics = append(out.Metrics, s.Metrics[i])
		}
	}
	return out
}

func randomMetrics(rng *rand.Rand, now time.Time) scheduler.Metrics {
	return scheduler.Metrics{
		Known: rng.IntN(10) > 0, UnixNano: now.Add(-time.Duration(rng.IntN(300)) * time.Millisecond).UnixNano(),
		Waiting: int32(rng.IntN(12)), Running: int32(rng.IntN(20)), KVUsage: rng.Float32(),
	}
}

// detectors are one of each kind.
var detectors = []Detector{
	DefaultUtilization(),
	&Concurrency{Mode: ByRequests, MaxRequests: 7, MaxTokens: 900},
	&Concurrency{Mode: ByTokens, MaxRequests: 7, MaxTokens: 900},
	&Concurrency{Mode: ByBoth, MaxRequests: 7, MaxTokens: 900},
}

// TestMeter plays random histories: what a meter keeps is what a look at every endpoint
// finds, for the pool and for lanes, however the endpoints, their metrics, their loads,
// other replicas' shares and the time have changed.
func TestMeter(t *testing.T) {
	for seed := range uint64(60) {
		d := detectors[seed%uint64(len(detectors))]
		rng := rand.New(rand.NewPCG(seed, 5))
		now := time.Unix(1e9, 0)
		s := pool(nil, nil, 0)
		members := func() {
			n := rng.IntN(150)
			next := pool(make([]scheduler.Metrics, n), make([]int, n), 0)
			copy(next.Endpoints, s.Endpoints[:min(len(s.Endpoints), rng.IntN(n+1))]) // some stay
			for i := range next.Metrics {
				next.Metrics[i] = randomMetrics(rng, now)
			}
			s = next
		}
		members()
		var m Meter
		lanes := []*Lane{{}, {Subset: []string{"10.0.0.1:80", "10.0.0.7"}}, {Subset: []string{}}, {}}
		for i := range 70 {
			lanes[3].Subset = append(lanes[3].Subset, fmt.Sprintf("10.0.0.%d:80", i))
		}
		var flights []*scheduler.Flight
		var shares [3]scheduler.Share
		for step := range 600 {
			switch k := rng.IntN(40); {
			case k == 0:
				members()
			case k < 3:
				next := &scheduler.Snapshot{Endpoints: s.Endpoints}
				for range s.Endpoints {
					next.Metrics = append(next.Metrics, randomMetrics(rng, now))
				}
				s = next
			case k < 8:
				now = now.Add(time.Duration(rng.IntN(100)) * time.Millisecond)
			case k < 18 && len(flights) > 0:
				flights[rng.IntN(len(flights))].End(now)
			case k < 20 && s.Len() > 0:
				shares[rng.IntN(3)].Set(now, s.Endpoints[rng.IntN(s.Len())].Load, scheduler.Work{Requests: int32(rng.IntN(5)), Context: int64(rng.IntN(500))})
			case k < 22 && s.Len() > 0 && len(flights) > 0:
				flights[rng.IntN(len(flights))].Move(now, s.Endpoints[rng.IntN(s.Len())].Load, 10)
			case s.Len() > 0:
				for range 1 + rng.IntN(3)*rng.IntN(80) { // at times more than the log holds
					f := new(scheduler.Flight)
					f.Bind(s.Endpoints[rng.IntN(s.Len())].Load, 10, int64(rng.IntN(200)))
					flights = append(flights, f)
				}
			}
			m.Update(now, d, s)
			if got, want := m.All(), Read(d, now, s); got != want {
				t.Fatalf("seed %d, step %d, %s: %+v, want %+v", seed, step, d, got, want)
			}
			for _, l := range lanes {
				if rng.IntN(4) == 0 { // it must catch up with several changes later
					continue
				}
				if got, want := m.Lane(l), Read(d, now, some(s, l.Subset)); got != want {
					t.Fatalf("seed %d, step %d, %s, lane %v: %+v, want %+v", seed, step, d, l.Subset, got, want)
				}
			}
		}
	}
}

// TestMeterConcurrently: changes that come while the meter looks are not lost.
func TestMeterConcurrently(t *testing.T) {
	d := DefaultConcurrency()
	s := pool(make([]scheduler.Metrics, 100), make([]int, 100), 0)
	var m Meter
	now := time.Unix(1e9, 0)
	var wg sync.WaitGroup
	for k := range 8 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(k), 1))
			for i := range 5000 {
				var f scheduler.Flight
				f.Bind(s.Endpoints[rng.IntN(100)].Load, 0, 1)
				if i%10 != 0 {
					f.End(now)
				}
			}
		})
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	for looking := true; looking; {
		select {
		case <-done:
			looking = false
		default:
		}
		m.Update(now, d, s)
	}
	if got, want := m.All(), Read(d, now, s); got != want || want.With(Pending{}) != 8*500/(100*100.) {
		t.Errorf("%+v, want %+v", got, want)
	}
	m.Close()
	var f scheduler.Flight
	f.Bind(s.Endpoints[0].Load, 0, 1)
	if m.changes.Take(0) != 0 {
		t.Error("a closed meter is still told of changes")
	}
}

// BenchmarkMeter is a look at a pool of which one endpoint has changed, and one at all
// endpoints, as for new metrics.
func BenchmarkMeter(b *testing.B) {
	for _, d := range []Detector{DefaultUtilization(), DefaultConcurrency()} {
		for _, n := range []int{1, 10, 100, 250} {
			s := pool(make([]scheduler.Metrics, n), make([]int, n), 0)
			now := time.Unix(1e9, 0)
			for i := range s.Metrics {
				s.Metrics[i] = scheduler.Metrics{Known: true, UnixNano: now.UnixNano(), Running: 1}
			}
			var m Meter
			name := fmt.Sprintf("%T/endpoints=%d", d, n)
			b.Run(name+"/changed", func(b *testing.B) {
				i := 0
				for b.Loop() {
					var f scheduler.Flight
					f.Bind(s.Endpoints[i].Load, 0, 1)
					m.Update(now, d, s)
					f.End(now)
					i = (i + 1) % n
				}
			})
			b.Run(name+"/all", func(b *testing.B) {
				for b.Loop() {
					m.take()
				}
			})
		}
	}
}
