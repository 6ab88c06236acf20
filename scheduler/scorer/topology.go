package scorer

import (
	"github.com/fairway-ai/fairway/scheduler"
	"github.com/fairway-ai/fairway/scheduler/topology"
)

// TopologyType is the type name of [Topology].
const TopologyType = "topology-affinity-scorer"

// TopologyParameters are the parameters of [Topology].
type TopologyParameters struct {
	// TopologyProducerName is the topology-extractor that names the labels.
	TopologyProducerName string `json:"topologyProducerName"`
}

// Topology prefers endpoints that are close to the one that an earlier stage of the
// request picked: 1 on the same host, 0.2 in the same rack, 0.05 in the same zone,
// 0.02 in the same region, else 0. The steps are those of the bandwidth between them.
type Topology struct {
	named
	labels topology.Labels
}

// NewTopology returns the scorer; an empty name means its type.
func NewTopology(name string, l topology.Labels) *Topology {
	return &Topology{nameOr(name, TopologyType), l}
}

// Score implements scheduler.Scorer.
func (s *Topology) Score(c *scheduler.Cycle, out []float32) {
	steps := [...]float32{topology.None: 0, topology.Region: 0.02, topology.Zone: 0.05, topology.Rack: 0.2, topology.Host: 1}
	for _, i := range c.Candidates {
		out[i] = 0
		if c.Peer >= 0 {
			out[i] = steps[s.labels.Shared(c.Snapshot.Endpoints[c.Peer].Labels, c.Snapshot.Endpoints[i].Labels)]
		}
	}
}
