package scheduler

// Stage is a part of the work on a request, for which a profile picks endpoints.
type Stage uint8

const (
	// StagePick is the endpoint that the gateway sends the request to: it answers.
	StagePick Stage = iota
	// StagePrefill is the endpoint that processes the prompt for another one.
	StagePrefill
	// StageEncode are the endpoints that encode images for another one.
	StageEncode
)

// RunStage runs a profile for one stage, over every endpoint that the request may
// go to, whatever ran before in this cycle, and appends its ranking to out. A policy
// of several profiles calls it for each, and then Explained.
func (c *Cycle) RunStage(s Stage, p *Profile, out []int32) []int32 {
	if len(c.eligible) == 0 {
		c.eligible = append(c.eligible, c.Candidates...)
	} else {
		c.Candidates = append(c.Candidates[:0], c.eligible...)
	}
	c.Stage = s
	if c.Explain != nil {
		c.Explain.profile = p.name
		defer func() { c.Explain.profile = "" }()
	}
	ranked := p.Schedule(c)
	if len(ranked) > 0 {
		c.Peer = ranked[0]
	}
	return append(out, ranked...)
}

// Explained notes which policy ran the stages, and the profile whose pick counts.
func (c *Cycle) Explained(policy, primary string) {
	if c.Explain != nil {
		c.Explain.Policy, c.Explain.Primary = policy, primary
	}
}

// Refuse makes Schedule return err, whatever the policy returns.
func (c *Cycle) Refuse(err error) { c.refused = err }

// Stamp is a header that a plugin wants on the response.
type Stamp struct {
	// Header is the header's lower-case name.
	Header string
	// Profile is the profile whose pick the value is of; "" means the pick.
	Profile string
	// Label is the endpoint's label that is the value; "" means a session token: the
	// base64 of the endpoint's ID.
	Label string
	// Stage is what Profile picks for; the policy fills it in.
	Stage Stage
}

// Stamper is a Filter or Scorer that wants a header on the response, or a Policy
// with such plugins.
type Stamper interface {
	// Stamps lists the headers. It does not change.
	Stamps() []Stamp
}

// Stamps implements Stamper.
func (p *Profile) Stamps() []Stamp {
	var out []Stamp
	for _, f := range p.filters {
		if s, ok := f.(Stamper); ok {
			out = append(out, s.Stamps()...)
		}
	}
	for _, w := range p.scorers {
		if s, ok := w.Scorer.(Stamper); ok {
			out = append(out, s.Stamps()...)
		}
	}
	return out
}
