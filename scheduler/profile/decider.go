package profile

import (
	"fmt"

	"github.com/fairway-ai/fairway/scheduler"
)

// Type names of the deciders.
const (
	PrefixBasedType      = "prefix-based-pd-decider"
	AlwaysType           = "always-disagg-pd-decider"
	AlwaysMultimodalType = "always-disagg-multimodal-decider"
)

// Decider says whether a stage of a request is done by an endpoint of its own.
type Decider interface {
	// Name is the plugin's name in the configuration.
	Name() string
	// Disaggregate is asked once per request and stage. pick is the endpoint that
	// answers, -1 where it is picked later.
	Disaggregate(c *scheduler.Cycle, pick int32) bool
}

// PrefixBasedParameters are the parameters of [PrefixBased].
type PrefixBasedParameters struct {
	// NonCachedTokens is the uncached prompt tokens from which the prompt is processed
	// elsewhere; 0 means never.
	NonCachedTokens int64 `json:"nonCachedTokens"`
	// PromptTokens is the prompt length, in tokens, below which it is not; 0 means
	// that the length does not matter.
	PromptTokens int64 `json:"promptTokens"`
}

// Validate reports the first parameter that makes no sense.
func (p PrefixBasedParameters) Validate() error {
	if p.NonCachedTokens < 0 {
		return fmt.Errorf("nonCachedTokens is %d: must be 0 or more", p.NonCachedTokens)
	}
	if p.PromptTokens < 0 {
		return fmt.Errorf("promptTokens is %d: must be 0 or more", p.PromptTokens)
	}
	return nil
}

// PrefixBased sends a prompt to be processed elsewhere when the picked endpoint's
// cache lacks much of it.
type PrefixBased struct {
	name   string
	params PrefixBasedParameters
}

// NewPrefixBased returns the decider; an empty name means its type.
func NewPrefixBased(name string, p PrefixBasedParameters) *PrefixBased {
	return &PrefixBased{nameOr(name, PrefixBasedType), p}
}

// Name implements Decider.
func (d *PrefixBased) Name() string { return d.name }

// Disaggregate implements Decider.
func (d *PrefixBased) Disaggregate(c *scheduler.Cycle, pick int32) bool {
	if d.params.NonCachedTokens == 0 || pick < 0 {
		return false
	}
	return c.Request.PromptTokens >= d.params.PromptTokens && c.Uncached(pick) >= d.params.NonCachedTokens
}

// Always sends every prompt to be processed elsewhere.
type Always struct{ name string }

// NewAlways returns the decider; an empty name means its type.
func NewAlways(name string) *Always { return &Always{nameOr(name, AlwaysType)} }

// Name implements Decider.
func (d *Always) Name() string { return d.name }

// Disaggregate implements Decider.
func (d *Always) Disaggregate(*scheduler.Cycle, int32) bool { return true }

// AlwaysMultimodal has the images, audio and documents of every prompt that has any
// encoded elsewhere.
type AlwaysMultimodal struct{ name string }

// NewAlwaysMultimodal returns the decider; an empty name means its type.
func NewAlwaysMultimodal(name string) *AlwaysMultimodal {
	return &AlwaysMultimodal{nameOr(name, AlwaysMultimodalType)}
}

// Name implements Decider.
func (d *AlwaysMultimodal) Name() string { return d.name }

// Disaggregate implements Decider.
func (d *AlwaysMultimodal) Disaggregate(c *scheduler.Cycle, _ int32) bool {
	return c.Request.Images > 0
}

func nameOr(name, typ string) string {
	if name == "" {
		return typ
	}
	return name
}
