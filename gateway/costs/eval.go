package costs

import (
	"errors"
	"fmt"
	"math"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"

	"github.com/fairway-ai/fairway/api/v1alpha1"
)

// Values are what costs are computed from. Counts are in tokens.
type Values struct {
	// Model is the client's, Backend the one that answered, "namespace/name", and
	// RouteName the AIRoute, "namespace/name".
	Model, Backend, RouteName string
	// Input contains Cached and CacheCreation; Output contains Reasoning; Total is
	// Input and Output.
	Input, Cached, CacheCreation, Output, Reasoning, Total uint64
}

var (
	textVariables  = []string{"model", "backend", "route_name"}
	countVariables = []string{
		"input_tokens", "cached_input_tokens", "cache_creation_input_tokens", "output_tokens", "reasoning_tokens", "total_tokens",
	}
)

// count is a kind of token.
func (v *Values) count(t v1alpha1.CostType) uint64 {
	switch t {
	case v1alpha1.CostInputToken:
		return v.Input
	case v1alpha1.CostCachedInputToken:
		return v.Cached
	case v1alpha1.CostCacheCreationInputToken:
		return v.CacheCreation
	case v1alpha1.CostOutputToken:
		return v.Output
	case v1alpha1.CostReasoningToken:
		return v.Reasoning
	case v1alpha1.CostTotalToken:
		return v.Total
	}
	return 0
}

// activation gives expressions their variables.
type activation struct{ *Values }

// ResolveName implements cel.Activation.
func (a activation) ResolveName(name string) (any, bool) {
	switch name {
	case "model":
		return types.String(a.Model), true
	case "backend":
		return types.String(a.Backend), true
	case "route_name":
		return types.String(a.RouteName), true
	case "input_tokens":
		return types.Uint(a.Input), true
	case "cached_input_tokens":
		return types.Uint(a.Cached), true
	case "cache_creation_input_tokens":
		return types.Uint(a.CacheCreation), true
	case "output_tokens":
		return types.Uint(a.Output), true
	case "reasoning_tokens":
		return types.Uint(a.Reasoning), true
	case "total_tokens":
		return types.Uint(a.Total), true
	}
	return nil, false
}

// Parent implements cel.Activation.
func (activation) Parent() cel.Activation { return nil }

// Failure is a cost that could not be computed and counts as 0.
type Failure struct {
	// Cost is its name.
	Cost string
	Err  error
}

// MaxValue is the largest value that a cost may have: beyond it, metadata, whose
// numbers are doubles, would tell another one.
const MaxValue = 1 << 53

// Eval computes every cost, in order, and gives it to into. Kinds of tokens allocate
// nothing. What cannot be computed, is negative or beyond MaxValue is 0 and among the
// failures.
func (p *Program) Eval(v Values, into func(name string, value uint64)) (failures []Failure) {
	if p == nil {
		return nil
	}
	for i := range p.costs {
		c := &p.costs[i]
		n, err := v.count(c.kind), error(nil)
		if c.expression != nil {
			copied := v // so that v stays on the stack where there is no expression
			n, err = evaluate(c.expression, &copied)
		} else if n > MaxValue {
			err = errTooLarge
		}
		if err != nil {
			n, failures = 0, append(failures, Failure{c.name, err})
		}
		into(c.name, n)
	}
	return failures
}

var (
	errTooLarge = fmt.Errorf("is more than %d", uint64(MaxValue))
	errNegative = errors.New("is negative")
	errNumber   = errors.New("is not a number")
)

func evaluate(p cel.Program, v *Values) (uint64, error) {
	out, _, err := p.Eval(activation{v})
	if err != nil {
		return 0, err
	}
	return whole(out)
}

// whole is a result as a whole number, rounded down.
func whole(out ref.Val) (uint64, error) {
	switch n := out.(type) {
	case types.Uint:
		if n > MaxValue {
			return 0, errTooLarge
		}
		return uint64(n), nil
	case types.Int:
		switch {
		case n < 0:
			return 0, errNegative
		case n > MaxValue:
			return 0, errTooLarge
		}
		return uint64(n), nil
	case types.Double:
		switch f := math.Floor(float64(n)); {
		case math.IsNaN(f):
			return 0, errNumber
		case n < 0:
			return 0, errNegative
		case f > MaxValue:
			return 0, errTooLarge
		default:
			return uint64(f), nil
		}
	}
	return 0, fmt.Errorf("is a %s; it must be a number", out.Type().TypeName())
}
