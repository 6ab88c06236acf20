package pool

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairway-ai/fairway/pool/scrape"
)

// TestAdaptersReachTheSnapshot: an adapter stays known when no endpoint has it any more,
// and what an endpoint has does not outlive its metrics.
func TestAdaptersReachTheSnapshot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.answer(scrape.Values{MaxLoRA: 2, ActiveLoRA: []string{"sql"}, WaitingLoRA: []string{"chat"}}, nil)
		p := newPool(t, f)
		p.Set(specsOf(1))
		defer run(t, p)()
		time.Sleep(50 * time.Millisecond)
		known := func(want bool, names ...string) {
			t.Helper()
			for _, n := range names {
				if got := p.Snapshot().Adapters.Number(n) != 0; got != want {
					t.Errorf("%s is known: %v", n, got)
				}
			}
		}
		known(true, "sql", "chat")
		known(false, "base")
		if m := only(t, p); m.Adapters == nil || m.MaxLoRA != 2 {
			t.Errorf("%+v", m)
		}
		f.answer(scrape.Values{}, errStatus)
		time.Sleep(time.Minute)
		if m := only(t, p); m.Known || m.Adapters != nil {
			t.Errorf("when its metrics are old: %+v", m)
		}
		f.answer(scrape.Values{MaxLoRA: 2}, nil)
		time.Sleep(time.Minute)
		known(true, "sql", "chat")
		if m := only(t, p); !m.Known || m.Adapters != nil {
			t.Errorf("without adapters: %+v", m)
		}
	})
}
