package filter

import (
	"fmt"

	"github.com/fairway-ai/fairway/scheduler"
	"github.com/fairway-ai/fairway/scheduler/topology"
)

// TopologyType is the type name of [Topology].
const TopologyType = "topology-affinity-filter"

// TopologyParameters are the parameters of [Topology].
type TopologyParameters struct {
	// MinAffinity is the place that must be shared: host, rack, zone or region.
	MinAffinity string `json:"minAffinity"`
	// TopologyProducerName is the topology-extractor that names the labels.
	TopologyProducerName string `json:"topologyProducerName"`
}

// DefaultTopologyParameters are llm-d's.
func DefaultTopologyParameters() TopologyParameters { return TopologyParameters{MinAffinity: "host"} }

// Validate reports the first parameter that makes no sense.
func (p TopologyParameters) Validate() error {
	if _, err := topology.ParseLevel(p.MinAffinity); err != nil {
		return fmt.Errorf("minAffinity %w", err)
	}
	return nil
}

// Topology keeps the endpoints that are close to the one that an earlier stage of
// the request picked, and all when that is unknown or nobody is.
type Topology struct {
	name   string
	least  topology.Level
	labels topology.Labels
}

// NewTopology returns the filter; an empty name means its type.
func NewTopology(name string, p TopologyParameters, l topology.Labels) *Topology {
	least, _ := topology.ParseLevel(p.MinAffinity)
	return &Topology{nameOr(name, TopologyType), max(least, topology.Region), l}
}

// Name implements scheduler.Filter.
func (f *Topology) Name() string { return f.name }

// Filter implements scheduler.Filter.
func (f *Topology) Filter(c *scheduler.Cycle, in []int32) []int32 {
	if c.Peer < 0 {
		return in
	}
	peer := c.Snapshot.Endpoints[c.Peer].Labels
	return keep(in, true, func(i int32) bool {
		return f.labels.Shared(peer, c.Snapshot.Endpoints[i].Labels) >= f.least
	})
}
