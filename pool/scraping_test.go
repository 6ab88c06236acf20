package pool

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairway-ai/fairway/pool/scrape"
	"github.com/fairway-ai/fairway/scheduler"
	"github.com/fairway-ai/fairway/scheduler/prefix"
)

// TestRateFollowsTraffic runs on the bubble's clock.
func TestRateFollowsTraffic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		p := newPool(t, f)
		p.Set(specsOf(2))
		defer run(t, p)()
		about := func(what string, got, low, high int) {
			t.Helper()
			if got < low || got > high {
				t.Errorf("%s: %d scrapes, want %d to %d", what, got, low, high)
			}
		}
		time.Sleep(50 * time.Millisecond)
		about("at the start", f.count(), 2, 2)
		time.Sleep(80 * time.Second)
		about("80 s idle, 2 endpoints", f.count(), 18, 22)

		p.Active()
		time.Sleep(5 * time.Millisecond)
		about("the first request after idleness", f.count(), 2, 2)

		var fl scheduler.Flight
		fl.Bind(p.Snapshot().Endpoints[0].Load, 1, 1)
		time.Sleep(2 * time.Second) // notice it
		f.count()
		for range 100 {
			p.Active()
			time.Sleep(100 * time.Millisecond)
		}
		about("10 s with requests on one endpoint of two", f.count(), 90+9, 102+12)

		time.Sleep(5 * time.Second)
		f.count()
		time.Sleep(10 * time.Second)
		about("10 s of one long stream, nothing new", f.count(), 95, 105)

		fl.End(time.Now())
		time.Sleep(5 * time.Second)
		f.count()
		time.Sleep(80 * time.Second)
		about("80 s idle again", f.count(), 18, 22)
		p.Active()
		time.Sleep(5 * time.Millisecond)
		about("woken again", f.count(), 2, 2)
		if f.overlap {
			t.Error("an endpoint was scraped twice at the same time")
		}
	})
}

func TestWakingManyIsSpread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		p := newPool(t, f)
		p.Set(specsOf(500))
		defer run(t, p)()
		time.Sleep(5 * time.Second)
		f.count()
		p.Active()
		time.Sleep(10 * time.Millisecond)
		first := f.count()
		time.Sleep(100 * time.Millisecond)
		if rest := f.count(); first >= 250 || first < 32 || first+rest < 500 {
			t.Errorf("%d scrapes in the first 10 ms, then %d; want some at once and all within the interval", first, rest)
		}
	})
}

func TestHangingServerDelaysNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.fetch = func(ctx context.Context, url string) (scrape.Values, error) {
			if strings.Contains(url, "10.0.0.1:") {
				<-ctx.Done()
				return scrape.Values{}, ctx.Err()
			}
			return scrape.Values{Waiting: 7}, nil
		}
		p := newPool(t, f)
		p.Set(specsOf(3))
		defer run(t, p)()
		for range 100 {
			p.Active()
			time.Sleep(100 * time.Millisecond)
		}
		s := p.Snapshot()
		if s.Metrics[0].Known || s.Metrics[0].Unreachable || !s.Metrics[1].Known || s.Metrics[2].Waiting != 7 {
			t.Errorf("metrics %+v", s.Metrics)
		}
		if n := f.countOf("http://10.0.0.2:8000/metrics"); n < 10 {
			t.Errorf("a good endpoint was scraped %d times in 10 s of traffic", n)
		}
		if n := f.countOf("http://10.0.0.1:8000/metrics"); n < 4 || n > 9 {
			t.Errorf("the hanging endpoint was scraped %d times in 10 s, want one after the other", n)
		}
	})
}

func TestFailures(t *testing.T) {
	for name, tc := range map[string]struct {
		err                error
		probe              error
		url                string
		known, unreachable bool // after 60 s
	}{
		"refused":                    {err: errRefused, unreachable: true},
		"500":                        {err: errStatus},
		"garbage":                    {err: scrape.ErrNoSeries},
		"too large":                  {err: scrape.ErrPageTooLarge},
		"timeout":                    {err: errTimeout},
		"reset":                      {err: errOther},
		"metrics elsewhere, refused": {err: errRefused, url: "http://10.9.9.9:1/metrics"},
		"both refused":               {err: errRefused, probe: errRefused, url: "http://10.9.9.9:1/metrics", unreachable: true},
		"probe times out":            {err: errRefused, probe: errTimeout, url: "http://10.9.9.9:1/metrics"},
		"good":                       {known: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f, log := newFake(), new(lines)
				f.probe = tc.probe
				p := newPool(t, f, func(o *Options) { o.Logger = slog.New(slog.NewTextHandler(log, nil)) })
				specs := specsOf(1)
				specs[0].MetricsURL = tc.url
				p.Set(specs)
				defer run(t, p)()
				time.Sleep(50 * time.Millisecond)
				if m := only(t, p); !m.Known || m.Unreachable || m.Running != 1 {
					t.Fatalf("at first: %+v", m)
				}
				f.answer(scrape.Values{Running: 1}, tc.err)
				time.Sleep(60 * time.Second)
				m := only(t, p)
				if m.Known != tc.known || m.Unreachable != tc.unreachable || m.Running != 1 {
					t.Errorf("after a minute: %+v", m)
				}
				if tc.err == nil {
					return
				}
				if n := log.count("cannot be read"); n != 1 {
					t.Errorf("the failure was logged %d times: %q", n, log.all)
				}
				if n, want := log.count("refuses"), map[bool]int{true: 1}[tc.unreachable]; n != want {
					t.Errorf("unreachability was logged %d times", n)
				}
				f.answer(scrape.Values{Running: 2}, nil)
				p.Active()
				time.Sleep(20 * time.Millisecond)
				if m := only(t, p); !m.Known || m.Unreachable || m.Running != 2 {
					t.Errorf("after recovery: %+v", m)
				}
				if n := log.count("read again"); n != 1 {
					t.Errorf("the recovery was logged %d times", n)
				}
			})
		})
	}
}

func TestStalenessFollowsTheInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		p := newPool(t, f)
		p.Set(specsOf(1))
		defer run(t, p)()
		time.Sleep(time.Millisecond) // scraped at 100 us

		// Idle: values live for 8 s + 2 s.
		f.answer(scrape.Values{}, errStatus)
		time.Sleep(9 * time.Second)
		if !only(t, p).Known {
			t.Error("idle: forgotten before the next scrape is due and 2 s more")
		}
		time.Sleep(1200 * time.Millisecond)
		if only(t, p).Known {
			t.Error("idle: still known after 10.2 s")
		}

		// Busy: 100 ms + 2 s.
		var fl scheduler.Flight
		fl.Bind(p.Snapshot().Endpoints[0].Load, 1, 1)
		defer func() { fl.End(time.Now()) }()
		f.answer(scrape.Values{Running: 3}, nil)
		p.Active()
		time.Sleep(3 * time.Second)
		f.answer(scrape.Values{}, errTimeout)
		time.Sleep(1900 * time.Millisecond)
		if !only(t, p).Known {
			t.Error("busy: forgotten within 2 s")
		}
		time.Sleep(300 * time.Millisecond)
		if only(t, p).Known {
			t.Error("busy: still known after 2.2 s")
		}
	})
}

func TestUnreachableIsFoundFast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		p := newPool(t, f)
		p.Set(specsOf(2))
		defer run(t, p)()
		time.Sleep(3 * time.Second)
		slot := p.Snapshot().Endpoints[0].Slot
		chain := []prefix.Block{{Hash: 1, Tokens: 16}}
		p.Index().Insert(slot, chain)
		told := 0
		defer p.OnChange(func(s *scheduler.Snapshot) {
			told++
			if !s.Metrics[0].Unreachable {
				t.Errorf("announced %+v, want the endpoint unreachable", s.Metrics)
			}
		})()
		f.answer(scrape.Values{}, errRefused)
		f.count()
		for range 100 {
			p.Suspect("default/e0")
			p.Suspect("default/unknown")
			time.Sleep(time.Millisecond)
		}
		if n := f.count(); n < 2 || n > 6 {
			t.Errorf("%d scrapes in 100 ms of suspicion, want 2 to 6", n)
		}
		s := p.Snapshot()
		if !s.Metrics[0].Unreachable || s.Metrics[1].Unreachable {
			t.Errorf("after suspicion: %+v", s.Metrics)
		}
		if told != 1 {
			t.Errorf("unreachability was announced %d times, want once", told)
		}
		// A server without a metrics page is there all the same, with a new cache.
		f.answer(scrape.Values{}, &scrape.StatusError{Code: 404})
		p.Suspect("default/e0")
		time.Sleep(50 * time.Millisecond)
		if m := p.Snapshot().Metrics[0]; m.Unreachable {
			t.Errorf("it answers, and is still unreachable: %+v", m)
		}
		if n := p.Index().MatchOne(chain, slot); n != 0 {
			t.Errorf("the index still has %d tokens of a server that was down", n)
		}
	})
}

func TestOneRefusalIsForgiven(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		var n atomic.Int32
		f.fetch = func(context.Context, string) (scrape.Values, error) {
			if n.Add(1)%2 == 0 {
				return scrape.Values{}, errRefused
			}
			return scrape.Values{}, nil
		}
		p := newPool(t, f)
		p.Set(specsOf(1))
		defer run(t, p)()
		for range 300 {
			p.Active()
			time.Sleep(100 * time.Millisecond)
			if only(t, p).Unreachable {
				t.Fatal("a server that refuses every other scrape counts as unreachable")
			}
		}
	})
}

func TestOthers(t *testing.T) {
	for _, tc := range []struct {
		waiting, running, sent     int32
		otherWaiting, otherRunning int32
	}{
		{0, 0, 0, 0, 0},
		{3, 5, 0, 3, 5},
		{3, 5, 8, 0, 0},
		{3, 5, 20, 0, 0},
		{3, 5, 2, 1, 5},
		{3, 5, 4, 0, 4},
		{10, 0, 4, 6, 0},
		{1<<31 - 1, 1<<31 - 1, 0, 0, 1<<31 - 1},
	} {
		w, r := others(scrape.Values{Waiting: tc.waiting, Running: tc.running}, tc.sent)
		if w != tc.otherWaiting || r != tc.otherRunning {
			t.Errorf("others(%d, %d, sent %d) = %d, %d, want %d, %d", tc.waiting, tc.running, tc.sent, w, r, tc.otherWaiting, tc.otherRunning)
		}
	}
}

func TestOthersTakesTheLargerOfOurCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		p := newPool(t, f)
		p.Set(specsOf(1))
		load := p.Snapshot().Endpoints[0].Load
		flights := make([]scheduler.Flight, 3)
		f.fetch = func(context.Context, string) (scrape.Values, error) {
			// Sent while the page is on its way: the page may have them or not.
			for i := range flights {
				flights[i].Bind(load, 1, 1)
				flights[i].Dispatch(time.Now(), 1)
			}
			return scrape.Values{Waiting: 1, Running: 3}, nil
		}
		defer run(t, p)()
		time.Sleep(50 * time.Millisecond)
		if m := only(t, p); m.OtherWaiting != 0 || m.OtherRunning != 1 {
			t.Errorf("others %d, %d, want 0, 1", m.OtherWaiting, m.OtherRunning)
		}
	})
}

func TestCapacityReachesTheIndex(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.answer(scrape.Values{BlockTokens: 16, Blocks: 4}, nil)
		p := newPool(t, f)
		p.Set(specsOf(1))
		chain := make([]prefix.Block, 10)
		for i := range chain {
			chain[i] = prefix.Block{Hash: uint64(i + 1), Tokens: 16}
		}
		slot := p.Snapshot().Endpoints[0].Slot
		p.Index().Insert(slot, chain)
		if n := p.Index().MatchOne(chain, slot); n != 160 {
			t.Fatalf("before the first scrape %d tokens are held, want 160", n)
		}
		defer run(t, p)()
		time.Sleep(50 * time.Millisecond)
		if n := p.Index().MatchOne(chain, slot); n > 64 {
			t.Errorf("%d tokens are held by a cache of 64", n)
		}
	})
}

func TestMetricsArePublishedInBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		p := newPool(t, f, func(o *Options) { o.Rand = nil })
		p.Set(specsOf(200))
		var flights []*scheduler.Flight
		for _, e := range p.Snapshot().Endpoints {
			fl := new(scheduler.Flight)
			fl.Bind(e.Load, 1, 1)
			flights = append(flights, fl)
		}
		defer run(t, p)()
		time.Sleep(time.Second)
		f.count()
		before := p.Snapshot()
		time.Sleep(10 * time.Second)
		after := p.Snapshot()
		if n := f.count(); n < 18_000 {
			t.Errorf("%d scrapes of 200 busy endpoints in 10 s", n)
		}
		if n := after.Version - before.Version; n < 500 || n > 1001 {
			t.Errorf("%d publications in 10 s, want at most one per 10 ms", n)
		}
		if &before.Endpoints[0] != &after.Endpoints[0] {
			t.Error("the endpoints were copied although the membership is the same")
		}
		for _, fl := range flights {
			fl.End(time.Now())
		}
	})
}

func TestEndpointsThatLeaveAreNotScraped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		p := newPool(t, f)
		p.Set(specsOf(3))
		stop := run(t, p)
		time.Sleep(time.Second)
		p.Set(specsOf(1))
		f.count()
		time.Sleep(80 * time.Second)
		if n := f.count(); n < 9 || n > 11 {
			t.Errorf("%d scrapes of one idle endpoint in 80 s", n)
		}
		p.Set(specsOf(2))
		time.Sleep(time.Second)
		if n := f.countOf("http://10.0.0.2:8000/metrics"); n != 1 {
			t.Errorf("the endpoint that came back was scraped %d times", n)
		}
		stop()
		p.Set(specsOf(5))
		time.Sleep(time.Minute)
		if f.countOf("http://10.0.0.5:8000/metrics") != 0 {
			t.Error("scraped after Run had ended")
		}
		// Run may be called again.
		defer run(t, p)()
		time.Sleep(time.Second)
		if f.countOf("http://10.0.0.5:8000/metrics") == 0 {
			t.Error("not scraped by the second Run")
		}
		if err := p.Run(t.Context()); err == nil {
			t.Error("two Runs at once")
		}
	})
}

func TestUnknownEngineIsLoggedOnce(t *testing.T) {
	log := new(lines)
	p := newPool(t, newFake(), func(o *Options) { o.Logger = slog.New(slog.NewTextHandler(log, nil)) })
	specs := specsOf(2)
	specs[0].Labels = map[string]string{scrape.EngineLabel: "llama.cpp"}
	p.Set(specs)
	p.Set(specs[:1])
	if n := log.count("names no known engine"); n != 1 {
		t.Errorf("logged %d times: %q", n, log.all)
	}
}

// TestRealServer goes through sockets: up, down, and up again.
func TestRealServer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	page := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write([]byte("vllm:num_requests_waiting 2\nvllm:cache_config_info{block_size=\"16\",num_gpu_blocks=\"100\"} 1\n"))
	})
	server := &http.Server{Handler: page}
	go func() { _ = server.Serve(l) }()
	client, err := scrape.NewClient(scrape.ClientOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	p := newPool(t, nil, func(o *Options) { o.Scraper = client; o.IdleInterval = MinInterval })
	p.Set([]Spec{{ID: "default/a", Address: address}})
	defer run(t, p)()
	wait := func(what string, ok func(scheduler.Metrics) bool) {
		t.Helper()
		for deadline := time.Now().Add(30 * time.Second); !ok(only(t, p)); time.Sleep(2 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%s: %+v", what, only(t, p))
			}
		}
	}
	wait("up", func(m scheduler.Metrics) bool {
		return m.Known && m.Waiting == 2 && m.OtherWaiting == 2 && m.Blocks == 100
	})
	_ = server.Close()
	wait("down", func(m scheduler.Metrics) bool { return m.Unreachable })
	if l, err = net.Listen("tcp", address); err != nil {
		t.Skipf("the port is taken: %v", err)
	}
	again := &http.Server{Handler: page}
	defer func() { _ = again.Close() }()
	go func() { _ = again.Serve(l) }()
	wait("up again", func(m scheduler.Metrics) bool { return m.Known && !m.Unreachable })
}

func BenchmarkActive(b *testing.B) {
	p := newPool(b, newFake())
	p.Active()
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			p.Active()
		}
	})
}

func BenchmarkPublish1000(b *testing.B) {
	p := newPool(b, newFake())
	p.Set(specsOf(1000))
	b.ReportAllocs()
	for b.Loop() {
		p.mu.Lock()
		p.publishLocked(time.Time{})
		p.mu.Unlock()
	}
}
