package epp

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
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

func poolConfig(name string, age int, models []string, addresses ...string) PoolConfig {
	c := PoolConfig{Name: "ns/" + name, Created: time.Unix(int64(1000-age), 0), Models: models}
	for _, a := range addresses {
		c.Specs = append(c.Specs, pool.Spec{ID: "ns/" + a, Address: a})
	}
	return c
}

func TestPoolSetChangesOnePoolAtATime(t *testing.T) {
	p := newPicker(t, Options{Hold: true})
	made := 0
	s := NewPoolSet(PoolSetOptions{Picker: p, Policy: func() scheduler.Policy { made++; return scheduler.Priced{} }})
	s.Update([]PoolConfig{poolConfig("a", 2, nil, "127.0.0.1:1"), poolConfig("b", 1, []string{"m"}, "127.0.0.1:2")}, nil)
	routeOf := func(name string) *route { return p.routes.Load().byName[name] }
	a, routeA, all := s.Pool("ns/a"), routeOf("ns/a"), p.routes.Load()
	s.SetPool(poolConfig("a", 2, nil, "127.0.0.1:1", "127.0.0.1:3"))
	if p.routes.Load() != all {
		t.Error("a change of endpoints made new routes")
	}
	if n := len(a.Snapshot().Endpoints); n != 2 {
		t.Errorf("%d endpoints, want 2", n)
	}
	s.SetPool(poolConfig("b", 1, []string{"m", "n"}, "127.0.0.1:2"))
	if routeOf("ns/a") != routeA || s.Pool("ns/a") != a || made != 2 {
		t.Errorf("a change of one pool made another anew (%d policies)", made)
	}
	if r, err := p.routes.Load().find("", "n"); err != nil || r.name != "ns/b" {
		t.Errorf("the new model leads to %v %v", r, err)
	}
	s.RemovePool("ns/b")
	s.RemovePool("ns/never")
	if s.Pool("ns/b") != nil || routeOf("ns/b") != nil {
		t.Error("the pool is still there")
	}
}

func TestPoolSetLeavesAModelToTheOlderPool(t *testing.T) {
	p := newPicker(t, Options{})
	var log bytes.Buffer
	s := NewPoolSet(PoolSetOptions{Picker: p, Log: slog.New(slog.NewTextHandler(&log, nil))})
	leads := func(model, want string) {
		t.Helper()
		got := ""
		if r, err := p.routes.Load().find("", model); err == nil {
			got = r.name
		}
		if got != want {
			t.Errorf("%q leads to %q, want %q\n%s", model, got, want, &log)
		}
	}
	s.SetPool(poolConfig("young", 1, []string{"m", "y"}, "127.0.0.1:1"))
	leads("m", "ns/young")
	s.SetPool(poolConfig("z-old", 9, []string{"m"}, "127.0.0.1:2"))
	leads("m", "ns/z-old")
	leads("y", "ns/young")
	s.SetPool(poolConfig("thief", 2, []string{"m"}, "127.0.0.1:3"))
	leads("other", "")
	leads("m", "ns/z-old")
	if n := strings.Count(log.String(), "served by an older pool"); n != 2 {
		t.Errorf("%d warnings, want one for each pool:\n%s", n, &log)
	}
	s.RemovePool("ns/z-old")
	leads("m", "ns/thief")
}

func BenchmarkPoolSetOneOfAThousand(b *testing.B) {
	p, err := New(Options{})
	if err != nil {
		b.Fatal(err)
	}
	s := NewPoolSet(PoolSetOptions{Picker: p})
	var all []PoolConfig
	for i := range 1000 {
		all = append(all, poolConfig(fmt.Sprint(i), i, []string{fmt.Sprint("m", i)}, fmt.Sprintf("127.0.0.1:%d", i+1)))
	}
	s.Update(all, nil)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		c := all[i%1000]
		c.Models = []string{fmt.Sprint("n", i)}
		s.SetPool(c)
	}
}

// TestSetPolicy: requests under way end with what they began with, and nothing of what
// is known of the endpoints is lost.
func TestSetPolicy(t *testing.T) {
	p := newPicker(t, Options{Hold: true})
	s := NewPoolSet(PoolSetOptions{Picker: p})
	if err := s.Apply(&file.Config{Pools: []file.PoolConfig{filePool("a", nil, "127.0.0.1:1", "127.0.0.1:2")}}); err != nil {
		t.Fatal(err)
	}
	a := s.Pool("ns/a")
	index := a.Index()
	first := mustPick(t, p, prompt("r1", "x", 10))
	before := p.routes.Load().byName["ns/a"]
	made := 0
	if err := s.SetPolicy(func() scheduler.Policy { made++; return scheduler.NewProfile("mine", nil, nil, only("127.0.0.1:2")) }); err != nil {
		t.Fatal(err)
	}
	after := p.routes.Load().byName["ns/a"]
	if before == after || before.state != after.state || after.index != index || s.Pool("ns/a") != a || !before.hold || after.hold {
		t.Error("want a new route with the state and the index of the one before")
	}
	total := func() (n int64) {
		for _, e := range a.Snapshot().Endpoints {
			n += int64(e.Load.View().Requests)
		}
		return n
	}
	if total() != 1 {
		t.Errorf("%d requests in flight, want the one that began before", total())
	}
	if pick := mustPick(t, p, prompt("r2", "x", 10)); pick.Destinations != "127.0.0.1:2" {
		t.Errorf("destinations %q, want those of the new policy", pick.Destinations)
	} else {
		pick.Observer.End(time.Now(), extproc.Outcome{})
	}
	first.Observer.End(time.Now(), extproc.Outcome{})
	if total() != 0 {
		t.Errorf("%d requests in flight after the end", total())
	}
	// A pool that comes later has it, too; and nil leads back to the default.
	s.SetPool(PoolConfig{Name: "ns/b", Models: []string{"b"}, Specs: []pool.Spec{{ID: "ns/x", Address: "127.0.0.1:3"}}})
	if made != 2 {
		t.Errorf("%d policies made, want one for each pool", made)
	}
	if err := s.SetPolicy(nil); err != nil {
		t.Fatal(err)
	}
	if r := p.routes.Load().byName["ns/b"]; r.policy != nil || !r.hold {
		t.Error("want the default policy back")
	}
}

// only picks one address.
type only string

func (o only) Name() string { return "only" }

func (o only) Pick(c *scheduler.Cycle, _ []float32) []int32 {
	for i := range c.Snapshot.Endpoints {
		if c.Snapshot.Endpoints[i].Address == string(o) {
			return []int32{int32(i)}
		}
	}
	return nil
}
