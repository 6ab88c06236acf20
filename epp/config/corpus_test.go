package config

import (
	"bytes"
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/fairway-ai/fairway/scheduler"
	"github.com/fairway-ai/fairway/scheduler/prefix"
)

var rewrite = flag.Bool("rewrite", false, "write what the corpus produces into testdata")

// TestCorpus loads every configuration in testdata/corpus and routes with it. What it
// warns of, and where requests go, is in the file of the same name that ends in .txt;
// run with -rewrite after a change, and read the difference. A file whose first line
// is "# experimental" needs what that allows.
func TestCorpus(t *testing.T) {
	files, err := filepath.Glob("testdata/corpus/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no corpus: %v", err)
	}
	used := map[string]bool{}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yaml"), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for typ := range newRegistry() {
				if bytes.Contains(data, []byte("type: "+typ+"\n")) {
					used[typ] = true
				}
			}
			experimental := bytes.HasPrefix(data, []byte("# experimental\n"))
			c, warnings, err := Options{Experimental: experimental}.Load(data)
			if err != nil {
				t.Fatal(err)
			}
			if _, _, err := Load(data); experimental == (err == nil) {
				t.Errorf("without experimental plugins: %v", err)
			}
			golden := strings.TrimSuffix(file, ".yaml") + ".txt"
			got := routed(t, c, warnings)
			again(t, data, c, experimental)
			if *rewrite {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
	for typ := range newRegistry() {
		if !used[typ] {
			t.Errorf("no file of the corpus declares %s", typ)
		}
	}
}

// again prints what is in effect with a configuration, and loads that, which must
// route alike.
func again(t *testing.T, data []byte, c *Config, experimental bool) {
	t.Helper()
	text, _, err := Options{Experimental: experimental}.Explain(data)
	if err != nil {
		t.Fatal(err)
	}
	if c.FlowControl != nil {
		return // its section is written out in full, not as a file has it
	}
	effective, _, err := Options{Experimental: experimental}.Load(text)
	if err != nil {
		t.Fatalf("what is in effect cannot be loaded: %v\n%s", err, text)
	}
	// Policies remember: both begin anew.
	before, _, err := Options{Experimental: experimental}.Load(data)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(routed(t, before, nil), routed(t, effective, nil)); diff != "" {
		t.Errorf("what is in effect routes otherwise (-file +effect):\n%s%s", diff, text)
	}
	if names := c.NeedsRestart(effective); len(names) > 0 {
		t.Errorf("what is in effect differs in %v:\n%s", names, text)
	}
	if before, after := c.Metrics.Attributes(), effective.Metrics.Attributes(); !slices.Equal(before, after) {
		t.Errorf("custom metrics %v in effect, want %v", after, before)
	}
}

// corpusRequests are routed with every configuration, in this order: the second has
// the first one's prompt cached where that went, and the last an image of the third's.
func corpusRequests() []*scheduler.Request {
	blocks := make([]prefix.Block, 20)
	for i := range blocks {
		blocks[i] = prefix.Block{Hash: uint64(i+1) * 0x9e3779b97f4a7c15, Tokens: 64}
	}
	headers := func(pairs ...string) func(string) string {
		return func(name string) string {
			if i := slices.Index(pairs, name); i >= 0 {
				return pairs[i+1]
			}
			return ""
		}
	}
	return []*scheduler.Request{
		{ID: "long", PromptTokens: 1280, Blocks: blocks, Header: headers("cookie", "sid=one", "x-preferred-zone", "b", "x-my-agent-session", "one")},
		{ID: "again", PromptTokens: 1280, Blocks: blocks, Header: headers("cookie", "sid=one", "x-preferred-zone", "b", "x-my-agent-session", "one")},
		{ID: "pictures", PromptTokens: 600, Images: 1, Media: []uint64{7}, Model: "sql-adapter", Header: headers("epp-profile", "prefill", "epp-phase", "prefill")},
		{ID: "short", PromptTokens: 20, MaxOutputTokens: 5, Header: headers()},
		{ID: "same pictures", PromptTokens: 1200, Images: 2, Media: []uint64{7, 8}, Header: headers()},
	}
}

// corpusSnapshot is a pool in which the plugins of the corpus find what they read.
func corpusSnapshot(index *prefix.Index) *scheduler.Snapshot {
	s := &scheduler.Snapshot{}
	for i, e := range []struct {
		role, zone, lengths string
		m                   scheduler.Metrics
	}{
		{"prefill", "a", "0-1000", scheduler.Metrics{Waiting: 1}},
		{"prefill", "b", "1000-9000", scheduler.Metrics{Waiting: 2, Running: 1}},
		{"encode", "a", "0-9000", scheduler.Metrics{MaxLoRA: 1, ActiveLoRA: []string{"sql-adapter"}}},
		{"decode", "a", "0-1000", scheduler.Metrics{Waiting: 9, KVUsage: 0.97, Custom: []float64{7, 90}}},
		{"decode", "b", "1000-9000", scheduler.Metrics{Running: 3, KVUsage: 0.5, Custom: []float64{2, math.NaN()}}},
		{"decode", "a", "", scheduler.Metrics{Running: 4, KVUsage: 0.25, Custom: []float64{9, 60}}},
	} {
		labels := map[string]string{"llm-d.ai/role": e.role, "topology.kubernetes.io/zone": e.zone}
		if e.lengths != "" {
			labels["llm-d.ai/context-length-range"] = e.lengths
		}
		e.m.Known = true
		s.Endpoints = append(s.Endpoints, scheduler.Endpoint{
			ID: fmt.Sprintf("ns/%s-%d", e.role, i), Address: fmt.Sprintf("10.0.0.%d:8000", i+1), Slot: int32(i),
			Labels: labels, Load: new(scheduler.Load),
		})
		s.Metrics = append(s.Metrics, e.m)
		s.Slots++
		index.AddEndpoint(int32(i), 1<<20)
	}
	return s
}

// routed is a configuration's warnings and decisions as text.
func routed(t *testing.T, c *Config, warnings []Warning) string {
	var out strings.Builder
	for _, w := range warnings {
		fmt.Fprintf(&out, "warning: %v\n", w)
	}
	index := prefix.New(prefix.Options{Shards: 1})
	snap := corpusSnapshot(index)
	policy := c.Policy
	if policy == nil {
		policy = scheduler.Priced{Alternatives: 1}
	}
	s := scheduler.New(policy, index)
	now := time.Unix(1000, 0)
	for i, req := range corpusRequests() {
		req.Seed, req.Now = uint64(i+1), now
		var dec scheduler.Decision
		if err := s.Schedule(req, snap, &dec, nil); err != nil {
			fmt.Fprintf(&out, "%s: %v\n", req.ID, err)
			continue
		}
		ids := func(list []int32) string {
			var names []string
			for _, i := range list {
				names = append(names, strings.TrimPrefix(snap.Endpoints[i].ID, "ns/"))
			}
			return strings.Join(names, ", ")
		}
		fmt.Fprintf(&out, "%s: %s", req.ID, ids(dec.Ranked))
		if len(dec.Prefill) > 0 {
			fmt.Fprintf(&out, "; prefill %s", ids(dec.Prefill))
		}
		if len(dec.Encode) > 0 {
			fmt.Fprintf(&out, "; encode %s", ids(dec.Encode))
		}
		if dec.Port != 0 {
			fmt.Fprintf(&out, "; port %d", dec.Port)
		}
		if dec.Output != 0 {
			fmt.Fprintf(&out, "; output %d", dec.Output)
		}
		fmt.Fprintln(&out)
		index.Insert(snap.Endpoints[dec.Ranked[0]].Slot, req.Blocks)
	}
	if st, ok := policy.(scheduler.Stamper); ok {
		for _, s := range st.Stamps() {
			fmt.Fprintf(&out, "stamp %s: profile %q, label %q\n", s.Header, s.Profile, s.Label)
		}
	}
	return out.String()
}
