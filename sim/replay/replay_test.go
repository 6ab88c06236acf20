package replay

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/fairway-ai/fairway/sim/engine"
	"github.com/fairway-ai/fairway/sim/workload"
)

func generated(t *testing.T, name string, n int) *workload.Workload {
	t.Helper()
	w, err := workload.Generate(name, n, rand.New(rand.NewPCG(1, 1)))
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func config() Config {
	return Config{Engine: engine.Config{Blocks: 596}, Endpoints: 4, Index: Exact, Staleness: 50 * time.Millisecond, Seed: 1}
}

func TestEveryPolicyAnswersEveryRequest(t *testing.T) {
	for _, name := range workload.Names() {
		w := generated(t, name, 400)
		for _, p := range Policies() {
			for _, mode := range []IndexMode{Exact, Approximate} {
				c := config()
				c.Index = mode
				samples, err := Run(context.Background(), w, p, c)
				if err != nil {
					t.Fatalf("%s on %s: %v", p.Name, name, err)
				}
				for i, s := range samples {
					if !s.OK || s.TTFT <= 0 || s.E2E < s.TTFT || s.Cached > s.Prompt || s.Held > s.TTFT {
						t.Fatalf("%s on %s: request %d: %+v", p.Name, name, i, s)
					}
				}
			}
		}
	}
}

func TestReplayIsDeterministic(t *testing.T) {
	w := generated(t, "agents", 500)
	for _, p := range Policies() {
		a, err := Run(context.Background(), w, p, config())
		if err != nil {
			t.Fatal(err)
		}
		b, err := Run(context.Background(), w, p, config())
		if err != nil {
			t.Fatal(err)
		}
		for i := range a {
			if a[i] != b[i] {
				t.Fatalf("%s: request %d: %+v, then %+v", p.Name, i, a[i], b[i])
			}
		}
	}
}

func TestNothingIsLeftInFlight(t *testing.T) {
	for _, p := range Policies() {
		r := newRun(generated(t, "bursts", 600).AtSpeed(3), p, config())
		if err := r.loop(context.Background()); err != nil {
			t.Fatal(err)
		}
		for i, e := range r.routers[0].seats {
			v := e.load.View()
			v.PrefillRate = 0
			if v.Requests != 0 || v.Backlog != 0 || v.Context != 0 || v.Waiting != 0 || v.Prefilling != 0 || v.Dispatched != 0 {
				t.Errorf("%s: endpoint %d still has %+v", p.Name, i, v)
			}
			if n := e.queue.Len(); n != 0 {
				t.Errorf("%s: endpoint %d still holds %d", p.Name, i, n)
			}
		}
	}
}

func TestAnIdleEndpointNeverHolds(t *testing.T) {
	w := generated(t, "unique", 200).AtSpeed(0.01)
	p, err := Find("default")
	if err != nil {
		t.Fatal(err)
	}
	samples, err := Run(context.Background(), w, p[0], config())
	if err != nil {
		t.Fatal(err)
	}
	for i, s := range samples {
		if s.Held != 0 {
			t.Errorf("request %d was held for %v by an idle fleet", i, s.Held)
		}
	}
}

func TestThinkTimeReplayWaitsForTheAnswer(t *testing.T) {
	w := generated(t, "agents", 300)
	p, _ := Find("round-robin")
	r := newRun(w, p[0], config())
	if err := r.loop(context.Background()); err != nil {
		t.Fatal(err)
	}
	if len(r.later) != 0 || r.finished != len(w.Requests) {
		t.Errorf("%d of %d requests ended, %d never sent", r.finished, len(w.Requests), len(r.later))
	}
}

func TestRunStopsWhenCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	p, _ := Find("random")
	if _, err := Run(ctx, generated(t, "unique", 100), p[0], config()); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want context.Canceled", err)
	}
}

func TestFindNamesTheKnownPolicies(t *testing.T) {
	if _, err := Find("defualt"); err == nil || !strings.Contains(err.Error(), "llmd-blend") {
		t.Errorf("error %v should list the policies", err)
	}
}

func TestSummarise(t *testing.T) {
	s := Summarise("p", "w", 1, []Sample{
		{TTFT: time.Second, E2E: 2 * time.Second, Prompt: 100, Cached: 50, OK: true},
		{TTFT: 3 * time.Second, E2E: 4 * time.Second, Prompt: 100, OK: true},
		{Prompt: 100},
	})
	if s.TTFTMean != 2 || s.TTFTP50 != 1 || s.TTFTP90 != 3 || s.E2EMean != 3 || s.HitRate != 0.25 {
		t.Errorf("%+v", s)
	}
	if s.SuccessRate < 0.66 || s.SuccessRate > 0.67 {
		t.Errorf("success rate %v: a request without an answer must count", s.SuccessRate)
	}
}

func TestPlotIsWellFormed(t *testing.T) {
	rows := []Summary{
		Summarise("a<b", "w", 1, []Sample{{TTFT: time.Second, E2E: time.Second, Prompt: 1, OK: true}}),
		Summarise("c", "w", 1),
	}
	for _, rows := range [][]Summary{rows, append(rows, Summarise("a<b", "w", 2, []Sample{{TTFT: time.Second, E2E: time.Second, Prompt: 1, OK: true}}))} {
		var buf bytes.Buffer
		if err := WritePlot(&buf, "a & b", rows); err != nil {
			t.Fatal(err)
		}
		d := xml.NewDecoder(&buf)
		for {
			if _, err := d.Token(); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatal(err)
			}
		}
	}
}
