package report

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"strings"
	"sync/atomic"
	"unicode/utf8"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/fairway-ai/fairway/extproc/observe"
	"github.com/fairway-ai/fairway/internal/celexpr"
)

// DefaultNamespace is that of attributes that name none.
const DefaultNamespace = "envoy.lb"

const (
	// MaxAttributes bounds how many attributes there are, and maxName their names and
	// namespaces, in bytes: they all go into one message.
	MaxAttributes = 32
	maxName       = 256
	// maxValue bounds results either way: beyond it, metadata, whose numbers are doubles,
	// would tell another one.
	maxValue = 1 << 53
)

// Attribute is a number to be told.
type Attribute struct {
	// Namespace is that of the dynamic metadata, Name the key in it.
	Namespace, Name string
	// Expression gives the number, which is cut to a whole one; 0 is not told.
	Expression string
	// Condition says whether it is told; "" always tells it.
	Condition string
}

// FieldError is what is wrong with an Attribute.
type FieldError struct {
	// Field is the field: namespace, name, expression or condition.
	Field string
	Err   error
}

func (e *FieldError) Error() string { return e.Field + ": " + e.Err.Error() }

// Unwrap returns what is wrong with the field.
func (e *FieldError) Unwrap() error { return e.Err }

// Reporter computes attributes. It is safe for concurrent use. A nil Reporter tells
// nothing.
type Reporter struct {
	attributes []compiled
	log        *slog.Logger
}

type compiled struct {
	namespace, name string
	expression      cel.Program
	condition       cel.Program // nil without
	// failed is set once a failure was logged.
	failed *atomic.Bool
}

// New compiles attributes, in the order in which they are told: of two with the same
// namespace and name the later counts. Without any, the Reporter is nil. log gets what
// cannot be computed; nil discards it. An error is a [FieldError] of the first attribute
// that is wrong.
func New(list []Attribute, log *slog.Logger) (*Reporter, error) {
	if len(list) == 0 {
		return nil, nil
	}
	if len(list) > MaxAttributes {
		return nil, fmt.Errorf("there are %d attributes: at most %d are allowed", len(list), MaxAttributes)
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	language, err := celexpr.New(cel.Variable("usage", cel.MapType(cel.StringType, cel.DynType)))
	if err != nil {
		return nil, err
	}
	r := &Reporter{log: log, attributes: make([]compiled, 0, len(list))}
	for i := range list {
		c, err := list[i].compile(language)
		if err != nil {
			return nil, err
		}
		r.attributes = append(r.attributes, c)
	}
	return r, nil
}

func (a *Attribute) compile(language *celexpr.Language) (c compiled, err error) {
	c = compiled{namespace: a.Namespace, name: a.Name, failed: new(atomic.Bool)}
	for _, f := range [...]struct{ field, value string }{{"namespace", a.Namespace}, {"name", a.Name}} {
		switch {
		case f.value == "":
			return c, &FieldError{f.field, errors.New("is missing")}
		case len(f.value) > maxName || !utf8.ValidString(f.value):
			return c, &FieldError{f.field, fmt.Errorf("must be text of at most %d bytes", maxName)}
		}
	}
	if strings.TrimSpace(a.Expression) == "" {
		return c, &FieldError{"expression", errors.New("is missing")}
	}
	if c.expression, err = language.Compile(a.Expression, "a number", cel.IntKind, cel.UintKind, cel.DoubleKind); err != nil {
		return c, &FieldError{"expression", err}
	}
	if strings.TrimSpace(a.Condition) == "" {
		return c, nil
	}
	if c.condition, err = language.Compile(a.Condition, "true or false", cel.BoolKind); err != nil {
		return c, &FieldError{"condition", err}
	}
	return c, nil
}

// Report is what is to be told of a response that has used u so far: an encoded
// google.protobuf.Struct whose fields are namespaces; nil for nothing.
func (r *Reporter) Report(u observe.Usage) []byte {
	if r == nil {
		return nil
	}
	var namespaces map[string]*structpb.Value
	variables := map[string]any{"usage": usage(u)}
	for i := range r.attributes {
		c := &r.attributes[i]
		n, err := c.value(variables)
		if err != nil && c.failed.CompareAndSwap(false, true) {
			r.log.Warn("an attribute of responses cannot be computed and is not reported; this is logged once",
				"namespace", c.namespace, "name", c.name, "error", clip(err.Error()))
		}
		if err != nil || n == 0 {
			continue
		}
		if namespaces == nil {
			namespaces = map[string]*structpb.Value{}
		}
		in := namespaces[c.namespace]
		if in == nil {
			in = structpb.NewStructValue(&structpb.Struct{Fields: map[string]*structpb.Value{}})
			namespaces[c.namespace] = in
		}
		in.GetStructValue().Fields[c.name] = structpb.NewNumberValue(n)
	}
	if namespaces == nil {
		return nil
	}
	b, err := proto.Marshal(&structpb.Struct{Fields: namespaces})
	if err != nil { // names are valid text
		return nil
	}
	return b
}

// usage is what expressions see of u.
func usage(u observe.Usage) map[string]any {
	m := map[string]any{
		"prompt_tokens": float64(u.PromptTokens), "completion_tokens": float64(u.CompletionTokens),
		"total_tokens": float64(u.PromptTokens + u.CompletionTokens),
	}
	if u.CachedTokens > 0 {
		m["prompt_tokens_details"] = map[string]any{"cached_tokens": float64(u.CachedTokens)}
	}
	return m
}

// value is the number to be told, 0 for none.
func (c *compiled) value(variables map[string]any) (float64, error) {
	if c.condition != nil {
		out, _, err := c.condition.Eval(variables)
		if err != nil {
			return 0, fmt.Errorf("condition: %w", err)
		}
		yes, ok := out.(types.Bool)
		if !ok {
			return 0, fmt.Errorf("condition: gives a %s; it must give true or false", out.Type().TypeName())
		}
		if !yes {
			return 0, nil
		}
	}
	out, _, err := c.expression.Eval(variables)
	if err != nil {
		return 0, fmt.Errorf("expression: %w", err)
	}
	return whole(out)
}

// whole is a result cut to a whole number.
func whole(out ref.Val) (float64, error) {
	var n float64
	switch v := out.(type) {
	case types.Int:
		n = float64(v)
	case types.Uint:
		n = float64(v)
	case types.Double:
		n = math.Trunc(float64(v))
	default:
		return 0, fmt.Errorf("expression: gives a %s; it must give a number", out.Type().TypeName())
	}
	if !(math.Abs(n) <= maxValue) {
		return 0, fmt.Errorf("expression: gives %v; it must be from -%d to %d", n, int64(maxValue), int64(maxValue))
	}
	return n, nil
}

// clip shortens a text for the log.
func clip(s string) string {
	const most = 200
	if len(s) > most {
		return s[:most] + "…"
	}
	return s
}
