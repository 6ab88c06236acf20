package costs

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/checker"

	"github.com/fairway-ai/fairway/api/v1alpha1"
)

const (
	// maxCosts bounds the costs of one rule.
	maxCosts = 36
	// maxExpression bounds an expression, in code points.
	maxExpression = 1024
	// maxDepth bounds how deep an expression may nest.
	maxDepth = 64
	// maxEffort bounds an evaluation, in CEL's units of cost: about one per operation,
	// and one for ten bytes of a string looked at.
	maxEffort = 10_000
)

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

// compiler compiles expressions. Its environment, which takes a moment to make, is made
// when the first one comes.
type compiler struct{ env *cel.Env }

func (k *compiler) compile(text string) (cel.Program, error) {
	if strings.TrimSpace(text) == "" {
		return nil, fmt.Errorf("must be set for type %s", v1alpha1.CostCEL)
	}
	if len(text) > 4*maxExpression {
		return nil, fmt.Errorf("is longer than %d characters", maxExpression)
	}
	if k.env == nil {
		var err error
		if k.env, err = newEnv(); err != nil {
			return nil, err
		}
	}
	ast, issues := k.env.Compile(text)
	if issues.Err() != nil {
		return nil, explain(issues)
	}
	switch t := ast.OutputType(); t.Kind() {
	case cel.IntKind, cel.UintKind, cel.DoubleKind, cel.DynKind:
	default:
		return nil, fmt.Errorf("line 1, column 1: gives a %s; it must give a number", t)
	}
	effort, err := k.env.EstimateCost(ast, unknownSizes{})
	if err != nil {
		return nil, fmt.Errorf("what it costs to compute is unknown: %w", err)
	}
	if effort.Min > maxEffort {
		return nil, fmt.Errorf("line 1, column 1: takes at least %d steps to compute; %d are allowed", effort.Min, maxEffort)
	}
	program, err := k.env.Program(ast, cel.CostLimit(maxEffort), cel.EvalOptions(cel.OptOptimize))
	if err != nil {
		return nil, fmt.Errorf("line 1, column 1: %w", err) // a constant part cannot be computed
	}
	return program, nil
}

// newEnv is the language of expressions: CEL with its standard functions, and what
// values has.
func newEnv() (*cel.Env, error) {
	options := []cel.EnvOption{
		cel.ParserExpressionSizeLimit(maxExpression), cel.ParserRecursionLimit(maxDepth),
		// One may compare 1 with 1u and 1.0, as numbers are.
		cel.CrossTypeNumericComparisons(true),
	}
	for _, name := range textVariables {
		options = append(options, cel.Variable(name, cel.StringType))
	}
	for _, name := range countVariables {
		options = append(options, cel.Variable(name, cel.UintType))
	}
	env, err := cel.NewEnv(options...)
	if err != nil {
		return nil, fmt.Errorf("the language of expressions: %w", err)
	}
	return env, nil
}

// maxMistakes bounds how many mistakes of one expression are told.
const maxMistakes = 4

// explain says what is wrong with an expression, and where.
func explain(issues *cel.Issues) error {
	var texts []string
	mixed := false
	for i, e := range issues.Errors() {
		if i == maxMistakes {
			texts = append(texts, "…")
			break
		}
		if len(e.Message) > 300 {
			e.Message = e.Message[:300] + "…"
		}
		texts = append(texts, fmt.Sprintf("line %d, column %d: %s", e.Location.Line(), e.Location.Column()+1, e.Message))
		mixed = mixed || strings.Contains(e.Message, "'(uint, int)'") || strings.Contains(e.Message, "'(int, uint)'") ||
			strings.Contains(e.Message, "'(uint, double)'") || strings.Contains(e.Message, "'(double, uint)'")
	}
	text := strings.Join(texts, "; ")
	if mixed {
		text += " (counts of tokens are unsigned: write 2u instead of 2, or double(input_tokens) * 0.5)"
	}
	return errors.New(text)
}

// unknownSizes knows nothing about how long strings are: the least is assumed, and an
// evaluation is bounded whatever they are.
type unknownSizes struct{}

// EstimateSize implements checker.CostEstimator.
func (unknownSizes) EstimateSize(checker.AstNode) *checker.SizeEstimate { return nil }

// EstimateCallCost implements checker.CostEstimator.
func (unknownSizes) EstimateCallCost(string, string, *checker.AstNode, []checker.AstNode) *checker.CallEstimate {
	return nil
}
