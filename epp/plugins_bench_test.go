package epp

import (
	"fmt"
	"testing"

	"github.com/fairway-ai/fairway/epp/config"
	"github.com/fairway-ai/fairway/epp/metrics"
	"github.com/fairway-ai/fairway/scheduler"
	"github.com/fairway-ai/fairway/scheduler/prefix"
)

const usualProfile = `
plugins:
- {type: decode-filter}
- {type: queue-scorer}
- {type: kv-cache-utilization-scorer}
- {type: prefix-cache-scorer}
- {type: no-hit-lru-scorer}
- {type: max-score-picker}
`

// BenchmarkDecision is a decision with and without a stopwatch, and with and without the
// explanation that is kept where there is a ring for it.
func BenchmarkDecision(b *testing.B) {
	c, _, err := config.Load([]byte(usualProfile))
	if err != nil {
		b.Fatal(err)
	}
	for i, policy := range []scheduler.Policy{scheduler.Priced{Alternatives: 4}, c.Policy} {
		for _, n := range []int{8, 100, 1000} {
			pool := benchPool(n)
			req := &scheduler.Request{Model: "m", PromptTokens: 2000}
			for i := range 40 {
				req.Blocks = append(req.Blocks, prefix.Block{Hash: uint64(i+1) * 0x9e3779b97f4a7c15, Tokens: 50})
			}
			pool.Index().Insert(1, req.Blocks)
			watch := scheduler.WithStopwatch(metrics.New(metrics.Options{}).PluginTimes(scheduler.Parts(policy), stopwatch(systemClock{})))
			for _, v := range []struct {
				name string
				s    *scheduler.Scheduler
				ex   *scheduler.Explanation
			}{
				{"bare", scheduler.New(policy, pool.Index()), nil},
				{"timed", scheduler.New(policy, pool.Index(), watch), nil},
				{"explained", scheduler.New(policy, pool.Index()), new(scheduler.Explanation)},
				{"explained-timed", scheduler.New(policy, pool.Index(), watch), new(scheduler.Explanation)},
			} {
				b.Run(fmt.Sprintf("%s/%d/%s", []string{"default", "profile"}[i], n, v.name), func(b *testing.B) {
					var dec scheduler.Decision
					b.ReportAllocs()
					for b.Loop() {
						req.Seed++
						if err := v.s.Schedule(req, pool.Snapshot(), &dec, v.ex); err != nil {
							b.Fatal(err)
						}
					}
				})
			}
		}
	}
}
