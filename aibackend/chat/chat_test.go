package chat

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestPlan(t *testing.T) {
	for _, tc := range []struct {
		in       Thinking
		max      int64
		asBudget bool
		want     Thinking
		bound    int64
		dropped  bool
	}{
		{Thinking{}, 0, false, Thinking{}, 100, false},
		{Thinking{}, 7, false, Thinking{}, 7, false},
		{Thinking{Effort: "none"}, 7, false, Thinking{Mode: ThinkingOff}, 7, false},
		{Thinking{Effort: "minimal"}, 7, false, Thinking{Mode: ThinkingAdaptive, Effort: "low"}, 7, false},
		{Thinking{Effort: "high"}, 0, false, Thinking{Mode: ThinkingAdaptive, Effort: "high"}, 100, false},
		{Thinking{Effort: "low"}, 0, true, Thinking{Mode: ThinkingBudget, Budget: 2048}, 2148, false},
		{Thinking{Effort: "high"}, 8000, true, Thinking{Mode: ThinkingBudget, Budget: 4000}, 8000, false},
		{Thinking{Effort: "high"}, 1000, true, Thinking{}, 1000, true},
		{Thinking{Mode: ThinkingBudget, Budget: 5000, Effort: "low"}, 0, true, Thinking{Mode: ThinkingBudget, Budget: 5000}, 5100, true},
		{Thinking{Mode: ThinkingOff}, 9, true, Thinking{Mode: ThinkingOff}, 9, false},
	} {
		q := &Request{Thinking: tc.in, MaxTokens: tc.max}
		got, bound := q.Plan(tc.asBudget, 100)
		if diff := cmp.Diff(tc.want, got); diff != "" || bound != tc.bound || (len(q.Dropped) > 0) != tc.dropped {
			t.Errorf("%+v: %s, bound %d, dropped %v", tc, diff, bound, q.Dropped)
		}
	}
}

func TestSafeID(t *testing.T) {
	long := strings.Repeat("x", 70)
	for id, same := range map[string]bool{"call_a-B9": true, "functions.f:0": false, long: false, "é": false} {
		got := SafeID(id)
		if (got == id) != same || len(got) > 64 || strings.ContainsAny(got, ".:é") || got != SafeID(id) {
			t.Errorf("%s became %s", id, got)
		}
	}
	if SafeID("a.b") == SafeID("a:b") {
		t.Error("two IDs became one")
	}
}

func TestDroppedNamesAreHarmless(t *testing.T) {
	q := &Request{}
	q.DropNamed("a\r\nset-cookie: x,y")
	q.DropNamed(strings.Repeat("x", 500))
	for i := range 100 {
		q.DropNamed("field" + strings.Repeat("a", i))
	}
	q.DropNamed("fielda")
	if len(q.Dropped) != maxDropped || q.Dropped[0] != "a__set-cookie_ x_y" || len(q.Dropped[1]) != maxDroppedName {
		t.Errorf("%q", q.Dropped)
	}
}

// TestEmitterKeepsTheOrder: parts do not overlap, a call has arguments, and nothing
// follows the end.
func TestEmitterKeepsTheOrder(t *testing.T) {
	names := map[EventKind]string{Start: "start", PartStart: "open", Delta: "delta", Signature: "sign", PartStop: "shut", Ended: "ended", Counts: "counts", End: "end", Failed: "failed"}
	var got []string
	e := Emitter{Name: "n", Provider: "p"}
	e.Sink = func(ev *Event) { got = append(got, names[ev.Kind]+" "+string(ev.Text)+ev.CallID) }
	e.Begin("", "m", Usage{})
	e.Begin("", "m", Usage{})
	e.Write(Thinks, []byte(`"a"`))
	e.Write(Text, []byte(`""`))
	e.Write(Text, []byte(`"b"`))
	e.Open(ToolUse, "", "f", nil)
	e.Finish(FinishStop, "", "")
	e.Finish(FinishLength, "", "")
	e.Close()
	e.Write(Text, []byte(`"late"`))
	e.Fail(&Error{})
	want := []string{"start ", "open ", `delta "a"`, "shut ", "open ", `delta "b"`, "shut ", "open call_n_1", `delta "{}"`, "shut ", "ended ", "end "}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestFinishAgreesWithCalls(t *testing.T) {
	r := &Response{Choices: []Choice{
		{Parts: []Part{{Kind: ToolUse, Name: "f"}}, Finish: FinishStop},
		{Parts: []Part{{Kind: ToolUse, Name: FormatTool, Args: []byte(`{ "a": 1 }`)}}, Finish: FinishToolUse},
		{Parts: []Part{{Kind: ToolUse, Name: "f", ID: "x"}}, Finish: FinishLength},
	}}
	r.Settle("n", true)
	if r.ID != "n" || r.Choices[0].Finish != FinishToolUse || r.Choices[0].Parts[0].ID != "call_n_1" ||
		r.Choices[1].Finish != FinishStop || r.Choices[1].Parts[0].Text != `{"a":1}` ||
		r.Choices[2].Finish != FinishLength || r.Choices[2].Parts[0].ID != "x" {
		t.Errorf("%+v", r)
	}
}
