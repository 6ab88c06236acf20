package replay

import (
	"context"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/fairway-ai/fairway/scheduler"
	"github.com/fairway-ai/fairway/sim/engine"
	"github.com/fairway-ai/fairway/sim/workload"
)

// blind is a policy that does not see which adapter a request is for.
type blind struct{ scheduler.Policy }

func (p blind) Schedule(c *scheduler.Cycle) []int32 {
	all := c.Request
	some := *all
	some.Model = ""
	c.Request = &some
	defer func() { c.Request = all }()
	return p.Policy.Schedule(c)
}

// TestAdaptersAreWorthLookingAt: where engines run few adapters at a time, the default
// policy is much better for looking at them; where they run all, it is no worse.
func TestAdaptersAreWorthLookingAt(t *testing.T) {
	if testing.Short() {
		t.Skip("replays for some seconds")
	}
	sees, err := Find("default")
	if err != nil {
		t.Fatal(err)
	}
	unseen := sees[0]
	unseen.New = func(es []scheduler.Endpoint) scheduler.Policy { return blind{sees[0].New(es)} }
	for _, tc := range []struct {
		places int
		speed  float64
		most   float64 // of the blind policy's p90 TTFT
	}{{2, 0.5, 0.03}, {4, 1, 0.03}, {4, 1.25, 0.03}, {8, 1, 1}, {32, 1, 1.05}} {
		var p90 [2]float64
		for k, p := range []Policy{unseen, sees[0]} {
			var runs [][]Sample
			for seed := uint64(1); seed <= 2; seed++ {
				w, err := workload.Generate("adapters", 4000, rand.New(rand.NewPCG(seed, 7)))
				if err != nil {
					t.Fatal(err)
				}
				c := config()
				c.Engine.MaxLoRA, c.Engine.LoRALoad = tc.places, 100*time.Millisecond
				c.Endpoints, c.Seed = 8, seed
				samples, err := Run(context.Background(), w.AtSpeed(tc.speed), p, c)
				if err != nil {
					t.Fatal(err)
				}
				runs = append(runs, samples)
			}
			p90[k] = Summarise(p.Name, "adapters", tc.speed, runs...).TTFTP90
		}
		if p90[1] > tc.most*p90[0] {
			t.Errorf("%d adapters at a time: p90 TTFT %.3f s, %.3f s without a look at them", tc.places, p90[1], p90[0])
		}
		t.Logf("%d adapters at a time: %.3f of the p90 TTFT", tc.places, p90[1]/p90[0])
	}
}

// TestScrapesNameAdapters: the routers know what the engines run, and how many they can.
func TestScrapesNameAdapters(t *testing.T) {
	c := config()
	c.Endpoints, c.Engine.MaxLoRA = 1, 3
	p, err := Find("default")
	if err != nil {
		t.Fatal(err)
	}
	w := generated(t, "adapters", 10)
	r := newRun(w, p[0], c)
	e := r.endpoints[0]
	for _, name := range []string{"sql", "chat", ""} {
		if err := e.eng.Submit(&engine.Request{Adapter: name, PromptTokens: 10, OutputTokens: 5, Payload: &request{}}, 0); err != nil {
			t.Fatal(err)
		}
	}
	e.start()
	r.scrape()
	s := &r.routers[0].snap
	m := &s.Metrics[0]
	if m.MaxLoRA != 3 || len(m.ActiveLoRA) != 2 || m.Adapters == nil || s.Adapters.Number("sql") == 0 || s.Adapters.Number("chat") == 0 {
		t.Errorf("%+v, known %+v", m, s.Adapters)
	}
}
