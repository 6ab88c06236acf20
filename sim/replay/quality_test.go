package replay

import (
	"context"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/fairway-ai/fairway/sim/engine"
	"github.com/fairway-ai/fairway/sim/workload"
)

// TestDefaultStaysClose keeps the default policy within a tenth of the best peer on
// every generated workload, in p90 TTFT and in mean end-to-end time, on servers that
// are all alike and on servers of which every other is half as fast. A replay has no
// wall clock, so this asserts decisions, not speed.
func TestDefaultStaysClose(t *testing.T) {
	if testing.Short() {
		t.Skip("replays for some seconds")
	}
	type fleet struct {
		name  string
		speed float64
		of    func(int, engine.Config) engine.Config
	}
	for _, name := range workload.Names() {
		for _, f := range []fleet{{"alike", 1, nil}, {"mixed", 0.7, HalfSpeed}} {
			t.Run(name+"/"+f.name, func(t *testing.T) { staysClose(t, name, f.speed, f.of) })
		}
	}
}

func staysClose(t *testing.T, name string, speed float64, of func(int, engine.Config) engine.Config) {
	rows := map[string]Summary{}
	for _, p := range Policies() {
		var runs [][]Sample
		for seed := uint64(1); seed <= 2; seed++ {
			w, err := workload.Generate(name, 4000, rand.New(rand.NewPCG(seed, 7)))
			if err != nil {
				t.Fatal(err)
			}
			samples, err := Run(context.Background(), w.AtSpeed(speed), p, Config{
				Engine: engine.Config{Blocks: 596, MaxLoRA: 4, LoRALoad: 100 * time.Millisecond}, EngineOf: of, Endpoints: 8, Index: Exact,
				Staleness: 50 * time.Millisecond, Seed: seed,
			})
			if err != nil {
				t.Fatal(err)
			}
			runs = append(runs, samples)
		}
		rows[p.Name] = Summarise(p.Name, name, 1, runs...)
	}
	ours := rows["default"]
	if ours.SuccessRate != 1 {
		t.Errorf("success rate %v, want 1", ours.SuccessRate)
	}
	for peer, s := range rows {
		if ours.TTFTP90 > 1.1*s.TTFTP90 {
			t.Errorf("p90 TTFT %.3f s, %s has %.3f s", ours.TTFTP90, peer, s.TTFTP90)
		}
		if ours.E2EMean > 1.1*s.E2EMean {
			t.Errorf("mean end-to-end time %.2f s, %s has %.2f s", ours.E2EMean, peer, s.E2EMean)
		}
	}
}
