package epp

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fairway-ai/fairway/epp/config"
	"github.com/fairway-ai/fairway/epp/flowcontrol"
	"github.com/fairway-ai/fairway/epp/kvcache"
	"github.com/fairway-ai/fairway/epp/metrics"
	"github.com/fairway-ai/fairway/extproc"
	"github.com/fairway-ai/fairway/scheduler"
	"github.com/fairway-ai/fairway/scheduler/prefix"
)

// timedPlugins lists the plugins whose times show, and how often each ran.
func timedPlugins(t *testing.T, m *metrics.Metrics) []string {
	t.Helper()
	families, err := m.Registry().Gather()
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, f := range families {
		if f.GetName() != "llm_d_epp_plugin_duration_seconds" {
			continue
		}
		for _, s := range f.Metric {
			labels := map[string]string{}
			for _, l := range s.Label {
				labels[l.GetName()] = l.GetValue()
			}
			out = append(out, fmt.Sprintf("%s %s %s %d", labels["extension_point"], labels["plugin_type"], labels["plugin_name"], s.GetHistogram().GetSampleCount()))
		}
	}
	slices.Sort(out)
	return out
}

// policyOf reads a configuration.
func policyOf(t *testing.T, text string) scheduler.Policy {
	t.Helper()
	c, _, err := config.Load([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return c.Policy
}

// TestTimedPlugins follows a pool from the default policy to a configured one, to
// another, and to its end.
func TestTimedPlugins(t *testing.T) {
	m := metrics.New(metrics.Options{})
	p := newPicker(t, Options{Metrics: m})
	e := newFakePool(3)
	use := func(policy scheduler.Policy) {
		t.Helper()
		if err := p.SetPools([]Pool{{Name: "ns/pool", Endpoints: e, Policy: policy}}); err != nil {
			t.Fatal(err)
		}
	}
	pick := func(n int) {
		t.Helper()
		for range n {
			mustPick(t, p, prompt("r", "m", 100)).Observer.End(time.Now(), extproc.Outcome{Status: 200, Complete: true})
		}
	}
	check := func(when string, want ...string) {
		t.Helper()
		if got := timedPlugins(t, m); !slices.Equal(got, want) {
			t.Errorf("%s:\n got %s\nwant %s", when, strings.Join(got, "\n     "), strings.Join(want, "\n     "))
		}
	}
	use(nil)
	check("before any request")
	pick(2)
	check("with the default policy", "Picker priced priced 2")

	one := policyOf(t, `
plugins:
- {type: decode-filter}
- {name: short, type: queue-scorer}
- {type: no-hit-lru-scorer}
schedulingProfiles: [{name: p, plugins: [{pluginRef: decode-filter}, {pluginRef: short, weight: 2}, {pluginRef: no-hit-lru-scorer}]}]
`)
	use(one)
	check("after a change")
	pick(3)
	ofOne := []string{
		"Filter decode-filter decode-filter 3", "Picker max-score-picker max-score-picker 3", "PreRequest no-hit-lru-scorer no-hit-lru-scorer 3",
		"Scorer no-hit-lru-scorer no-hit-lru-scorer 3", "Scorer queue-scorer short 3",
	}
	check("with a profile", ofOne...)

	// What cannot be put in force leaves nothing behind.
	twice := Pool{Name: "ns/other", Endpoints: newFakePool(1), Policy: policyOf(t, "plugins: [{type: running-requests-size-scorer}]")}
	if err := p.SetPools([]Pool{{Name: "ns/pool", Endpoints: e, Policy: one}, twice, twice}); err == nil {
		t.Fatal("two pools of one name are no error")
	}
	check("after a refused change", ofOne...)

	use(policyOf(t, "plugins: [{type: max-score-picker}, {name: short, type: queue-scorer}]"))
	check("after another change", "Picker max-score-picker max-score-picker 3", "Scorer queue-scorer short 3")
	pick(1)
	check("with another profile", "Picker max-score-picker max-score-picker 4", "Scorer queue-scorer short 4")
	p.Close()
	check("without any pool")
}

// TestTimedHandler: a profile handler is timed with what it asks its deciders.
func TestTimedHandler(t *testing.T) {
	m := metrics.New(metrics.Options{})
	pool := rolePool()
	p := newPicker(t, Options{Metrics: m, Pools: []Pool{{Name: "ns/pool", Endpoints: pool, Policy: policyOf(t, `
plugins:
- {type: always-disagg-pd-decider}
- {name: pd, type: disagg-profile-handler, parameters: {deciders: {prefill: always-disagg-pd-decider}}}
- {type: decode-filter}
- {type: prefill-filter}
- {name: best, type: max-score-picker}
schedulingProfiles:
- {name: decode, plugins: [{pluginRef: decode-filter}, {pluginRef: best}]}
- {name: prefill, plugins: [{pluginRef: prefill-filter}, {pluginRef: best}]}
`)}}})
	mustPick(t, p, prompt("r", "m", 100))
	want := []string{
		"Filter decode-filter decode-filter 1", "Filter prefill-filter prefill-filter 1", "Picker max-score-picker best 2",
		"ProfilePicker disagg-profile-handler pd 3",
	}
	if got := timedPlugins(t, m); !slices.Equal(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
}

// TestTimedAdmitter: the admitter is timed whatever it decides, and only where there is
// one.
func TestTimedAdmitter(t *testing.T) {
	probabilistic := flowcontrol.DefaultProbabilistic()
	for _, tc := range []struct {
		shed *flowcontrol.Shedder
		want []string
	}{
		{&flowcontrol.Shedder{Probabilistic: &probabilistic}, []string{"Admission probabilistic-admitter probabilistic-admitter 1", "Picker priced priced 1"}},
		{&flowcontrol.Shedder{}, []string{"Picker priced priced 1"}},
	} {
		m := metrics.New(metrics.Options{})
		mustPick(t, newPicker(t, Options{Metrics: m, Pools: onePool(newFakePool(1)), Shed: tc.shed}), prompt("r", "m", 100))
		if got := timedPlugins(t, m); !slices.Equal(got, tc.want) {
			t.Errorf("got %q\nwant %q", got, tc.want)
		}
	}
}

// TestTimedTokens: what a prompt's tokens took shows where they were asked for, found or
// not, and then also the lookup by them.
func TestTimedTokens(t *testing.T) {
	keys := []prefix.Block{{Hash: 7, Tokens: 16}}
	const tokens, exact = "DataProducer token-producer token-producer 1", "DataProducer precise-prefix-cache-producer precise-prefix-cache-producer 1"
	for _, tc := range []struct {
		cache *fakeCache
		want  []string
	}{
		{&fakeCache{wanted: true, held: map[int32]int64{0: 16}, found: kvcache.Found{Keys: keys, Tokens: 20}}, []string{exact, tokens, "Picker priced priced 1"}},
		{&fakeCache{wanted: true, unknown: true}, []string{tokens, "Picker priced priced 1"}},
		{&fakeCache{}, []string{"Picker priced priced 1"}},
	} {
		m := metrics.New(metrics.Options{})
		req := prompt("r", "m", 100)
		req.Path = "/v1/chat/completions"
		req.SetBody([]byte("{}"))
		mustPick(t, newPicker(t, Options{Metrics: m, Pools: []Pool{{Name: "ns/pool", Endpoints: newFakePool(1), Cache: tc.cache}}}), req)
		if got := timedPlugins(t, m); !slices.Equal(got, tc.want) {
			t.Errorf("got %q\nwant %q", got, tc.want)
		}
	}
}
