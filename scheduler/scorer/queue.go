package scorer

import "github.com/fairway-ai/fairway/scheduler"

// QueueType is the type name of [Queue].
const QueueType = "queue-scorer"

// Queue prefers short engine queues: (max-waiting)/(max-min) over the
// candidates, 1 for all when they are equal.
type Queue struct{ named }

// NewQueue returns the scorer; an empty name means its type.
func NewQueue(name string) *Queue { return &Queue{nameOr(name, QueueType)} }

// Score implements scheduler.Scorer.
func (s *Queue) Score(c *scheduler.Cycle, out []float32) {
	for _, i := range c.Candidates {
		out[i] = float32(waiting(c, i))
	}
	leastFirst(c, out)
}
