package replicas

import (
	"errors"
	"log/slog"
	"math"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/fairway-ai/fairway/scheduler"
)

// still is a replica that does not run: a test gives it frames and moves its clock.
type still struct {
	*Replicas
	t      *testing.T
	picker *fakePicker
	at     time.Time
	seq    uint64
}

func newStill(t *testing.T, endpoints int) *still {
	t.Helper()
	s := &still{t: t, picker: newFakePicker(endpoints), at: time.Unix(1e9, 0)}
	r, err := New(Options{ID: "b", Peers: Fixed{}, Listen: "127.0.0.1:0", Now: func() time.Time { return s.at }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	s.Replicas = r
	r.picker = s.picker
	r.directory.refresh(s.picker)
	return s
}

// says has another replica tell its totals on an endpoint, 50 ms after the last time.
func (s *still) says(id string, stream uint64, at int, w scheduler.Work) {
	s.t.Helper()
	s.seq++
	f := &frame{sequence: s.seq, work: []work{{endpoint: s.directory.byLoad[s.picker.load(at)].key, Work: w}}}
	if !s.apply(id, stream, f) {
		s.t.Fatal("the stream does not count")
	}
	s.look()
}

func (s *still) look() {
	s.at = s.at.Add(estimateEvery)
	s.estimateLocked(s.at, estimateEvery-s.o.Interval)
}

// unseen is the largest estimate of any endpoint.
func (s *still) unseen() (tokens int64, requests float64) {
	for i := range s.picker.snap.Endpoints {
		v := s.picker.load(i).View()
		tokens, requests = max(tokens, v.UnseenTokens), max(requests, v.UnseenRequests)
	}
	return tokens, requests
}

// TestUnseenOfLongLives: what a replica has done before it was heard of says nothing of
// what it does now, whether it is new here, was cut off for a while, or lies.
func TestUnseenOfLongLives(t *testing.T) {
	s := newStill(t, 4)
	s.look()
	was := scheduler.Work{Sent: 5e9, Prompts: 4e6}
	join := func(incarnation, stream uint64) {
		s.joinLocked(s.at, &hello{1, "a", incarnation}, stream)
	}
	few := func(what string) {
		t.Helper()
		if tokens, requests := s.unseen(); tokens > 1000 || requests > 2 {
			t.Errorf("%s: %d tokens and %.1f requests may be on their way", what, tokens, requests)
		}
	}
	join(1, 1)
	s.says("a", 1, 0, was)
	few("after it joined")
	steady := func(stream uint64) {
		for range 200 { // 500 tokens and a request in each 50 ms
			was.Sent, was.Prompts = was.Sent+500, was.Prompts+1
			s.says("a", stream, 0, was)
		}
		if tokens, requests := s.unseen(); tokens < 450 || tokens > 520 || requests < 0.9 || requests > 1.05 {
			t.Errorf("%d tokens and %.2f requests may be on their way, want 500 and 1", tokens, requests)
		}
	}
	steady(1)
	s.leave("a", 1)
	s.look()
	join(1, 2)
	s.says("a", 2, 0, was)
	few("after a cut")
	steady(2)
	s.picker.set("ns/pod-0", "ns/pod-1", "ns/new", "ns/pod-2", "ns/pod-3")
	s.says("a", 2, 0, was)
	few("after an endpoint came")
	steady(2)
	join(2, 3)
	was = scheduler.Work{}
	s.says("a", 3, 0, was)
	few("in its next life")
	steady(3)

	s.says("a", 3, 1, scheduler.Work{Sent: math.MaxInt64, Prompts: math.MaxInt64})
	s.says("a", 3, 1, scheduler.Work{Sent: -1})
	s.says("a", 3, 1, scheduler.Work{Sent: math.MaxInt64, Prompts: math.MaxInt64})
	s.leave("a", 3)
	s.joinLocked(s.at, &hello{1, "c", 1}, 4)
	for range 400 { // 20 s
		s.says("c", 4, 1, scheduler.Work{Sent: 1})
	}
	few("20 s after a lie")
}

// TestSmallFramesAreSmall: no message, however made, becomes much more memory than it
// was itself.
func TestSmallFramesAreSmall(t *testing.T) {
	repeated := func(n protowire.Number, body []byte, size int) []byte {
		one := protowire.AppendBytes(protowire.AppendTag(nil, n, protowire.BytesType), body)
		var m []byte
		for len(m)+len(one) <= size {
			m = append(m, one...)
		}
		return m
	}
	hello := appendHello(nil, &hello{1, "x", 1})
	_, _, tag := protowire.ConsumeTag(hello)
	_, n := protowire.ConsumeBytes(hello[tag:])
	body := hello[len(hello)-n+1:]
	for name, m := range map[string][]byte{
		"work of nothing":      repeated(frameWork, nil, maxFrame),
		"work of no endpoint":  repeated(frameWork, appendVarint(nil, 2, 1), maxFrame),
		"work of an endpoint":  repeated(frameWork, appendFixed(nil, 1, 1), maxFrame),
		"prompts of nothing":   repeated(framePrompt, nil, maxFrame),
		"prompts without text": repeated(framePrompt, appendFixed(nil, 1, 1), maxFrame),
		"many hellos":          repeated(frameHello, body, maxFrame),
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		f, err := decodeFrame(m)
		runtime.ReadMemStats(&after)
		if grown := after.TotalAlloc - before.TotalAlloc; grown > 64<<20 {
			t.Errorf("%s: %d MiB for a frame of %d MiB (%d totals, %d prompts)", name, grown>>20, len(m)>>20, len(f.work), len(f.prompts))
		}
		if err != nil && !errors.Is(err, errWire) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// lines is a log that may be read while it is written.
type lines struct {
	mu sync.Mutex
	strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.Builder.Write(p)
}

func (l *lines) have(s string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Contains(l.Builder.String(), s)
}

// TestDeafReplica: a replica that acknowledges nothing any more, as one whose node is gone,
// is connected to anew; how long it is silent says nothing of when the others hear.
func TestDeafReplica(t *testing.T) {
	w := newWire(t)
	m := newMembers()
	var said lines
	a := start(t, "a", 1, m, 2, func(o *Options) { o.Log = slog.New(slog.NewTextHandler(&said, nil)) })
	b, c := start(t, "b", 1, newMembers(), 2), start(t, "c", 1, newMembers(), 2)
	w.target(b.address())
	m.set(w.on.Addr().String(), c.address())
	eventually(t, "both are told", func() bool { return linked(a.Replicas) == 2 && b.known() == 1 && c.known() == 1 })
	release := w.hold()
	var f scheduler.Flight
	f.Bind(a.picker.load(0), 900, 900)
	f.Dispatch(time.Now(), 900)
	waits := func() (late time.Duration) {
		a.mu.Lock()
		defer a.mu.Unlock()
		for _, l := range a.links {
			late = max(late, l.lagAt(a.o.Now()))
		}
		return late
	}
	eventually(t, "something is on its way to b", func() bool { return waits() > 5*a.o.Interval })
	a.clock.advance(time.Minute)
	eventually(t, "b is given up", func() bool { return linked(a.Replicas) == 1 })
	eventually(t, "it is told why", func() bool { return said.have("replica cannot be told") })
	if !said.have(errDeaf.Error()) {
		t.Errorf("b was given up for another reason: %s", said.String())
	}
	eventually(t, "c is told, and in time", func() bool {
		lag := gauge(t, a.reg, "fairway_replica_lag_seconds", "")
		return inFlight(c.picker.load(0)).Requests == 1 && lag < 1
	})
	release()
	eventually(t, "b is told again", func() bool {
		return linked(a.Replicas) == 2 && inFlight(b.picker.load(0)).Requests == 1
	})
	f.End(time.Now())
}
