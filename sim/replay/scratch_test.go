package replay

import (
	"context"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"github.com/fairway-ai/fairway/sim/engine"
	"github.com/fairway-ai/fairway/sim/workload"
)

func TestScratchTrace(t *testing.T) {
	policies, _ := Find("default")
	for _, speed := range []float64{1.5, 2.5} {
		for _, index := range []IndexMode{Approximate, Exact} {
			var one Summary
			for _, c := range []Config{{}, {Replicas: 4, Delay: 20 * time.Millisecond}, {Replicas: 4, Delay: 50 * time.Millisecond}, {Replicas: 4, Alone: true}} {
				f, err := os.Open("/work/shared/traces/mooncake_conversation_trace.jsonl")
				if err != nil {
					t.Fatal(err)
				}
				w, err := workload.ReadMooncake("conversation", f, rand.New(rand.NewPCG(1, 7)))
				if err != nil {
					t.Fatal(err)
				}
				f.Close()
				c.Engine, c.Endpoints, c.Index, c.Staleness, c.Seed = engine.Config{Blocks: 596}, 8, index, 50*time.Millisecond, 1
				samples, err := Run(context.Background(), w.AtSpeed(speed), policies[0], c)
				if err != nil {
					t.Fatal(err)
				}
				s := Summarise("default", "conv", 1, samples)
				if c.Replicas == 0 {
					one = s
				}
				t.Logf("x%v %s %d %v %v: p90 %.3f (%.3fx) p50 %.3f mean %.3fx p99 %.3fx hit %.3f", speed, index, c.Replicas, c.Delay, c.Alone, s.TTFTP90, s.TTFTP90/one.TTFTP90, s.TTFTP50, s.TTFTMean/one.TTFTMean, s.TTFTP99/one.TTFTP99, s.HitRate)
			}
		}
	}
}
