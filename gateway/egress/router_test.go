package egress

import (
	"errors"
	"testing"

	"github.com/fairway-ai/fairway/extproc"
	"github.com/fairway-ai/fairway/gateway/airoute"
)

// TestLostShare: what belongs to backends that cannot be served is answered 500, and
// counts against no limit; the others' share is untouched.
func TestLostShare(t *testing.T) {
	a, b := aCloud("ns/a"), aCloud("ns/b")
	a.Weight, b.Weight = 3, 2
	for _, tt := range []struct {
		name   string
		groups [][]airoute.Target
		lost   uint64
		want   int // of as many requests as there are weights
	}{
		{"nothing", [][]airoute.Target{{a, b}}, 0, 0},
		{"a part", [][]airoute.Target{{a, b}}, 5, 5},
		{"of one", [][]airoute.Target{{a}}, 1, 1},
		{"all", nil, 2, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			total := tt.lost
			for _, g := range tt.groups {
				for _, x := range g {
					total += uint64(x.Weight)
				}
			}
			refused := 0
			for n := range total {
				r := &Router{Next: &picker{}, Random: func(of uint64) uint64 {
					if of != total {
						t.Errorf("chosen of %d, want %d", of, total)
					}
					return n
				}}
				_, _, err := followed(t, r, airoute.Rule{Groups: tt.groups, Lost: tt.lost, Attempts: 1})
				var no *extproc.Rejection
				switch {
				case errors.As(err, &no) && no.Status == 500 && no.Code == "no_usable_backend":
					refused++
				case err != nil:
					t.Error(err)
				}
			}
			if refused != tt.want {
				t.Errorf("%d of %d are refused, want %d", refused, total, tt.want)
			}
		})
	}
}
