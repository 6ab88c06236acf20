package filter

import (
	"errors"
	"fmt"
	"slices"
)

// ByLabelType is the type name of [ByLabel], which is deprecated in favour of
// LabelSelectorType.
const ByLabelType = "by-label"

// ByLabelParameters are the parameters of [ByLabel].
type ByLabelParameters struct {
	// Label is the label's key.
	Label string `json:"label"`
	// ValidValues are the values to keep.
	ValidValues []string `json:"validValues"`
	// AllowsNoLabel also keeps endpoints that lack the label.
	AllowsNoLabel bool `json:"allowsNoLabel"`
}

// Validate reports the first parameter that makes no sense.
func (p ByLabelParameters) Validate() error {
	if p.Label == "" {
		return errors.New("label is missing: name the label to filter by")
	}
	if err := validKey(p.Label); err != nil {
		return fmt.Errorf("label: %w", err)
	}
	if len(p.ValidValues) == 0 && !p.AllowsNoLabel {
		return errors.New("validValues is empty and allowsNoLabel is false: no endpoint could pass; list the values to keep")
	}
	return nil
}

// ByLabel keeps the endpoints whose label has one of the given values.
type ByLabel struct{ labels }

// NewByLabel returns the filter; an empty name means its type.
func NewByLabel(name string, p ByLabelParameters) *ByLabel {
	return &ByLabel{newLabels(name, ByLabelType, func(l map[string]string) bool {
		v, ok := l[p.Label]
		return ok && slices.Contains(p.ValidValues, v) || !ok && p.AllowsNoLabel
	})}
}
