package scorer

import (
	"errors"
	"strings"

	"github.com/fairway-ai/fairway/scheduler"
)

// HeaderLabelType is the type name of [HeaderLabel].
const HeaderLabelType = "header-label-affinity-scorer"

// HeaderLabelParameters are the parameters of [HeaderLabel].
type HeaderLabelParameters struct {
	// HeaderName is the request header with the wanted value, LabelKey the label that
	// should have it.
	HeaderName string `json:"headerName"`
	LabelKey   string `json:"labelKey"`
	// StampResponseHeader sets the header on the response, to the label of the endpoint
	// that served.
	StampResponseHeader bool `json:"stampResponseHeader"`
}

// DefaultHeaderLabelParameters are llm-d's.
func DefaultHeaderLabelParameters() HeaderLabelParameters {
	return HeaderLabelParameters{StampResponseHeader: true}
}

// Validate reports the first parameter that makes no sense.
func (p HeaderLabelParameters) Validate() error {
	if p.HeaderName == "" {
		return errors.New("headerName is missing: name a request header")
	}
	if p.LabelKey == "" {
		return errors.New("labelKey is missing: name a label of the endpoints")
	}
	return nil
}

// HeaderLabel prefers endpoints whose label has the value of a request header: 1
// there, 0 elsewhere.
type HeaderLabel struct {
	named
	params HeaderLabelParameters
}

// NewHeaderLabel returns the scorer; an empty name means its type.
func NewHeaderLabel(name string, p HeaderLabelParameters) *HeaderLabel {
	p.HeaderName = strings.ToLower(p.HeaderName)
	return &HeaderLabel{nameOr(name, HeaderLabelType), p}
}

// Score implements scheduler.Scorer.
func (s *HeaderLabel) Score(c *scheduler.Cycle, out []float32) {
	want := ""
	if c.Request.Header != nil {
		want = c.Request.Header(s.params.HeaderName)
	}
	for _, i := range c.Candidates {
		out[i] = 0
		if want != "" && c.Snapshot.Endpoints[i].Labels[s.params.LabelKey] == want {
			out[i] = 1
		}
	}
}

// Stamps implements scheduler.Stamper.
func (s *HeaderLabel) Stamps() []scheduler.Stamp {
	if !s.params.StampResponseHeader {
		return nil
	}
	return []scheduler.Stamp{{Header: s.params.HeaderName, Label: s.params.LabelKey}}
}
