package objectives

import (
	"encoding/json"
	"errors"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The kinds, and the groups and version they are published in.
const (
	KindObjective = "InferenceObjective"
	KindRewrite   = "InferenceModelRewrite"

	Group       = "llm-d.ai"
	LegacyGroup = "inference.networking.x-k8s.io"
	Version     = "v1alpha2"

	poolKind = "InferencePool"
)

// Bounds of what one object may say.
const (
	maxRules   = 256
	maxMatches = 256
	maxTargets = 64
	maxModel   = 1024 // bytes of a model's name
)

// head is what the objects have in common.
type head struct {
	APIVersion string            `json:"apiVersion"`
	Kind       string            `json:"kind"`
	Metadata   metav1.ObjectMeta `json:"metadata"`
	Status     json.RawMessage   `json:"status"` // is of no interest
}

// objective is an InferenceObjective, as far as it is read.
type objective struct {
	head
	Spec struct {
		Priority *int    `json:"priority"`
		PoolRef  poolRef `json:"poolRef"`
	} `json:"spec"`
}

type poolRef struct {
	Group string `json:"group"`
	Kind  string `json:"kind"`
	Name  string `json:"name"`
}

func (p poolRef) validate() error {
	switch {
	case p.Name == "":
		return errors.New("spec.poolRef.name: is missing: name an InferencePool in the same namespace")
	case p.Kind != "" && p.Kind != poolKind:
		return fmt.Errorf("spec.poolRef.kind: is %.60q: must be %s", p.Kind, poolKind)
	}
	return nil
}

func (o *objective) read() (Objective, error) {
	out := Objective{Namespace: o.Metadata.Namespace, Name: o.Metadata.Name, Pool: o.Spec.PoolRef.Name}
	if p := o.Spec.Priority; p != nil {
		out.Priority = *p
	}
	return out, o.Spec.PoolRef.validate()
}

// modelRewrite is an InferenceModelRewrite, as far as it is read.
type modelRewrite struct {
	head
	Spec struct {
		PoolRef poolRef `json:"poolRef"`
		Rules   []struct {
			Matches []struct {
				Model *struct {
					Type  string `json:"type"`
					Value string `json:"value"`
				} `json:"model"`
			} `json:"matches"`
			Targets []struct {
				ModelRewrite string `json:"modelRewrite"`
				Weight       int64  `json:"weight"`
			} `json:"targets"`
		} `json:"rules"`
	} `json:"spec"`
}

func (m *modelRewrite) read() (Rewrite, error) {
	out := Rewrite{Namespace: m.Metadata.Namespace, Name: m.Metadata.Name, Pool: m.Spec.PoolRef.Name, Created: m.Metadata.CreationTimestamp.Time.UTC()}
	if err := m.Spec.PoolRef.validate(); err != nil {
		return out, err
	}
	if len(m.Spec.Rules) > maxRules {
		return out, fmt.Errorf("spec.rules: has %d elements: at most %d are read", len(m.Spec.Rules), maxRules)
	}
	for i, from := range m.Spec.Rules {
		at := fmt.Sprintf("spec.rules[%d]", i)
		if len(from.Matches) > maxMatches || len(from.Targets) > maxTargets {
			return out, fmt.Errorf("%s: has %d matches and %d targets: at most %d and %d are read", at, len(from.Matches), len(from.Targets), maxMatches, maxTargets)
		}
		r := Rule{All: len(from.Matches) == 0}
		for j, match := range from.Matches {
			switch {
			case match.Model == nil:
				return out, fmt.Errorf("%s.matches[%d].model: is missing", at, j)
			case match.Model.Type != "" && match.Model.Type != "Exact":
				return out, fmt.Errorf("%s.matches[%d].model.type: is %.60q: must be Exact", at, j, match.Model.Type)
			case match.Model.Value == "" || len(match.Model.Value) > maxModel:
				return out, fmt.Errorf("%s.matches[%d].model.value: must have 1 to %d bytes", at, j, maxModel)
			}
			r.Models = append(r.Models, match.Model.Value)
		}
		for j, t := range from.Targets {
			if t.ModelRewrite == "" || len(t.ModelRewrite) > maxModel {
				return out, fmt.Errorf("%s.targets[%d].modelRewrite: must have 1 to %d bytes", at, j, maxModel)
			}
			if t.Weight < 0 || t.Weight > 1_000_000 {
				return out, fmt.Errorf("%s.targets[%d].weight: is %d: must be 0 to 1000000", at, j, t.Weight)
			}
			r.Targets = append(r.Targets, Target{Model: t.ModelRewrite, Weight: uint32(t.Weight)})
		}
		out.Rules = append(out.Rules, r)
	}
	return out, nil
}
