package scorer

import "github.com/fairway-ai/fairway/scheduler"

// ActiveRequestType is the type name of [ActiveRequest].
const ActiveRequestType = "active-request-scorer"

// ActiveRequestParameters are the parameters of [ActiveRequest].
type ActiveRequestParameters struct {
	// IdleThreshold is the requests in flight up to which an endpoint is idle.
	IdleThreshold int32 `json:"idleThreshold"`
	// MaxBusyScore is the score that an endpoint that is not idle can reach.
	MaxBusyScore float64 `json:"maxBusyScore"`
	// RequestTimeout is deprecated and ignored: requests are counted until they
	// end, however long that takes.
	RequestTimeout string `json:"requestTimeout"`
	// InFlightLoadProducerName names the data producer to read. Requests are counted
	// once here, so it changes nothing.
	InFlightLoadProducerName string `json:"inFlightLoadProducerName"`
}

// DefaultActiveRequestParameters are llm-d's.
func DefaultActiveRequestParameters() ActiveRequestParameters {
	return ActiveRequestParameters{MaxBusyScore: 1}
}

// Mend replaces what makes no sense by the defaults, as llm-d does, and returns the names
// of the parameters that it replaced.
func (p *ActiveRequestParameters) Mend() (names []string) {
	d := DefaultActiveRequestParameters()
	names = unless(p.IdleThreshold >= 0, names, "idleThreshold", &p.IdleThreshold, d.IdleThreshold)
	return unless(p.MaxBusyScore >= 0 && p.MaxBusyScore <= 1, names, "maxBusyScore", &p.MaxBusyScore, d.MaxBusyScore)
}

// ActiveRequest prefers endpoints with few requests in flight from here: 1 for
// an idle one, else (max-count)/max × maxBusyScore.
type ActiveRequest struct {
	named
	params ActiveRequestParameters
}

// NewActiveRequest returns the scorer; an empty name means its type.
func NewActiveRequest(name string, p ActiveRequestParameters) *ActiveRequest {
	return &ActiveRequest{nameOr(name, ActiveRequestType), p}
}

// Score implements scheduler.Scorer.
func (s *ActiveRequest) Score(c *scheduler.Cycle, out []float32) {
	most := int32(0)
	for _, i := range c.Candidates {
		most = max(most, c.Loads[i].Requests)
	}
	for _, i := range c.Candidates {
		n := c.Loads[i].Requests
		if n <= s.params.IdleThreshold {
			out[i] = 1
			continue
		}
		out[i] = float32(float64(most-n) / float64(most) * s.params.MaxBusyScore)
	}
}
