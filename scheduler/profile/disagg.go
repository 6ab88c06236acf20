package profile

import (
	"fmt"
	"slices"
	"strings"

	"github.com/fairway-ai/fairway/scheduler"
)

// Type names of the handlers for disaggregated serving; PDType is deprecated in
// favour of DisaggType.
const (
	DisaggType = "disagg-profile-handler"
	PDType     = "pd-profile-handler"
)

// DisaggParameters are the parameters of [Disagg], but for its profiles' plugins.
type DisaggParameters struct {
	// StageOrder is decode-first (the default) or prefill-first.
	StageOrder string `json:"stageOrder"`
	// Profiles name the scheduling profiles of the stages.
	Profiles struct {
		Decode  string `json:"decode"`
		Prefill string `json:"prefill"`
		Encode  string `json:"encode"`
	} `json:"profiles"`
	// Deciders name the plugins that say, per request, whether a stage is run; one
	// without a decider is not.
	Deciders struct {
		Prefill string `json:"prefill"`
		Encode  string `json:"encode"`
	} `json:"deciders"`
}

// DefaultDisaggParameters are llm-d's.
func DefaultDisaggParameters() DisaggParameters {
	p := DisaggParameters{StageOrder: "decode-first"}
	p.Profiles.Decode, p.Profiles.Prefill, p.Profiles.Encode = "decode", "prefill", "encode"
	return p
}

// Validate reports the first parameter that makes no sense.
func (p DisaggParameters) Validate() error {
	first, err := p.prefillFirst()
	if err != nil {
		return err
	}
	if first && p.Deciders.Prefill != "" {
		return fmt.Errorf("deciders.prefill is %q: with stageOrder prefill-first every prompt is processed by an endpoint of the prefill profile; remove it", p.Deciders.Prefill)
	}
	names := map[string]bool{}
	for _, n := range []string{p.Profiles.Decode, p.Profiles.Prefill, p.Profiles.Encode} {
		if n == "" {
			return fmt.Errorf("profiles: a name is empty: leave it out for the default")
		}
		if names[n] {
			return fmt.Errorf("profiles: %q is there twice: every stage has a profile of its own", n)
		}
		names[n] = true
	}
	return nil
}

// PrefillFirst reports whether the prefill stage picks before the decode stage.
func (p DisaggParameters) PrefillFirst() bool {
	first, _ := p.prefillFirst()
	return first
}

func (p DisaggParameters) prefillFirst() (bool, error) {
	switch strings.ToLower(strings.NewReplacer("-", "", "_", "").Replace(p.StageOrder)) {
	case "", "decodefirst", "decode":
		return false, nil
	case "prefillfirst", "prefill":
		return true, nil
	}
	return false, fmt.Errorf("stageOrder is %.60q: must be decode-first or prefill-first", p.StageOrder)
}

// Stages are what a [Disagg] is made of.
type Stages struct {
	// Decode picks the endpoint that answers. It is never nil.
	Decode *scheduler.Profile
	// Prefill and Encode pick for the other stages; nil where there is none.
	Prefill, Encode *scheduler.Profile
	// PrefillIf and EncodeIf say whether a stage is run; nil means never, and, with
	// PrefillFirst, the prefill stage always is.
	PrefillIf, EncodeIf Decider
	// PrefillFirst runs prefill, encode, decode instead of decode, encode, prefill.
	PrefillFirst bool
	// Port, when not 0, is the port at which pods of several ranks are reached.
	Port int
}

// Disagg runs a profile for each stage that a request needs: one endpoint answers,
// one may process the prompt for it, and some may encode its images. A stage that
// finds no endpoint is left to the endpoint that answers; without that one there is
// no decision.
type Disagg struct {
	name string
	s    Stages
}

// NewDisagg returns the handler; an empty name means its type.
func NewDisagg(name string, s Stages) *Disagg { return &Disagg{nameOr(name, DisaggType), s} }

// Name implements scheduler.Policy.
func (h *Disagg) Name() string { return h.name }

// Plugin implements scheduler.Handler.
func (h *Disagg) Plugin() (typ, name string) { return DisaggType, h.name }

// Profiles implements scheduler.Handler.
func (h *Disagg) Profiles() []*scheduler.Profile {
	all := []*scheduler.Profile{h.s.Decode, h.s.Prefill, h.s.Encode}
	return slices.DeleteFunc(all, func(p *scheduler.Profile) bool { return p == nil })
}

// Schedule implements scheduler.Policy.
func (h *Disagg) Schedule(c *scheduler.Cycle) []int32 {
	var ranked []int32
	if h.s.PrefillFirst {
		h.prefill(c, h.s.Prefill != nil)
		h.encode(c, -1)
		ranked = h.decode(c)
	} else if ranked = h.decode(c); len(ranked) > 0 {
		pick := ranked[0]
		h.encode(c, pick)
		h.prefill(c, h.s.Prefill != nil && h.s.PrefillIf != nil && h.s.PrefillIf.Disaggregate(c, pick))
	}
	c.Explained(h.name, h.s.Decode.Name())
	if h.s.Port != 0 && len(ranked) > 0 {
		return oneRank(c, ranked, h.s.Port)
	}
	return ranked
}

func (h *Disagg) decode(c *scheduler.Cycle) []int32 {
	c.Picked = c.RunStage(scheduler.StagePick, h.s.Decode, c.Picked[:0])
	return c.Picked
}

func (h *Disagg) prefill(c *scheduler.Cycle, run bool) {
	if run {
		c.Prefill = c.RunStage(scheduler.StagePrefill, h.s.Prefill, c.Prefill)
	}
}

// encode leaves the peer alone: what a prompt is processed by is compared with what
// answers, not with what encodes.
func (h *Disagg) encode(c *scheduler.Cycle, pick int32) {
	if h.s.Encode == nil || h.s.EncodeIf == nil || !h.s.EncodeIf.Disaggregate(c, pick) {
		return
	}
	peer := c.Peer
	c.Encode = c.RunStage(scheduler.StageEncode, h.s.Encode, c.Encode)
	c.Peer = peer
}

// Stamps implements scheduler.Stamper.
func (h *Disagg) Stamps() []scheduler.Stamp {
	var out []scheduler.Stamp
	for _, p := range h.Profiles() {
		for _, s := range p.Stamps() {
			switch {
			case h.s.Prefill != nil && s.Profile == h.s.Prefill.Name():
				s.Stage = scheduler.StagePrefill
			case h.s.Encode != nil && s.Profile == h.s.Encode.Name():
				s.Stage = scheduler.StageEncode
			}
			out = append(out, s)
		}
	}
	return out
}
