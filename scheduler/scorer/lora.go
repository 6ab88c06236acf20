package scorer

import (
	"slices"

	"github.com/fairway-ai/fairway/scheduler"
)

// LoRAAffinityType is the type name of [LoRAAffinity].
const LoRAAffinityType = "lora-affinity-scorer"

// LoRAAffinity prefers endpoints that have the request's LoRA adapter loaded: 1
// where it is active, 0.8 where there is room for one more, 0.6 where it waits
// to be loaded, else 0.
type LoRAAffinity struct{ named }

// NewLoRAAffinity returns the scorer; an empty name means its type.
func NewLoRAAffinity(name string) *LoRAAffinity {
	return &LoRAAffinity{nameOr(name, LoRAAffinityType)}
}

// Score implements scheduler.Scorer.
func (s *LoRAAffinity) Score(c *scheduler.Cycle, out []float32) {
	for _, i := range c.Candidates {
		m := &c.Snapshot.Metrics[i]
		switch {
		case slices.Contains(m.ActiveLoRA, c.Request.Model):
			out[i] = 1
		case len(m.ActiveLoRA)+len(m.WaitingLoRA) < int(m.MaxLoRA):
			out[i] = 0.8
		case slices.Contains(m.WaitingLoRA, c.Request.Model):
			out[i] = 0.6
		default:
			out[i] = 0
		}
	}
}
