package aibackend_test

import (
	"flag"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/fairway-ai/fairway/aibackend/internal/transcript"
)

var rewrite = flag.Bool("rewrite", false, "write what comes out into the transcripts")

// TestTranscripts plays every transcript of testdata.
func TestTranscripts(t *testing.T) {
	for _, tr := range transcript.All(t, "testdata") {
		t.Run(tr.File, func(t *testing.T) {
			r := tr.Run(t)
			got := tr.Text(&r)
			if *rewrite {
				if err := os.WriteFile(tr.File, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			want, err := os.ReadFile(tr.File)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

// TestChunksDoNotMatter cuts the provider's bytes in two at every place, and into
// single bytes: the client gets the same.
func TestChunksDoNotMatter(t *testing.T) {
	for _, tr := range transcript.All(t, "testdata") {
		t.Run(tr.File, func(t *testing.T) {
			whole := tr.Run(t)
			if whole.Status == 0 || !whole.Sent {
				t.Skip("no response")
			}
			n := len(tr.Wire)
			check := func(cuts ...int) {
				got := tr.Run(t, cuts...)
				if string(got.Body) != string(whole.Body) || got.Usage != whole.Usage || got.Status != whole.Status {
					t.Fatalf("cut at %v: status %d, usage %s, body\n%s", cuts, got.Status, got.Usage, got.Body)
				}
			}
			every := make([]int, 0, n)
			step := 1
			if tr.Out.Headers.Get("content-type") == "application/json" || testing.Short() {
				step = 13 // collected whole, cuts matter less
			}
			for i := 1; i < n; i++ {
				every = append(every, i)
				if i%step == 0 {
					check(i)
				}
			}
			check(every...)
		})
	}
}
