package celexpr

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/checker"
)

const (
	// MaxLength bounds an expression, in code points.
	MaxLength = 1024
	// maxDepth bounds how deep an expression may nest.
	maxDepth = 64
	// maxEffort bounds an evaluation, in CEL's units of cost: about one per operation,
	// and one for ten bytes of a string looked at.
	maxEffort = 10_000
	// maxMistakes bounds how many mistakes of one expression are told, and maxMistake
	// each of them, in bytes.
	maxMistakes = 4
	maxMistake  = 300
)

// Language is CEL with its standard functions and variables of the caller's.
type Language struct{ env *cel.Env }

// New returns a language with these variables.
func New(variables ...cel.EnvOption) (*Language, error) {
	options := []cel.EnvOption{
		cel.ParserExpressionSizeLimit(MaxLength), cel.ParserRecursionLimit(maxDepth),
		// One may compare 1 with 1u and 1.0, as numbers are.
		cel.CrossTypeNumericComparisons(true),
	}
	env, err := cel.NewEnv(append(options, variables...)...)
	if err != nil {
		return nil, fmt.Errorf("the language of expressions: %w", err)
	}
	return &Language{env}, nil
}

// Compile checks an expression, which must give one of these kinds, or what is known only
// when it runs; want says so in words. An error names the line and the column.
func (l *Language) Compile(text, want string, kinds ...cel.Kind) (cel.Program, error) {
	if len(text) > 4*MaxLength {
		return nil, fmt.Errorf("is longer than %d characters", MaxLength)
	}
	ast, issues := l.env.Compile(text)
	if issues.Err() != nil {
		return nil, explain(issues)
	}
	if t := ast.OutputType(); t.Kind() != cel.DynKind && !slices.Contains(kinds, t.Kind()) {
		return nil, fmt.Errorf("line 1, column 1: gives a %s; it must give %s", t, want)
	}
	effort, err := l.env.EstimateCost(ast, unknownSizes{})
	if err != nil {
		return nil, fmt.Errorf("what it costs to compute is unknown: %w", err)
	}
	if effort.Min > maxEffort {
		return nil, fmt.Errorf("line 1, column 1: takes at least %d steps to compute; %d are allowed", effort.Min, maxEffort)
	}
	program, err := l.env.Program(ast, cel.CostLimit(maxEffort), cel.EvalOptions(cel.OptOptimize))
	if err != nil {
		return nil, fmt.Errorf("line 1, column 1: %w", err) // a constant part cannot be computed
	}
	return program, nil
}

// explain says what is wrong with an expression, and where.
func explain(issues *cel.Issues) error {
	var texts []string
	for i, e := range issues.Errors() {
		if i == maxMistakes {
			texts = append(texts, "…")
			break
		}
		if len(e.Message) > maxMistake {
			e.Message = e.Message[:maxMistake] + "…"
		}
		texts = append(texts, fmt.Sprintf("line %d, column %d: %s", e.Location.Line(), e.Location.Column()+1, e.Message))
	}
	return errors.New(strings.Join(texts, "; "))
}

// unknownSizes knows nothing about how long values are: the least is assumed, and an
// evaluation is bounded whatever they are.
type unknownSizes struct{}

// EstimateSize implements checker.CostEstimator.
func (unknownSizes) EstimateSize(checker.AstNode) *checker.SizeEstimate { return nil }

// EstimateCallCost implements checker.CostEstimator.
func (unknownSizes) EstimateCallCost(string, string, *checker.AstNode, []checker.AstNode) *checker.CallEstimate {
	return nil
}
