package picker_test

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/fairway-ai/fairway/scheduler"
	"github.com/fairway-ai/fairway/scheduler/picker"
)

func cycle(n int) *scheduler.Cycle {
	c := &scheduler.Cycle{
		Request:  &scheduler.Request{},
		Snapshot: &scheduler.Snapshot{Endpoints: make([]scheduler.Endpoint, n), Metrics: make([]scheduler.Metrics, n)},
	}
	for i := range n {
		c.Candidates = append(c.Candidates, int32(i))
	}
	return c
}

func all(n int) []int32 { return cycle(n).Candidates }

func TestMaxScore(t *testing.T) {
	for _, tc := range []struct {
		total []float32
		max   int
		want  []int32
	}{
		{[]float32{1, 3, 2}, 0, []int32{1}},
		{[]float32{1, 3, 2}, 1, []int32{1}},
		{[]float32{1, 3, 2}, 2, []int32{1, 2}},
		{[]float32{1, 3, 2}, 9, []int32{1, 2, 0}},
		{[]float32{-1, -3, -2}, 3, []int32{0, 2, 1}},
		{[]float32{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}, 9, []int32{9, 8, 7, 6, 5, 4, 3, 2, 1}},
	} {
		c := cycle(len(tc.total))
		p := picker.NewMaxScore("", picker.Parameters{MaxNumOfEndpoints: tc.max})
		if got := p.Pick(c, tc.total); !slices.Equal(got, tc.want) {
			t.Errorf("%v, max %d: %v, want %v", tc.total, tc.max, got, tc.want)
		}
	}
}

// counts picks often and counts who came first.
func counts(c *scheduler.Cycle, p scheduler.Picker, total []float32, rounds int) []int {
	n := make([]int, len(total))
	for range rounds {
		c.Candidates = append(c.Candidates[:0], all(len(total))...)
		n[p.Pick(c, total)[0]]++
	}
	return n
}

// within checks that n is a share p of rounds, to five standard deviations.
func within(t *testing.T, what string, n, rounds int, p float64) {
	t.Helper()
	mean, dev := p*float64(rounds), math.Sqrt(float64(rounds)*p*(1-p))
	if math.Abs(float64(n)-mean) > 5*dev {
		t.Errorf("%s: %d of %d, want about %.0f", what, n, rounds, mean)
	}
}

func TestShares(t *testing.T) {
	const rounds = 20_000
	one := picker.DefaultParameters()
	many := picker.Parameters{MaxNumOfEndpoints: 12}
	twelve := []float32{1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1}
	for _, tc := range []struct {
		name  string
		p     scheduler.Picker
		total []float32
		want  []float64
	}{
		{"max-score, ties", picker.NewMaxScore("", one), []float32{2, 1, 2, 2}, []float64{1. / 3, 0, 1. / 3, 1. / 3}},
		{"max-score, ties among many", picker.NewMaxScore("", many), twelve, []float64{1. / 12, 1. / 12}},
		{"random", picker.NewRandom("", one), []float32{9, 0, 1}, []float64{1. / 3, 1. / 3, 1. / 3}},
		{"weighted", picker.NewWeightedRandom("", one), []float32{1, 2, 0, 5}, []float64{1. / 8, 2. / 8, 0, 5. / 8}},
		{"weighted, tiny", picker.NewWeightedRandom("", one), []float32{1e-6, 3e-6}, []float64{.25, .75}},
		{"weighted, all zero", picker.NewWeightedRandom("", one), []float32{0, 0}, []float64{.5, .5}},
	} {
		c := cycle(len(tc.total))
		got := counts(c, tc.p, tc.total, rounds)
		for i, share := range tc.want {
			within(t, fmt.Sprintf("%s: endpoint %d", tc.name, i), got[i], rounds, share)
		}
	}
}

// Every picker returns distinct candidates, and as many as it may.
func TestRankings(t *testing.T) {
	for _, k := range []int{1, 2, 5, 8, 9, 20, 50} {
		for _, p := range []scheduler.Picker{
			picker.NewMaxScore("", picker.Parameters{MaxNumOfEndpoints: k}),
			picker.NewRandom("", picker.Parameters{MaxNumOfEndpoints: k}),
			picker.NewWeightedRandom("", picker.Parameters{MaxNumOfEndpoints: k}),
		} {
			c := cycle(20)
			total := make([]float32, 20)
			for i := range total {
				total[i] = float32(i % 4)
			}
			got := slices.Clone(p.Pick(c, total))
			if len(got) != min(k, 20) {
				t.Errorf("%s, max %d: %d endpoints", p.Name(), k, len(got))
			}
			slices.Sort(got)
			if len(slices.Compact(got)) != min(k, 20) {
				t.Errorf("%s, max %d: an endpoint twice", p.Name(), k)
			}
		}
	}
	p := picker.NewWeightedRandom("mine", picker.Parameters{MaxNumOfEndpoints: 3})
	if got := p.Pick(cycle(3), []float32{0, 1, 0}); got[0] != 1 || p.Name() != "mine" {
		t.Errorf("%s put an endpoint without a score first: %v", p.Name(), got)
	}
}

// A number that makes no sense is the default, as llm-d has it, and said to be.
func TestMend(t *testing.T) {
	for _, tc := range []struct{ is, want, names int }{{0, 1, 1}, {-3, 1, 1}, {1, 1, 0}, {4, 4, 0}} {
		p := picker.Parameters{MaxNumOfEndpoints: tc.is}
		if names := p.Mend(); len(names) != tc.names || p.MaxNumOfEndpoints != tc.want {
			t.Errorf("%d became %d, and %v are replaced", tc.is, p.MaxNumOfEndpoints, names)
		}
	}
}
