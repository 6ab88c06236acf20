package filter_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/fairway-ai/fairway/scheduler"
	"github.com/fairway-ai/fairway/scheduler/filter"
)

type set = map[string]string

// kept runs a filter over endpoints with these labels.
func kept(f scheduler.Filter, labels ...set) []int32 {
	c := &scheduler.Cycle{Snapshot: &scheduler.Snapshot{}}
	for i, l := range labels {
		c.Snapshot.Endpoints = append(c.Snapshot.Endpoints, scheduler.Endpoint{Labels: l})
		c.Candidates = append(c.Candidates, int32(i))
	}
	return f.Filter(c, c.Candidates)
}

func TestSelector(t *testing.T) {
	eps := []set{{"gpu": "h100", "zone": "a"}, {"gpu": "h100", "zone": "b"}, {"gpu": "l4"}, nil, {"gpu": ""}}
	expr := func(r ...filter.Requirement) filter.Selector { return filter.Selector{MatchExpressions: r} }
	for _, tc := range []struct {
		name string
		sel  filter.Selector
		want []int32
	}{
		{"empty", filter.Selector{}, []int32{0, 1, 2, 3, 4}},
		{"labels", filter.Selector{MatchLabels: set{"gpu": "h100"}}, []int32{0, 1}},
		{"labels, all of them", filter.Selector{MatchLabels: set{"gpu": "h100", "zone": "b"}}, []int32{1}},
		{"labels, empty value is not absence", filter.Selector{MatchLabels: set{"gpu": ""}}, []int32{4}},
		{"in", expr(filter.Requirement{Key: "gpu", Operator: filter.In, Values: []string{"l4", "a100"}}), []int32{2}},
		{"not in, absent passes", expr(filter.Requirement{Key: "zone", Operator: filter.NotIn, Values: []string{"a"}}), []int32{1, 2, 3, 4}},
		{"exists", expr(filter.Requirement{Key: "gpu", Operator: filter.Exists}), []int32{0, 1, 2, 4}},
		{"does not exist", expr(filter.Requirement{Key: "zone", Operator: filter.DoesNotExist}), []int32{2, 3, 4}},
		{"both", filter.Selector{MatchLabels: set{"gpu": "h100"}, MatchExpressions: []filter.Requirement{{Key: "zone", Operator: filter.NotIn, Values: []string{"a"}}}}, []int32{1}},
		{"nothing", expr(filter.Requirement{Key: "gpu", Operator: filter.In, Values: []string{"tpu"}}), nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if err := tc.sel.Validate(); err != nil {
				t.Fatal(err)
			}
			if got := kept(filter.NewLabelSelector("", tc.sel), eps...); !slices.Equal(got, tc.want) {
				t.Errorf("kept %v, want %v", got, tc.want)
			}
		})
	}
}

func TestRoles(t *testing.T) {
	roles := []string{"encode", "prefill", "decode", "encode-prefill", "prefill-decode", "both", "encode-prefill-decode", "other", ""}
	var eps []set
	for _, r := range roles {
		eps = append(eps, set{filter.RoleLabel: r})
	}
	eps = append(eps, nil) // index 9: no label
	for _, tc := range []struct {
		f    scheduler.Filter
		name string
		want []int32
	}{
		{filter.NewDecode(""), "decode-filter", []int32{2, 4, 5, 6, 9}},
		{filter.NewPrefill(""), "prefill-filter", []int32{1, 3, 4, 5, 6}},
		{filter.NewEncode(""), "encode-filter", []int32{0, 3, 6}},
		{filter.NewEncode("mine"), "mine", []int32{0, 3, 6}},
	} {
		if got := kept(tc.f, eps...); !slices.Equal(got, tc.want) || tc.f.Name() != tc.name {
			t.Errorf("%s kept %v, want %v", tc.f.Name(), got, tc.want)
		}
	}
}

func TestByLabel(t *testing.T) {
	eps := []set{{"tier": "gold"}, {"tier": "lead"}, {"tier": ""}, nil}
	for _, tc := range []struct {
		p    filter.ByLabelParameters
		want []int32
	}{
		{filter.ByLabelParameters{Label: "tier", ValidValues: []string{"gold", "silver"}}, []int32{0}},
		{filter.ByLabelParameters{Label: "tier", ValidValues: []string{"gold"}, AllowsNoLabel: true}, []int32{0, 3}},
		{filter.ByLabelParameters{Label: "tier", AllowsNoLabel: true}, []int32{3}},
	} {
		if err := tc.p.Validate(); err != nil {
			t.Errorf("%+v: %v", tc.p, err)
		}
		if got := kept(filter.NewByLabel("", tc.p), eps...); !slices.Equal(got, tc.want) {
			t.Errorf("%+v kept %v, want %v", tc.p, got, tc.want)
		}
	}
}

func TestValidate(t *testing.T) {
	type validator interface{ Validate() error }
	one := func(r filter.Requirement) filter.Selector {
		return filter.Selector{MatchExpressions: []filter.Requirement{r}}
	}
	many := filter.Selector{MatchExpressions: make([]filter.Requirement, 300)}
	for _, tc := range []struct {
		v    validator
		want string
	}{
		{filter.Selector{MatchLabels: set{"": "x"}}, `matchLabels: label key "" is invalid`},
		{filter.Selector{MatchLabels: set{"Bad_/name": "x"}}, "invalid prefix"},
		{filter.Selector{MatchLabels: set{"a/b/c": "x"}}, "is invalid"},
		{filter.Selector{MatchLabels: set{"ok": "not ok"}}, `matchLabels["ok"]: label value "not ok"`},
		{filter.Selector{MatchLabels: set{"ok": strings.Repeat("x", 64)}}, "is invalid"},
		{one(filter.Requirement{Key: "-", Operator: "Exists"}), "matchExpressions[0]: key: "},
		{one(filter.Requirement{Key: "k", Operator: "in"}), `operator is "in": must be In, NotIn, Exists or DoesNotExist`},
		{one(filter.Requirement{Key: "k", Operator: "In"}), "values is empty: operator In needs at least one"},
		{one(filter.Requirement{Key: "k", Operator: "Exists", Values: []string{"v"}}), "values is set: operator Exists takes none"},
		{one(filter.Requirement{Key: "k", Operator: "In", Values: []string{"v", "!"}}), "values[1]: "},
		{one(filter.Requirement{Key: "k", Operator: "In", Values: make([]string, 300)}), "at most 256"},
		{many, "at most 256"},
		{filter.ByLabelParameters{}, "label is missing"},
		{filter.ByLabelParameters{Label: "!"}, "label: "},
		{filter.ByLabelParameters{Label: "tier"}, "validValues is empty"},
	} {
		err := tc.v.Validate()
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%+v: error %v, want %q", tc.v, err, tc.want)
		}
	}
	if err := (filter.Selector{MatchLabels: set{"llm-d.ai/role": "", "app.kubernetes.io/name": "vllm_0.9"}}).Validate(); err != nil {
		t.Error(err)
	}
}
