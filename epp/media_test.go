package epp

import (
	"testing"
	"time"

	"github.com/fairway-ai/fairway/extproc"
	"github.com/fairway-ai/fairway/extproc/scan"
	"github.com/fairway-ai/fairway/scheduler"
	"github.com/fairway-ai/fairway/scheduler/scorer"
)

// TestMedia: the images of a request reach the scorer that remembers them, and nothing
// of them is left for the next request.
func TestMedia(t *testing.T) {
	var asked []scheduler.Request
	cache := scorer.NewMediaCache("", scorer.NewMediaMemory(scorer.DefaultMediaMemoryParameters()))
	pools := []Pool{{Name: "ns/pool", Endpoints: newFakePool(2), Policy: scheduler.NewProfile("p", nil, []scheduler.Weighted{{Scorer: cache, Weight: 1}}, seen{&asked})}}
	p := newPicker(t, Options{Pools: pools})
	for _, want := range [][]uint64{{7, 8}, nil, {9}} {
		req := extproc.NewRequest(nil, nil)
		req.ID, req.Body = "r", scan.Result{API: scan.ChatCompletions, Model: "m", PromptBytes: 400, Images: len(want), Media: want}
		mustPick(t, p, req).Observer.End(time.Now(), extproc.Outcome{Status: 200, Complete: true})
		got := asked[len(asked)-1].Media
		if len(got) != len(want) || len(want) > 0 && got[0] != want[0] {
			t.Errorf("media %v, want %v", got, want)
		}
	}
}
