package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/pflag"
)

// valuesKey annotates a flag with the values that it is known to take.
const valuesKey = "fairway/values"

// offered has shells offer values for a flag, which may take others, too, and may be a
// list of them.
func offered(fs *pflag.FlagSet, name string, values []string) {
	if err := fs.SetAnnotation(name, valuesKey, values); err != nil {
		panic(err) // the flag was not registered before
	}
}

// known is offered for the values that whoever reads the flag checks by the same list;
// the flag's help names them.
func known(fs *pflag.FlagSet, name string, values []string) {
	offered(fs, name, values)
	fs.Lookup(name).Usage += ": " + anyOf(values)
}

// oneOf is known for a flag that takes none but these values: others are refused when
// the command line is parsed.
func oneOf(fs *pflag.FlagSet, name string, values []string) {
	known(fs, name, values)
	f := fs.Lookup(name)
	f.Value = checkedValue{f.Value, values}
}

// checkedValue is a value out of a closed set.
type checkedValue struct {
	pflag.Value
	values []string
}

// Set implements pflag.Value.
func (c checkedValue) Set(s string) error {
	if !slices.Contains(c.values, s) {
		return notOneOf{c.values}
	}
	return c.Value.Set(s)
}

// notOneOf says which values there are.
type notOneOf struct{ values []string }

// Error implements error.
func (n notOneOf) Error() string { return "must be " + anyOf(n.values) }

// anyOf lists values as in "a, b or c".
func anyOf[S ~string](values []S) string {
	s := texts(values)
	if len(s) < 2 {
		return strings.Join(s, "")
	}
	return strings.Join(s[:len(s)-1], ", ") + " or " + s[len(s)-1]
}

// texts are the values of a set as a flag has them.
func texts[S ~string](values []S) []string {
	s := make([]string, len(values))
	for i, v := range values {
		s[i] = string(v)
	}
	return s
}

// badValue says what a flag's value must be instead, in the words of its type.
func badValue(e *pflag.InvalidValueError) error {
	f := e.GetFlag()
	var want string
	switch f.Value.Type() {
	case "bool":
		want = "must be true or false"
	case "int", "int64":
		want = "must be a whole number"
	case "uint", "uint64":
		want = "must be a whole number that is not negative"
	case "float64":
		want = "must be a number"
	case "intSlice":
		want = "must be whole numbers, with commas between them"
	case "float64Slice":
		want = "must be numbers, with commas between them"
	case "duration":
		want = "must be a duration with its unit, as in 500ms, 30s or 5m"
	case "size":
		return fmt.Errorf("--%s: %w", f.Name, e.Unwrap())
	default:
		want = e.Unwrap().Error()
	}
	return fmt.Errorf("--%s: %.60q %s", f.Name, e.GetValue(), want)
}
