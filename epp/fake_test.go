package epp

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/fairway-ai/fairway/extproc"
	"github.com/fairway-ai/fairway/extproc/scan"
	"github.com/fairway-ai/fairway/scheduler"
	"github.com/fairway-ai/fairway/scheduler/prefix"
)

// fakePool is a pool that the test fills.
type fakePool struct {
	snap  atomic.Pointer[scheduler.Snapshot]
	index *prefix.Index

	mu       sync.Mutex
	subs     map[int]func(*scheduler.Snapshot)
	suspects []string
}

func newFakePool(n int) *fakePool {
	p := &fakePool{subs: map[int]func(*scheduler.Snapshot){}}
	var es []scheduler.Endpoint
	for i := range n {
		es = append(es, endpoint(i))
	}
	p.set(es)
	return p
}

func endpoint(i int) scheduler.Endpoint {
	return scheduler.Endpoint{
		ID: fmt.Sprintf("ns/pod-%d", i), Address: fmt.Sprintf("10.0.%d.%d:8000", i/250, i%250+1),
		Slot: int32(i), Load: new(scheduler.Load),
	}
}

// set publishes the endpoints.
func (p *fakePool) set(es []scheduler.Endpoint) {
	p.publish(es, make([]scheduler.Metrics, len(es)))
}

// refuse publishes that the endpoints from the i-th on up to the j-th refuse
// connections.
func (p *fakePool) refuse(i, j int) {
	es := p.Snapshot().Endpoints
	m := make([]scheduler.Metrics, len(es))
	for ; i < j; i++ {
		m[i].Unreachable = true
	}
	p.publish(es, m)
}

func (p *fakePool) publish(es []scheduler.Endpoint, m []scheduler.Metrics) {
	s := &scheduler.Snapshot{Endpoints: es, Metrics: m}
	for _, e := range es {
		s.Slots = max(s.Slots, int(e.Slot)+1)
	}
	p.snap.Store(s)
	p.mu.Lock()
	var subs []func(*scheduler.Snapshot)
	for _, f := range p.subs {
		subs = append(subs, f)
	}
	p.mu.Unlock()
	for _, f := range subs {
		f(s)
	}
}

func (p *fakePool) Snapshot() *scheduler.Snapshot { return p.snap.Load() }
func (p *fakePool) Index() *prefix.Index          { return p.index }

func (p *fakePool) OnChange(f func(*scheduler.Snapshot)) func() {
	p.mu.Lock()
	defer p.mu.Unlock()
	k := len(p.subs)
	for p.subs[k] != nil {
		k++
	}
	p.subs[k] = f
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.subs, k)
	}
}

func (p *fakePool) Active() {}

func (p *fakePool) Suspect(id string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.suspects = append(p.suspects, id)
}

func (p *fakePool) suspected() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.suspects...)
}

// drained fails the test when an endpoint has anything in flight.
func drained(t *testing.T, es []scheduler.Endpoint) {
	t.Helper()
	for _, e := range es {
		v := e.Load.View()
		v.PrefillRate = 0
		if v != (scheduler.LoadView{}) {
			t.Errorf("%s: %+v left in flight, want nothing", e.ID, v)
		}
	}
}

func newPicker(t *testing.T, o Options) *Picker {
	t.Helper()
	if o.Seed == 0 {
		o.Seed = 1
	}
	p, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func onePool(e Endpoints) []Pool { return []Pool{{Name: "ns/pool", Endpoints: e}} }

// prompt is a streamed chat request of about tokens prompt tokens.
func prompt(id, model string, tokens int64) *extproc.Request {
	return &extproc.Request{ID: id, Body: scan.Result{
		API: scan.ChatCompletions, Model: model, Stream: true, PromptBytes: tokens * scan.BytesPerToken,
	}}
}

func mustPick(t *testing.T, p *Picker, req *extproc.Request) extproc.Pick {
	t.Helper()
	pick, err := p.Pick(context.Background(), req)
	if err != nil {
		t.Fatalf("Pick: %v", err)
	}
	return pick
}
