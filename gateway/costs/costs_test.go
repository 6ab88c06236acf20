package costs

import (
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/google/cel-go/cel"

	"github.com/fairway-ai/fairway/api/v1alpha1"
)

func expression(text string) []v1alpha1.Cost {
	return []v1alpha1.Cost{{Name: "c", Type: v1alpha1.CostCEL, CEL: text}}
}

var values = Values{
	Model: "gpt-4o", Backend: "ns/openai", RouteName: "ns/chat",
	Input: 1000, Cached: 400, CacheCreation: 100, Output: 50, Reasoning: 20, Total: 1050,
}

func eval(t *testing.T, list []v1alpha1.Cost, v Values) (map[string]uint64, []Failure) {
	t.Helper()
	p, err := Compile(list)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]uint64{}
	failures := p.Eval(v, func(name string, n uint64) {
		if _, ok := got[name]; ok {
			t.Errorf("%s was told twice", name)
		}
		got[name] = n
	})
	return got, failures
}

func TestKindsOfTokens(t *testing.T) {
	list := []v1alpha1.Cost{
		{Name: "in", Type: v1alpha1.CostInputToken}, {Name: "cached", Type: v1alpha1.CostCachedInputToken},
		{Name: "written", Type: v1alpha1.CostCacheCreationInputToken}, {Name: "out", Type: v1alpha1.CostOutputToken},
		{Name: "thought", Type: v1alpha1.CostReasoningToken}, {Name: "all", Type: v1alpha1.CostTotalToken},
	}
	got, failures := eval(t, list, values)
	want := map[string]uint64{"in": 1000, "cached": 400, "written": 100, "out": 50, "thought": 20, "all": 1050}
	if !maps.Equal(got, want) || failures != nil {
		t.Errorf("got %v, %v, want %v", got, failures, want)
	}
	p, err := Compile(list)
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(p.Names(), " "); got != "in cached written out thought all" {
		t.Errorf("names %s", got)
	}
	if _, failures := eval(t, list[:1], Values{Input: MaxValue + 1}); len(failures) != 1 {
		t.Error("a count that metadata cannot carry was told")
	}
}

func TestExpressions(t *testing.T) {
	for _, tt := range []struct {
		text    string
		want    uint64
		failure string // in what Eval says of it
	}{
		{"input_tokens", 1000, ""},
		{"7", 7, ""},
		{"7u", 7, ""},
		{"input_tokens - cached_input_tokens + cached_input_tokens / 10u + 5u * output_tokens", 890, ""},
		{"cache_creation_input_tokens + reasoning_tokens + total_tokens", 1170, ""},
		{"double(output_tokens) * 0.55", 27, ""}, // 27.5
		{"int(input_tokens) - 1", 999, ""},
		{"model == 'gpt-4o' && backend == 'ns/openai' && route_name == 'ns/chat' ? 1 : 2", 1, ""},
		{"model.startsWith('claude') ? output_tokens * 15u : output_tokens", 50, ""},
		{"output_tokens > 49 ? 1u : 0u", 1, ""}, // numbers compare as numbers
		{"model in ['a', 'gpt-4o'] ? 3 : 4", 3, ""},
		{"size([1, 2, 3].filter(n, n > 1))", 2, ""},
		{"dyn(9.9)", 9, ""},
		{"0.0", 0, ""},

		{"int(output_tokens) - 51", 0, "negative"},
		{"double(output_tokens) - 50.1", 0, "negative"},
		{"output_tokens - 51u", 0, "overflow"},
		{"output_tokens / (total_tokens - 1050u)", 0, "zero"},
		{"total_tokens * 18446744073709551615u", 0, "overflow"},
		{"9223372036854775807", 0, "more than"},
		{"18446744073709551615u", 0, "more than"},
		{"double(output_tokens) * 1e300", 0, "more than"},
		{"double(total_tokens) / 0.0", 0, "more than"},
		{"0.0 / 0.0", 0, "not a number"},
		{"dyn(model)", 0, "string"},
		{"dyn('5')", 0, "string"},
	} {
		got, failures := eval(t, expression(tt.text), values)
		said := ""
		for _, f := range failures {
			said += f.Cost + " " + f.Err.Error()
		}
		if got["c"] != tt.want || len(got) != 1 || (tt.failure == "") != (said == "") || !strings.Contains(said, tt.failure) {
			t.Errorf("%s: got %v, %q; want %d, %q", tt.text, got, said, tt.want, tt.failure)
		}
	}
}

func TestModelOfAClientIsBounded(t *testing.T) {
	v := values
	v.Model = strings.Repeat("a", 1<<20)
	if _, failures := eval(t, expression("model.matches('(a+)+b') || model.contains('b') ? 1 : 2"), v); len(failures) != 1 {
		t.Error("a model's name of 1 MB was looked through")
	}
}

func TestMistakes(t *testing.T) {
	for _, tt := range []struct {
		list []v1alpha1.Cost
		want string
	}{
		{expression(""), "costs[0].cel: must be set for type CEL"},
		{expression("input_tokens +"), "costs[0].cel: line 1, column 15: Syntax error"},
		{expression("1u +\n  tokens"), "costs[0].cel: line 2, column 3: undeclared reference to 'tokens'"},
		{expression("input_tokens * 2"), "write 2u instead of 2"},
		{expression("input_tokens * 0.5"), "double(input_tokens)"},
		{expression("model"), "costs[0].cel: line 1, column 1: gives a string"},
		{expression("input_tokens > 1u"), "gives a bool"},
		{expression(strings.Repeat("1 + ", 300) + "1"), "exceeds limit"},
		{expression(strings.Repeat(" ", 5000) + "1"), "longer than 1024"},
		{expression(strings.Repeat("(", 200) + "1" + strings.Repeat(")", 200)), "recursion limit"},
		{expression("[0,1,2,3,4,5,6,7,8,9].map(a, [0,1,2,3,4,5,6,7,8,9].map(b, [0,1,2,3,4,5,6,7,8,9].map(c, [0,1,2,3,4,5,6,7,8,9].map(d, [0,1,2,3,4,5,6,7,8,9].map(e, input_tokens))))).size()"), "steps to compute"},
		{[]v1alpha1.Cost{{Name: "a", Type: v1alpha1.CostInputToken}, {Name: "a", Type: v1alpha1.CostOutputToken}}, `costs[1].name: "a" is there twice`},
		{[]v1alpha1.Cost{{Name: "", Type: v1alpha1.CostInputToken}}, "costs[0].name"},
		{[]v1alpha1.Cost{{Name: "a b", Type: v1alpha1.CostInputToken}}, "costs[0].name"},
		{[]v1alpha1.Cost{{Name: "a", Type: "Tokens"}}, `costs[0].type: "Tokens" is not one of`},
		{[]v1alpha1.Cost{{Name: "a", Type: v1alpha1.CostInputToken, CEL: "1"}}, "costs[0].cel: must be set for type CEL, and only then"},
		{make([]v1alpha1.Cost, 37), "at most 36"},
	} {
		p, err := Compile(tt.list)
		if p != nil || err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%.80v: got %v, want %q", tt.list, err, tt.want)
		} else if len(err.Error()) > 2000 {
			t.Errorf("%.80v: %d bytes of error", tt.list, len(err.Error()))
		}
	}
	// Each mistake is told.
	_, err := Compile([]v1alpha1.Cost{{Name: "a", Type: "x"}, {Name: "b", Type: v1alpha1.CostCEL, CEL: "x"}})
	if err == nil || strings.Count(err.Error(), "costs[") != 2 {
		t.Errorf("got %v", err)
	}
}

func TestWithoutCosts(t *testing.T) {
	p, err := Compile(nil)
	if p != nil || err != nil || p.Names() != nil {
		t.Errorf("%v, %v", p, err)
	}
	if f := p.Eval(values, func(string, uint64) { t.Error("a cost of none") }); f != nil {
		t.Error(f)
	}
}

func TestTokensAllocateNothing(t *testing.T) {
	p, err := Compile([]v1alpha1.Cost{{Name: "in", Type: v1alpha1.CostInputToken}, {Name: "all", Type: v1alpha1.CostTotalToken}})
	if err != nil {
		t.Fatal(err)
	}
	var sum uint64
	into := func(_ string, n uint64) { sum += n }
	if n := testing.AllocsPerRun(100, func() { p.Eval(values, into) }); n > 0 || sum == 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestVariablesAreDocumented(t *testing.T) {
	language, err := newLanguage()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range append(append([]string(nil), textVariables...), countVariables...) {
		if _, ok := (activation{&values}).ResolveName(name); !ok {
			t.Errorf("%s has no value", name)
		}
		if _, err := language.Compile(name, "a value", cel.StringKind, cel.UintKind); err != nil {
			t.Error(err)
		}
	}
	if _, ok := (activation{&values}).ResolveName("secret"); ok {
		t.Error("there is a value of another name")
	}
}

func FuzzCompile(f *testing.F) {
	for _, s := range []string{
		"input_tokens * 2u", "model == 'a' ? 1 : 2", "double(output_tokens) * 0.1", "[1].map(x, x)[0]", "1/0", "dyn(model) + 1", "model.matches('a*')", "{'a': 1}.a", "\x00", "`a`", "has(model.x)",
	} {
		f.Add(s, "m", uint64(5))
	}
	f.Fuzz(func(t *testing.T, text, model string, n uint64) {
		p, err := Compile(expression(text))
		if err != nil {
			if !strings.HasPrefix(err.Error(), "costs[0].cel: ") {
				t.Errorf("the error is %q", err)
			}
			return
		}
		told := 0
		failures := p.Eval(Values{Model: model, Input: n, Output: n, Total: n}, func(_ string, v uint64) {
			told++
			if v > MaxValue {
				t.Errorf("%q gives %d", text, v)
			}
		})
		if told != 1 || len(failures) > 1 {
			t.Errorf("%q was told %d times, with %v", text, told, failures)
		}
	})
}

func Example() {
	p, err := Compile([]v1alpha1.Cost{
		{Name: "tokens", Type: v1alpha1.CostTotalToken},
		{Name: "price", Type: v1alpha1.CostCEL, CEL: "(input_tokens - cached_input_tokens) * 3u + output_tokens * 15u"},
	})
	if err != nil {
		panic(err)
	}
	p.Eval(Values{Model: "m", Input: 100, Cached: 40, Output: 10, Total: 110}, func(name string, value uint64) {
		fmt.Println(name, value)
	})
	// Output:
	// tokens 110
	// price 330
}
