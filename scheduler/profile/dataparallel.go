package profile

import (
	"fmt"

	"github.com/fairway-ai/fairway/scheduler"
)

// DataParallelType is the type name of [DataParallel], which is deprecated: a gateway
// that can reach every port of a pod needs no handler for it.
const DataParallelType = "data-parallel-profile-handler"

// DataParallelParameters are the parameters of [DataParallel].
type DataParallelParameters struct {
	// PrimaryPort is the port at which the gateway reaches a pod.
	PrimaryPort int `json:"primaryPort"`
}

// DefaultDataParallelParameters are llm-d's.
func DefaultDataParallelParameters() DataParallelParameters {
	return DataParallelParameters{PrimaryPort: 8000}
}

// Validate reports the first parameter that makes no sense.
func (p DataParallelParameters) Validate() error {
	if p.PrimaryPort < 1 || p.PrimaryPort > 65535 {
		return fmt.Errorf("primaryPort is %d: must be 1 to 65535", p.PrimaryPort)
	}
	return nil
}

// DataParallel picks a rank of a pod whose ranks are behind one port.
type DataParallel struct {
	name    string
	profile *scheduler.Profile
	port    int
}

// NewDataParallel returns the handler; an empty name means its type.
func NewDataParallel(name string, p *scheduler.Profile, port int) *DataParallel {
	return &DataParallel{nameOr(name, DataParallelType), p, port}
}

// Name implements scheduler.Policy.
func (h *DataParallel) Name() string { return h.profile.Name() }

// Plugin implements scheduler.Handler.
func (h *DataParallel) Plugin() (typ, name string) { return DataParallelType, h.name }

// Profiles implements scheduler.Handler.
func (h *DataParallel) Profiles() []*scheduler.Profile { return []*scheduler.Profile{h.profile} }

// Schedule implements scheduler.Policy.
func (h *DataParallel) Schedule(c *scheduler.Cycle) []int32 {
	ranked := h.profile.Schedule(c)
	if len(ranked) == 0 {
		return nil
	}
	return oneRank(c, ranked, h.port)
}

// Stamps implements scheduler.Stamper.
func (h *DataParallel) Stamps() []scheduler.Stamp { return h.profile.Stamps() }

// oneRank sends the gateway to the port. There are no alternatives then: what the
// pod is told names one of its own ranks, and would be wrong at another pod.
func oneRank(c *scheduler.Cycle, ranked []int32, port int) []int32 {
	c.Port = port
	return ranked[:1]
}
