package celexpr

import (
	"strings"
	"testing"

	"github.com/google/cel-go/cel"
)

func TestCompile(t *testing.T) {
	l, err := New(cel.Variable("n", cel.IntType), cel.Variable("any", cel.DynType))
	if err != nil {
		t.Fatal(err)
	}
	ten := "[0,1,2,3,4,5,6,7,8,9]"
	for text, want := range map[string]string{
		"n + 1":                    "",
		"any":                      "", // what it gives, only its evaluation tells
		"n > 1.5":                  "gives a bool; it must give a number",
		"m":                        "line 1, column 1: undeclared reference to 'm'",
		"1 +\n  ]":                 "line 2, column 3: Syntax error",
		"'a'.matches('(') ? 1 : 2": "line 1, column 1: error parsing regexp",
		strings.Repeat("(", 200) + "1" + strings.Repeat(")", 200):                                                 "recursion limit",
		strings.Repeat("1+", MaxLength) + "1":                                                                     "exceeds limit",
		strings.Repeat(" ", 5*MaxLength) + "1":                                                                    "longer than 1024",
		ten + ".map(a, " + ten + ".map(b, " + ten + ".map(c, " + ten + ".map(d, " + ten + ".map(e, n))))).size()": "steps to compute",
		"a + b + c + d + e + f":                                                                                   "; …",
	} {
		p, err := l.Compile(text, "a number", cel.IntKind)
		if want == "" && (p == nil || err != nil) || want != "" && (err == nil || !strings.Contains(err.Error(), want) || len(err.Error()) > 2000) {
			t.Errorf("%.60s: %v, want %q", text, err, want)
		}
	}
	p, err := l.Compile(ten+".all(x, any.contains(string(x)))", "true or false", cel.BoolKind)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := p.Eval(map[string]any{"any": strings.Repeat("0123456789", 1<<16)}); err == nil || !strings.Contains(err.Error(), "cost limit") {
		t.Errorf("an evaluation without end: %v", err)
	}
}
