package replicas

import (
	"context"
	"testing"
	"time"

	"github.com/fairway-ai/fairway/epp"
	"github.com/fairway-ai/fairway/extproc"
	"github.com/fairway-ai/fairway/extproc/scan"
	"github.com/fairway-ai/fairway/pool"
	"github.com/fairway-ai/fairway/pool/file"
)

var (
	_ Picker     = (*epp.Picker)(nil)
	_ epp.Sharer = (*Replicas)(nil)
)

// TestPickersShare has two real pickers place one conversation: the second turn goes to
// the other picker, which sends it where the first one sent the first.
func TestPickersShare(t *testing.T) {
	m := newMembers()
	var all []*Replicas
	var pickers []*epp.Picker
	var sets []*epp.PoolSet
	var addresses []string
	config := &file.Config{Pools: []file.PoolConfig{{Name: "llama", Namespace: "prod", Specs: []pool.Spec{
		{ID: "prod/a", Address: "10.0.0.1:8000"}, {ID: "prod/b", Address: "10.0.0.2:8000"},
		{ID: "prod/c", Address: "10.0.0.3:8000"}, {ID: "prod/d", Address: "10.0.0.4:8000"},
	}}}}
	for _, id := range []string{"a", "b"} {
		r, err := New(Options{ID: id, Peers: m, Listen: "127.0.0.1:0"})
		if err != nil {
			t.Fatal(err)
		}
		p, err := epp.New(epp.Options{Share: r, Hold: true})
		if err != nil {
			t.Fatal(err)
		}
		set := epp.NewPoolSet(epp.PoolSetOptions{Picker: p})
		if err := set.Apply(config); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan error, 1)
		go func() { ended <- r.Run(ctx, p) }()
		t.Cleanup(func() {
			cancel()
			if err := <-ended; err != nil {
				t.Error(err)
			}
			p.Close()
		})
		all = append(all, r)
		pickers, sets, addresses = append(pickers, p), append(sets, set), append(addresses, r.Addr().String())
	}
	m.set(addresses...)
	for _, r := range all {
		eventually(t, "they are connected", func() bool { return linked(r) == 1 })
	}
	blocks := chain(100, 7)
	pick := func(p *epp.Picker) extproc.Pick {
		got, err := p.Pick(t.Context(), &extproc.Request{Body: scan.Result{
			API: scan.ChatCompletions, Model: "m", Stream: true, PromptBytes: 100 * 64 * scan.BytesPerToken, Blocks: blocks,
		}})
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	first := pick(pickers[0])
	at := func(i int) (requests int32, cached int64) {
		p := sets[i].Pool("prod/llama")
		for _, e := range p.Snapshot().Endpoints {
			requests += e.Load.View().Requests
			cached += p.Index().MatchOne(blocks, e.Slot)
		}
		return requests, cached
	}
	eventually(t, "the other picker knows", func() bool {
		requests, cached := at(1)
		return requests == 1 && cached == 6400
	})
	first.Observer.FirstToken(time.Now())
	first.Observer.End(time.Now(), extproc.Outcome{Status: 200, Complete: true})
	eventually(t, "the other picker knows of the end", func() bool { requests, _ := at(1); return requests == 0 })
	second := pick(pickers[1])
	one, two := first.Destinations, second.Destinations
	if len(one) < 13 || two[:13] != one[:13] {
		t.Errorf("the first turn went to %s, the second to %s", one, two)
	}
	second.Observer.End(time.Now(), extproc.Outcome{Status: 200, Complete: true})
}
