package profile

import (
	"errors"
	"strings"

	"github.com/fairway-ai/fairway/scheduler"
)

// HeaderType is the type name of [ByHeader].
const HeaderType = "header-profile-handler"

// HeaderParameters are the parameters of [ByHeader].
type HeaderParameters struct {
	// HeaderName is the request header that names a profile, in any case.
	HeaderName string `json:"headerName"`
	// DefaultProfile is run for requests without the header.
	DefaultProfile string `json:"defaultProfile"`
}

// DefaultHeaderParameters are llm-d's.
func DefaultHeaderParameters() HeaderParameters {
	return HeaderParameters{HeaderName: "EPP-Profile", DefaultProfile: "decode"}
}

// Validate reports the first parameter that makes no sense.
func (p HeaderParameters) Validate() error {
	if strings.TrimSpace(p.HeaderName) == "" {
		return errors.New("headerName is empty: name a request header")
	}
	return nil
}

// ByHeader runs the profile that a request header names. With one profile it runs
// that one, whatever the header says.
type ByHeader struct {
	name     string
	header   string
	byName   map[string]*scheduler.Profile
	standard *scheduler.Profile
	list     []*scheduler.Profile
}

// NewByHeader returns the handler; an empty name means its type.
func NewByHeader(name string, p HeaderParameters, profiles []*scheduler.Profile) *ByHeader {
	h := &ByHeader{
		name: nameOr(name, HeaderType), header: strings.ToLower(strings.TrimSpace(p.HeaderName)),
		byName: map[string]*scheduler.Profile{}, list: profiles,
	}
	for _, prof := range profiles {
		h.byName[prof.Name()] = prof
	}
	h.standard = h.byName[strings.TrimSpace(p.DefaultProfile)]
	return h
}

// Name implements scheduler.Policy.
func (h *ByHeader) Name() string { return h.name }

// Plugin implements scheduler.Handler.
func (h *ByHeader) Plugin() (typ, name string) { return HeaderType, h.name }

// Profiles implements scheduler.Handler.
func (h *ByHeader) Profiles() []*scheduler.Profile { return h.list }

// Schedule implements scheduler.Policy.
func (h *ByHeader) Schedule(c *scheduler.Cycle) []int32 {
	p := h.standard
	if len(h.list) == 1 {
		p = h.list[0]
	} else if c.Request.Header != nil {
		if named := strings.TrimSpace(c.Request.Header(h.header)); named != "" {
			p = h.byName[named]
		}
	}
	if p == nil {
		c.Refuse(scheduler.ErrProfile)
		return nil
	}
	return p.Schedule(c)
}

// Stamps implements scheduler.Stamper. A plugin's header is about the pick, whichever
// profile made it.
func (h *ByHeader) Stamps() []scheduler.Stamp {
	var out []scheduler.Stamp
	for _, p := range h.list {
		out = append(out, p.Stamps()...)
	}
	return out
}
