package replay

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/fairway-ai/fairway/sim/engine"
	"github.com/fairway-ai/fairway/sim/workload"
)

// replicated is the result of the default policy on a workload, over that many seeds.
func replicated(t *testing.T, name string, speed float64, index IndexMode, seeds uint64, c Config) Summary {
	t.Helper()
	policies, err := Find("default")
	if err != nil {
		t.Fatal(err)
	}
	var runs [][]Sample
	for seed := uint64(1); seed <= seeds; seed++ {
		w, err := workload.Generate(name, 3000, rand.New(rand.NewPCG(seed, 7)))
		if err != nil {
			t.Fatal(err)
		}
		c.Engine, c.Endpoints, c.Index, c.Staleness, c.Seed = engine.Config{Blocks: 596}, 8, index, 50*time.Millisecond, seed
		samples, err := Run(context.Background(), w.AtSpeed(speed), policies[0], c)
		if err != nil {
			t.Fatal(err)
		}
		runs = append(runs, samples)
	}
	return Summarise("default", name, speed, runs...)
}

// TestReplicasThatShare replays four replicas that know of each other's decisions 50 ms
// later against one, and against four that do not share: every workload at its normal
// speed, and two at a speed where requests are held most of the time. What is in the
// caches makes no difference to prompts that share nothing. A replay has no wall clock, so this asserts decisions, not speed.
// The p90 TTFT over three seeds varies by some 0.02 of one replica's, hence more.
func TestReplicasThatShare(t *testing.T) {
	if testing.Short() {
		t.Skip("replays for some seconds")
	}
	const most, mostAtOnce = 1.10, 1.05
	for _, c := range []struct {
		workload string
		speed    float64
		index    IndexMode
		seeds    uint64
	}{
		{"agents", 1, Approximate, 12},
		{"agents", 1, Exact, 12},
		{"retrieval", 1, Approximate, 12},
		{"retrieval", 1, Exact, 12},
		{"unique", 1, Approximate, 12},
		{"bursts", 1, Approximate, 12},
		{"bursts", 1, Exact, 12},
		{"retrieval", 1.7, Approximate, 6},
		{"bursts", 1.7, Approximate, 6},
	} {
		t.Run(fmt.Sprintf("%s x%g/%s", c.workload, c.speed, c.index), func(t *testing.T) {
			t.Parallel()
			of := func(seeds uint64, config Config) Summary {
				return replicated(t, c.workload, c.speed, c.index, seeds, config)
			}
			one, at50 := of(c.seeds, Config{}), of(c.seeds, Config{Replicas: 4, Delay: 50 * time.Millisecond})
			first, at0, alone := of(3, Config{}), of(3, Config{Replicas: 4}), of(3, Config{Replicas: 4, Alone: true})
			late, atOnce, apart := at50.TTFTP90/one.TTFTP90, at0.TTFTP90/first.TTFTP90, alone.TTFTP90/first.TTFTP90
			t.Logf("p90 TTFT of one %.3f s; of four at 50 ms %.3fx, at 0 ms %.3fx, not sharing %.3fx", one.TTFTP90, late, atOnce, apart)
			if at50.SuccessRate != 1 || alone.SuccessRate != 1 {
				t.Errorf("success rates %v and %v, want 1", at50.SuccessRate, alone.SuccessRate)
			}
			if late > most {
				t.Errorf("p90 TTFT at 50 ms %.3f of one replica's, more than %v", late, most)
			}
			if atOnce > mostAtOnce {
				t.Errorf("p90 TTFT without delay %.3f of one replica's, more than %v", atOnce, mostAtOnce)
			}
			if late > apart {
				t.Errorf("p90 TTFT %.3f of one replica's is worse than without sharing, %.3f", late, apart)
			}
		})
	}
}

// TestReplicasAgreeInTheEnd: when all requests have ended and all news is heard, every
// router knows that nothing is in flight.
func TestReplicasAgreeInTheEnd(t *testing.T) {
	for _, p := range Policies()[:2] {
		c := config()
		c.Replicas, c.Delay = 3, 70*time.Millisecond
		r := newRun(generated(t, "bursts", 600).AtSpeed(3), p, c)
		if err := r.loop(context.Background()); err != nil {
			t.Fatal(err)
		}
		r.news.deliver(r.now + c.Delay)
		served := 0
		for _, d := range r.routers {
			for i, s := range d.seats {
				if s.load.SetUnseen(0, 0); !s.load.Idle() || s.load.View().Backlog != 0 || s.load.View().Context != 0 || s.queue.Len() != 0 {
					t.Errorf("%s: router %d, endpoint %d still has %+v and holds %d", p.Name, d.number, i, s.load.View(), s.queue.Len())
				}
				if s.load.Own().Sent > 0 {
					served++
				}
			}
		}
		if served < len(r.routers) {
			t.Errorf("%s: only %d seats were used", p.Name, served)
		}
	}
}
