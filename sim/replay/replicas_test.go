package replay

import (
	"context"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/fairway-ai/fairway/sim/engine"
	"github.com/fairway-ai/fairway/sim/workload"
)

// replicated is the result of the default policy on a workload, over three seeds.
func replicated(t *testing.T, name string, index IndexMode, c Config) Summary {
	t.Helper()
	policies, err := Find("default")
	if err != nil {
		t.Fatal(err)
	}
	var runs [][]Sample
	for seed := uint64(1); seed <= 3; seed++ {
		w, err := workload.Generate(name, 3000, rand.New(rand.NewPCG(seed, 7)))
		if err != nil {
			t.Fatal(err)
		}
		c.Engine, c.Endpoints, c.Index, c.Staleness, c.Seed = engine.Config{Blocks: 596}, 8, index, 50*time.Millisecond, seed
		samples, err := Run(context.Background(), w, policies[0], c)
		if err != nil {
			t.Fatal(err)
		}
		runs = append(runs, samples)
	}
	return Summarise("default", name, 1, runs...)
}

// TestReplicasThatShare replays four replicas that know of each other's decisions 50 ms
// later against one, and against four that do not share. A replay has no wall clock, so
// this asserts decisions, not speed.
func TestReplicasThatShare(t *testing.T) {
	if testing.Short() {
		t.Skip("replays for some seconds")
	}
	shared := Config{Replicas: 4, Delay: 50 * time.Millisecond}
	for _, c := range []struct {
		workload string
		index    IndexMode
		// most is the p90 TTFT allowed against one replica's.
		most float64
	}{
		{"agents", Approximate, 1.10},
		{"agents", Exact, 1.10},
		{"retrieval", Approximate, 1.20},
		{"unique", Approximate, 1.20},
		{"bursts", Approximate, 1.20},
	} {
		t.Run(c.workload+"/"+string(c.index), func(t *testing.T) {
			one := replicated(t, c.workload, c.index, Config{})
			at50 := replicated(t, c.workload, c.index, shared)
			alone := replicated(t, c.workload, c.index, Config{Replicas: 4, Alone: true})
			at0 := replicated(t, c.workload, c.index, Config{Replicas: 4})
			t.Logf("p90 TTFT of one %.3f s; of four at 0 ms %.3fx, at 50 ms %.3fx, not sharing %.3fx",
				one.TTFTP90, at0.TTFTP90/one.TTFTP90, at50.TTFTP90/one.TTFTP90, alone.TTFTP90/one.TTFTP90)
			if at50.SuccessRate != 1 || alone.SuccessRate != 1 {
				t.Errorf("success rates %v and %v, want 1", at50.SuccessRate, alone.SuccessRate)
			}
			if at50.TTFTP90 > c.most*one.TTFTP90 {
				t.Errorf("p90 TTFT at 50 ms %.3f s, of one replica %.3f s: more than %vx", at50.TTFTP90, one.TTFTP90, c.most)
			}
			if at0.TTFTP90 > 1.1*one.TTFTP90 {
				t.Errorf("p90 TTFT without delay %.3f s, of one replica %.3f s", at0.TTFTP90, one.TTFTP90)
			}
			if at50.TTFTP90 > alone.TTFTP90 {
				t.Errorf("p90 TTFT %.3f s is worse than without sharing, %.3f s", at50.TTFTP90, alone.TTFTP90)
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
				if s.load.SetUnseen(0); !s.load.Idle() || s.load.View().Backlog != 0 || s.load.View().Context != 0 || s.queue.Len() != 0 {
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
