package epp

import (
	"context"
	"testing"
	"time"

	"github.com/fairway-ai/fairway/extproc"
	"github.com/fairway-ai/fairway/pool"
	"github.com/fairway-ai/fairway/pool/file"
	"github.com/fairway-ai/fairway/scheduler"
)

func filePool(name string, models []string, addresses ...string) file.PoolConfig {
	c := file.PoolConfig{Name: name, Namespace: "ns", Models: models}
	for _, a := range addresses {
		c.Specs = append(c.Specs, pool.Spec{ID: "ns/" + a, Address: a})
	}
	return c
}

func TestPoolSetFollowsTheFile(t *testing.T) {
	p := newPicker(t, Options{Hold: true})
	made := 0
	s := NewPoolSet(PoolSetOptions{Picker: p, Policy: func() scheduler.Policy { made++; return scheduler.Priced{} }})
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error)
	apply := func(pools ...file.PoolConfig) {
		t.Helper()
		if err := s.Apply(&file.Config{Pools: pools}); err != nil {
			t.Fatal(err)
		}
	}
	apply(filePool("a", nil, "127.0.0.1:1"), filePool("b", []string{"b"}, "127.0.0.1:2"))
	go func() { done <- s.Run(ctx) }()
	a := s.Pool("ns/a")
	pick := mustPick(t, p, prompt("r", "x", 10))
	if pick.Destinations != "127.0.0.1:1" {
		t.Errorf("destinations %q", pick.Destinations)
	}
	apply(filePool("a", nil, "127.0.0.1:3", "127.0.0.1:1"), filePool("c", []string{"c"}, "127.0.0.1:4"))
	if s.Pool("ns/a") != a || s.Pool("ns/b") != nil || s.Pool("ns/c") == nil {
		t.Error("the pools are not those of the file, or the one that stayed was replaced")
	}
	if made != 3 {
		t.Errorf("%d policies made, want one for each pool that appeared", made)
	}
	if v := a.Snapshot().Endpoints[1].Load.View(); v.Requests != 1 {
		t.Errorf("the endpoint that stayed has %d requests, want the one in flight", v.Requests)
	}
	if err := s.Apply(&file.Config{Pools: []file.PoolConfig{
		filePool("x", []string{"m"}, "127.0.0.1:5"), filePool("y", []string{"m"}, "127.0.0.1:6"),
	}}); err == nil || s.Pool("ns/a") != a || s.Pool("ns/x") != nil {
		t.Errorf("error %v; want a refusal that changes nothing", err)
	}
	pick.Observer.End(time.Now(), extproc.Outcome{})
	drained(t, a.Snapshot().Endpoints)
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
