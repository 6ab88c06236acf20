package filter

import (
	"fmt"
	"regexp"
	"slices"
)

// LabelSelectorType is the type name of [LabelSelector], ByLabelSelectorType its
// deprecated alias.
const (
	LabelSelectorType   = "label-selector-filter"
	ByLabelSelectorType = "by-label-selector"
)

// Operators of a [Requirement].
const (
	In           = "In"
	NotIn        = "NotIn"
	Exists       = "Exists"
	DoesNotExist = "DoesNotExist"
)

// Selector is a Kubernetes label selector: every part of it must hold. The empty
// selector accepts everything.
type Selector struct {
	// MatchLabels lists labels and the value each must have.
	MatchLabels map[string]string `json:"matchLabels"`
	// MatchExpressions lists requirements.
	MatchExpressions []Requirement `json:"matchExpressions"`
}

// Requirement is a condition on one label. As in Kubernetes, NotIn also accepts
// an endpoint that lacks the label.
type Requirement struct {
	// Key is the label.
	Key string `json:"key"`
	// Operator is In, NotIn, Exists or DoesNotExist.
	Operator string `json:"operator"`
	// Values is for In and NotIn.
	Values []string `json:"values"`
}

const maxSelectorParts = 256

// What Kubernetes accepts as a label's name, value, and the prefix of a name.
const (
	maxName   = 63
	maxPrefix = 253
)

var (
	namePattern   = regexp.MustCompile(`^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)$`)
	prefixPattern = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`)
)

// Validate reports the first part that no label could satisfy or that is
// incomplete.
func (s Selector) Validate() error {
	if n := len(s.MatchLabels) + len(s.MatchExpressions); n > maxSelectorParts {
		return fmt.Errorf("the selector has %d parts: at most %d are allowed", n, maxSelectorParts)
	}
	keys := make([]string, 0, len(s.MatchLabels))
	for k := range s.MatchLabels {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for _, k := range keys {
		if err := validKey(k); err != nil {
			return fmt.Errorf("matchLabels: %w", err)
		}
		if err := validValue(s.MatchLabels[k]); err != nil {
			return fmt.Errorf("matchLabels[%q]: %w", k, err)
		}
	}
	for i, r := range s.MatchExpressions {
		if err := r.validate(); err != nil {
			return fmt.Errorf("matchExpressions[%d]: %w", i, err)
		}
	}
	return nil
}

func (r Requirement) validate() error {
	if err := validKey(r.Key); err != nil {
		return fmt.Errorf("key: %w", err)
	}
	switch r.Operator {
	case In, NotIn:
		if len(r.Values) == 0 {
			return fmt.Errorf("values is empty: operator %s needs at least one", r.Operator)
		}
	case Exists, DoesNotExist:
		if len(r.Values) > 0 {
			return fmt.Errorf("values is set: operator %s takes none", r.Operator)
		}
	default:
		return fmt.Errorf("operator is %q: must be %s, %s, %s or %s", r.Operator, In, NotIn, Exists, DoesNotExist)
	}
	if len(r.Values) > maxSelectorParts {
		return fmt.Errorf("values has %d entries: at most %d are allowed", len(r.Values), maxSelectorParts)
	}
	for i, v := range r.Values {
		if err := validValue(v); err != nil {
			return fmt.Errorf("values[%d]: %w", i, err)
		}
	}
	return nil
}

// Matches reports whether an endpoint with these labels is selected.
func (s Selector) Matches(labels map[string]string) bool {
	for k, v := range s.MatchLabels {
		if got, ok := labels[k]; !ok || got != v {
			return false
		}
	}
	for _, r := range s.MatchExpressions {
		if !r.matches(labels) {
			return false
		}
	}
	return true
}

func (r Requirement) matches(labels map[string]string) bool {
	v, ok := labels[r.Key]
	switch r.Operator {
	case In:
		return ok && slices.Contains(r.Values, v)
	case NotIn:
		return !ok || !slices.Contains(r.Values, v)
	case Exists:
		return ok
	case DoesNotExist:
		return !ok
	}
	return false
}

// LabelSelector keeps the endpoints that a label selector selects.
type LabelSelector struct{ labels }

// NewLabelSelector returns the filter; an empty name means its type.
func NewLabelSelector(name string, s Selector) *LabelSelector {
	return &LabelSelector{newLabels(name, LabelSelectorType, s.Matches)}
}
