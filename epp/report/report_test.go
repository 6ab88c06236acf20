package report

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/fairway-ai/fairway/extproc/observe"
)

var used = observe.Usage{Known: true, PromptTokens: 100, CompletionTokens: 20, CachedTokens: 40}

// told is what a report says: "namespace/name=number" for each, or "".
func told(t *testing.T, b []byte) string {
	t.Helper()
	var s structpb.Struct
	if err := proto.Unmarshal(b, &s); err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, ns := range []string{"envoy.lb", "other"} {
		for _, name := range []string{"a", "b"} {
			if v, ok := s.Fields[ns].GetStructValue().GetFields()[name]; ok {
				out = append(out, fmt.Sprintf("%s/%s=%v", ns, name, v.GetNumberValue()))
			}
		}
	}
	return strings.Join(out, " ")
}

func TestExpressions(t *testing.T) {
	for _, tt := range []struct {
		expression, condition string
		usage                 observe.Usage
		want, logged          string
	}{
		{"usage.prompt_tokens + usage.completion_tokens", "", used, "120", ""},
		{"usage.total_tokens", "has(usage.total_tokens) && usage.total_tokens > 100", used, "120", ""},
		{"usage.total_tokens", "usage.total_tokens > 120", used, "", ""},
		{"usage.completion_tokens * 10.0 + usage.prompt_tokens * 0.25", "", used, "225", ""},
		{"usage.prompt_tokens * 0.019", "", used, "1", ""}, // 1.9
		{"usage.prompt_tokens - 101.5", "", used, "-1", ""},
		{"has(usage.prompt_tokens_details) ? usage.prompt_tokens_details.cached_tokens : 0.0", "", used, "40", ""},
		{"has(usage.prompt_tokens_details) ? usage.prompt_tokens_details.cached_tokens : 0.0", "", observe.Usage{Known: true, PromptTokens: 1}, "", ""},
		{"int(usage.prompt_tokens) / 3", "", used, "33", ""},
		{"uint(usage.prompt_tokens)", "", used, "100", ""},
		{"has(usage.queries) ? usage.queries : 7", "", used, "7", ""},
		{"1", "", observe.Usage{}, "1", ""},
		{"usage.total_tokens", "", observe.Usage{}, "", ""}, // 0 is not told
		{"0", "", used, "", ""},

		{"usage.queries", "", used, "", "no such key"},
		{"usage.prompt_tokens * 2", "", used, "", "no such overload"},
		{"usage.prompt_tokens / 0.0", "", used, "", "+Inf"},
		{"0.0 * (usage.prompt_tokens / 0.0)", "", used, "", "NaN"},
		{"usage.prompt_tokens * 1e300", "", used, "", "must be from"},
		{"dyn('x')", "", used, "", "gives a string"},
		{"1", "dyn(1)", used, "", "condition: gives a int"},
		{"1", "usage.queries > 1", used, "", "condition: no such key"},
	} {
		var log bytes.Buffer
		r, err := New([]Attribute{{"envoy.lb", "a", tt.expression, tt.condition}}, slog.New(slog.NewTextHandler(&log, nil)))
		if err != nil {
			t.Errorf("%s if %s: %v", tt.expression, tt.condition, err)
			continue
		}
		want := tt.want
		if want != "" {
			want = "envoy.lb/a=" + want
		}
		for range 2 {
			if got := told(t, r.Report(tt.usage)); got != want {
				t.Errorf("%s if %q: told %q, want %q", tt.expression, tt.condition, got, want)
			}
		}
		text := log.String()
		if (tt.logged == "") != (text == "") || !strings.Contains(text, tt.logged) || strings.Count(text, "\n") > 1 {
			t.Errorf("%s if %q: logged %q, want one line with %q", tt.expression, tt.condition, text, tt.logged)
		}
	}
}

func TestSeveralAttributes(t *testing.T) {
	r, err := New([]Attribute{
		{"envoy.lb", "a", "1", ""}, {"other", "a", "2", ""}, {"envoy.lb", "b", "3", ""},
		{"other", "a", "4", ""}, {"envoy.lb", "b", "usage.missing", ""},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := told(t, r.Report(used)); got != "envoy.lb/a=1 envoy.lb/b=3 other/a=4" {
		t.Errorf("told %q", got)
	}
}

func TestWithoutAttributes(t *testing.T) {
	r, err := New(nil, nil)
	if r != nil || err != nil || r.Report(used) != nil {
		t.Errorf("%v, %v", r, err)
	}
}

func TestMistakes(t *testing.T) {
	long := strings.Repeat("n", maxName+1)
	for _, tt := range []struct {
		a           Attribute
		field, want string
	}{
		{Attribute{"", "a", "1", ""}, "namespace", "is missing"},
		{Attribute{"n", "", "1", ""}, "name", "is missing"},
		{Attribute{"n", long, "1", ""}, "name", "at most 256 bytes"},
		{Attribute{"n\xff", "a", "1", ""}, "namespace", "must be text"},
		{Attribute{"n", "a", " \n", ""}, "expression", "is missing"},
		{Attribute{"n", "a", "usage.prompt_tokens +", ""}, "expression", "line 1, column 22: Syntax error"},
		{Attribute{"n", "a", "tokens", ""}, "expression", "undeclared reference to 'tokens'"},
		{Attribute{"n", "a", "'a'", ""}, "expression", "gives a string; it must give a number"},
		{Attribute{"n", "a", "true", ""}, "expression", "gives a bool"},
		{Attribute{"n", "a", "1", "1"}, "condition", "gives a int; it must give true or false"},
		{Attribute{"n", "a", "1", "usage.a &&"}, "condition", "Syntax error"},
		{Attribute{"n", "a", strings.Repeat("1+", 3000) + "1", ""}, "expression", "longer than 1024"},
	} {
		r, err := New([]Attribute{{"n", "first", "1", ""}, tt.a}, nil)
		fe, ok := errors.AsType[*FieldError](err)
		if r != nil || !ok || fe.Field != tt.field || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%.80v: got %v, want %s: %s", tt.a, err, tt.field, tt.want)
		}
	}
	if _, err := New(make([]Attribute, MaxAttributes+1), nil); err == nil {
		t.Error("too many attributes are accepted")
	}
}

func FuzzReport(f *testing.F) {
	for _, s := range []string{"usage.prompt_tokens", "usage.total_tokens * 0.1", "[1].map(x, x)[0]", "1/0", "usage", "has(usage.x)", "`a`", "usage['a']"} {
		f.Add(s, "true", int64(5))
	}
	f.Fuzz(func(t *testing.T, expression, condition string, n int64) {
		r, err := New([]Attribute{{"envoy.lb", "a", expression, condition}}, nil)
		if err != nil {
			if _, ok := errors.AsType[*FieldError](err); !ok || len(err.Error()) > 2000 {
				t.Errorf("the error is %q", err)
			}
			return
		}
		var s structpb.Struct
		if err := proto.Unmarshal(r.Report(observe.Usage{Known: true, PromptTokens: n, CompletionTokens: n}), &s); err != nil {
			t.Errorf("%q: %v", expression, err)
		}
	})
}

func Example() {
	r, err := New([]Attribute{{
		Namespace: DefaultNamespace, Name: "x-gateway-inference-request-cost",
		Expression: "usage.prompt_tokens + 4.0 * usage.completion_tokens",
	}}, nil)
	if err != nil {
		panic(err)
	}
	var s structpb.Struct
	if err := proto.Unmarshal(r.Report(observe.Usage{Known: true, PromptTokens: 100, CompletionTokens: 20}), &s); err != nil {
		panic(err)
	}
	fmt.Println(s.Fields["envoy.lb"].GetStructValue().Fields["x-gateway-inference-request-cost"].GetNumberValue())
	// Output: 180
}
