package kvevents

import (
	"context"
	"log/slog"
	"testing"
)

// TestQueuesTogether: what all endpoints have sent and nobody has decoded is bounded,
// too; those with little waiting lose nothing by it.
func TestQueuesTogether(t *testing.T) {
	const total, share = 1 << 20, minQueueShare
	s, err := New(Options{Sink: newJournal(), Logger: slog.New(slog.DiscardHandler), QueueBytes: total, QueueTotalBytes: total})
	if err != nil {
		t.Fatal(err)
	}
	var all []*source
	follow := func(name string) *source {
		src := newSource(s, Endpoint{Name: name})
		if !src.connected(context.Background(), 1) {
			t.Fatal("not connected")
		}
		all = append(all, src)
		return src
	}
	sum := func() (n int) {
		for _, src := range all {
			n += src.bytes
		}
		return n
	}
	flood, modest := follow("flood"), follow("modest")
	payload := make([]byte, share/2)
	push := func(src *source, n int) {
		for seq := range uint64(n) {
			src.push(1, seq, "m", payload)
		}
	}
	push(flood, 2*total/len(payload))
	if flood.bytes != total || !flood.overflown {
		t.Errorf("%d bytes wait of one, overflown: %v", flood.bytes, flood.overflown)
	}
	push(modest, 2)
	if modest.overflown || modest.bytes != share {
		t.Errorf("%d bytes wait of another, overflown: %v; want its share of %d", modest.bytes, modest.overflown, share)
	}
	push(modest, 1)
	if !modest.overflown {
		t.Error("beyond its share, and nothing was dropped")
	}
	if got := s.queued.Load(); got != int64(sum()) {
		t.Errorf("%d bytes are counted, %d wait", got, sum())
	}
	// What has been taken, put back or given up is counted.
	for range 2 {
		if it, ok := flood.pop(false); !ok || it.kind == up && len(it.payload) > 0 {
			t.Fatal("nothing to pop")
		}
	}
	it, _ := modest.pop(false)
	modest.mu.Lock()
	modest.unpop(it)
	modest.mu.Unlock()
	if got := s.queued.Load(); got != int64(sum()) || got >= total+share {
		t.Errorf("%d bytes are counted, %d wait", got, sum())
	}
	flood.disconnected(1)
	modest.leave()
	if got := s.queued.Load(); got != 0 || sum() != 0 {
		t.Errorf("%d bytes are counted, %d wait, after all have gone", got, sum())
	}
}
