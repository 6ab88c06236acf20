package config

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/fairway-ai/fairway/scheduler"
)

// TestTimedParts: what times a policy knows its plugins by the types and names of the file.
func TestTimedParts(t *testing.T) {
	c, _ := load(t, `
plugins:
- {name: decoders, type: decode-filter}
- {name: q1, type: queue-scorer}
- {name: q2, type: queue-scorer}
- {type: no-hit-lru-scorer}
- {name: mine, type: weighted-random-picker}
- {type: inflight-load-producer, parameters: {addEstimatedOutputTokens: true}}
schedulingProfiles:
- {name: p, plugins: [{pluginRef: q2}, {pluginRef: decoders}, {pluginRef: mine}, {pluginRef: q1}, {pluginRef: no-hit-lru-scorer}]}
`)
	var got []string
	for _, p := range scheduler.Parts(c.Policy) {
		got = append(got, fmt.Sprintf("%s %s %s", p.Point, p.Type, p.Name))
	}
	want := []string{
		"DataProducer precise-prefix-cache-producer precise-prefix-cache-producer",
		"DataProducer approx-prefix-cache-producer approx-prefix-cache-producer",
		"Filter decode-filter decoders", "Scorer queue-scorer q2", "Scorer queue-scorer q1", "Scorer no-hit-lru-scorer no-hit-lru-scorer",
		"Picker weighted-random-picker mine", "PreRequest no-hit-lru-scorer no-hit-lru-scorer",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestHandlersAreTimed: a policy of every profile handler tells of its profiles' plugins.
func TestHandlersAreTimed(t *testing.T) {
	n := 0
	for typ, f := range newRegistry() {
		if f.kind != kindHandler || typ == "single-profile-handler" {
			continue
		}
		n++
		list := "- {name: decode, plugins: [{pluginRef: queue-scorer}]}\n"
		if typ != "data-parallel-profile-handler" {
			list += "- {name: prefill, plugins: [{pluginRef: queue-scorer}]}\n"
		}
		c, _, err := Options{Experimental: true}.Load([]byte("plugins:\n- {type: queue-scorer}\n- {type: prefix-based-pd-decider}\n- {name: h, type: " + typ + "}\nschedulingProfiles:\n" + list))
		if err != nil {
			t.Errorf("%s: %v", typ, err)
			continue
		}
		scorers := 0
		for _, p := range scheduler.Parts(c.Policy) {
			if p.Point == scheduler.PointScorer && p.Type == "queue-scorer" {
				scorers++
			}
			if p.Point == scheduler.PointHandler && p.Name != "h" {
				t.Errorf("%s: its name is %q", typ, p.Name)
			}
		}
		if want := strings.Count(list, "\n"); scorers != want {
			t.Errorf("%s: %d scorers are timed, want %d: its policy must implement scheduler.Handler", typ, scorers, want)
		}
	}
	if n < 4 {
		t.Errorf("only %d handlers", n)
	}
}
