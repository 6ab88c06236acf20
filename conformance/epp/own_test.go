package epp

import (
	"context"
	"crypto/tls"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthgrpc "google.golang.org/grpc/health/grpc_health_v1"

	fairway "github.com/fairway-ai/fairway/epp"
	"github.com/fairway-ai/fairway/extproc"
	"github.com/fairway-ai/fairway/scheduler"
	"github.com/fairway-ai/fairway/scheduler/prefix"
)

// pickAll picks every eligible endpoint, in order.
type pickAll struct{}

func (pickAll) Pick(_ context.Context, r *extproc.Request) (extproc.Pick, error) {
	eligible := slices.DeleteFunc(slices.Clone(testEndpoints), func(e string) bool {
		return r.HasSubset && !slices.Contains(r.Subset, e)
	})
	if len(eligible) == 0 {
		return extproc.Pick{}, &extproc.Rejection{Status: 503, Code: "no_endpoints", Message: "no endpoints"}
	}
	return extproc.Pick{Destinations: strings.Join(eligible, ",")}, nil
}

func TestOurServerConforms(t *testing.T) {
	t.Parallel()
	s := extproc.New(pickAll{}, extproc.Options{Log: slog.New(slog.DiscardHandler)})
	g := grpc.NewServer(s.ServerOptions()...)
	s.Register(g)
	h := health.NewServer()
	for _, x := range healthServices {
		h.SetServingStatus(x.service, healthgrpc.HealthCheckResponse_SERVING)
	}
	healthgrpc.RegisterHealthServer(g, h)
	r, err := Run(t.Context(), Options{Target: serve(t, g), Endpoints: testEndpoints, Timeout: patience}, nil)
	if err != nil {
		t.Fatal(err)
	}
	allPass(t, &r)
}

// fixedPool is a pool whose endpoints do not change.
type fixedPool struct{ snapshot *scheduler.Snapshot }

func newFixedPool() fixedPool {
	s := &scheduler.Snapshot{Metrics: make([]scheduler.Metrics, len(testEndpoints)), Slots: len(testEndpoints)}
	for i, a := range testEndpoints {
		s.Endpoints = append(s.Endpoints, scheduler.Endpoint{ID: "ns/" + a, Address: a, Slot: int32(i), Load: new(scheduler.Load)})
	}
	return fixedPool{s}
}

func (p fixedPool) Snapshot() *scheduler.Snapshot           { return p.snapshot }
func (fixedPool) Index() *prefix.Index                      { return nil }
func (fixedPool) Active()                                   {}
func (fixedPool) OnChange(func(*scheduler.Snapshot)) func() { return func() {} }
func (fixedPool) Suspect(string)                            {}

func TestOurPickerConforms(t *testing.T) {
	t.Parallel()
	cert, err := fairway.SelfSignedTLS(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	pool := newFixedPool()
	picker, err := fairway.New(fairway.Options{Pools: []fairway.Pool{{Name: "ns/pool", Endpoints: pool}}, Hold: true, Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	s, err := fairway.NewServer(fairway.ServerOptions{
		Picker: picker, GRPCAddr: "127.0.0.1:0", TLS: cert, HealthAddr: "127.0.0.1:0", DrainTimeout: 5 * time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
		for _, e := range pool.snapshot.Endpoints {
			v := e.Load.View()
			v.PrefillRate = 0
			if v != (scheduler.LoadView{}) {
				t.Errorf("%s: %+v left in flight, want nothing", e.ID, v)
			}
		}
	})
	s.SetReady(true)
	target, healthTarget, _ := s.Addrs()
	o := Options{Target: target.String(), HealthTarget: healthTarget.String(), TLS: &tls.Config{InsecureSkipVerify: true}, Endpoints: testEndpoints, Timeout: patience}
	r, err := Run(t.Context(), o, nil)
	if err != nil {
		t.Fatal(err)
	}
	allPass(t, &r)
}
