package costs

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/google/cel-go/cel"

	"github.com/fairway-ai/fairway/api/v1alpha1"
	"github.com/fairway-ai/fairway/internal/celexpr"
)

// maxCosts bounds the costs of one rule.
const maxCosts = 36

// Program is the costs of a rule. A nil Program has none.
type Program struct{ costs []cost }

// cost is one number.
type cost struct {
	name string
	kind v1alpha1.CostType
	// expression is set for CostCEL.
	expression cel.Program
}

// Names are the costs', in order.
func (p *Program) Names() []string {
	if p == nil {
		return nil
	}
	names := make([]string, len(p.costs))
	for i := range p.costs {
		names[i] = p.costs[i].name
	}
	return names
}

var costName = regexp.MustCompile(`^[A-Za-z_][-A-Za-z0-9_.]{0,63}$`)

// Compile checks costs. Its error names every mistake, one a line, by its field, as in
// costs[2].cel, and the place in an expression. Without costs, the Program is nil.
func Compile(list []v1alpha1.Cost) (*Program, error) {
	if len(list) == 0 {
		return nil, nil
	}
	if len(list) > maxCosts {
		return nil, fmt.Errorf("costs: there are %d; at most %d are allowed", len(list), maxCosts)
	}
	p := &Program{costs: make([]cost, 0, len(list))}
	seen := make(map[string]bool, len(list))
	var compiler compiler
	var errs []error
	fail := func(i int, field, format string, args ...any) {
		errs = append(errs, fmt.Errorf("costs[%d].%s: %w", i, field, fmt.Errorf(format, args...)))
	}
	for i := range list {
		in := &list[i]
		c := cost{name: in.Name, kind: in.Type}
		switch {
		case !costName.MatchString(in.Name):
			fail(i, "name", "%.80q must have 1 to 64 letters, digits, dots, dashes and underscores, and begin with a letter or an underscore", in.Name)
		case seen[in.Name]:
			fail(i, "name", "%q is there twice", in.Name)
		}
		seen[in.Name] = true
		switch in.Type {
		case v1alpha1.CostInputToken, v1alpha1.CostCachedInputToken, v1alpha1.CostCacheCreationInputToken,
			v1alpha1.CostOutputToken, v1alpha1.CostReasoningToken, v1alpha1.CostTotalToken:
			if in.CEL != "" {
				fail(i, "cel", "must be set for type %s, and only then", v1alpha1.CostCEL)
			}
		case v1alpha1.CostCEL:
			var err error
			if c.expression, err = compiler.compile(in.CEL); err != nil {
				fail(i, "cel", "%w", err)
			}
		default:
			fail(i, "type", "%.80q is not one of InputToken, CachedInputToken, CacheCreationInputToken, OutputToken, ReasoningToken, TotalToken and CEL", string(in.Type))
		}
		p.costs = append(p.costs, c)
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return p, nil
}

// compiler compiles expressions. Its language, which takes a moment to make, is made
// when the first one comes.
type compiler struct{ language *celexpr.Language }

func (k *compiler) compile(text string) (cel.Program, error) {
	if strings.TrimSpace(text) == "" {
		return nil, fmt.Errorf("must be set for type %s", v1alpha1.CostCEL)
	}
	if k.language == nil {
		var err error
		if k.language, err = newLanguage(); err != nil {
			return nil, err
		}
	}
	program, err := k.language.Compile(text, "a number", cel.IntKind, cel.UintKind, cel.DoubleKind)
	if err != nil && mixes(err.Error()) {
		err = fmt.Errorf("%w (counts of tokens are unsigned: write 2u instead of 2, or double(input_tokens) * 0.5)", err)
	}
	return program, err
}

// mixes reports whether an error is about an operation of a count and another number.
func mixes(text string) bool {
	for _, pair := range []string{"'(uint, int)'", "'(int, uint)'", "'(uint, double)'", "'(double, uint)'"} {
		if strings.Contains(text, pair) {
			return true
		}
	}
	return false
}

// newLanguage is the language of expressions: CEL with its standard functions, and what
// values has.
func newLanguage() (*celexpr.Language, error) {
	var variables []cel.EnvOption
	for _, name := range textVariables {
		variables = append(variables, cel.Variable(name, cel.StringType))
	}
	for _, name := range countVariables {
		variables = append(variables, cel.Variable(name, cel.UintType))
	}
	return celexpr.New(variables...)
}
