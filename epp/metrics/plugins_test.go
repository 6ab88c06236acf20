package metrics

import (
	"strings"
	"testing"
	"time"

	"github.com/fairway-ai/fairway/scheduler"
)

const pluginMetric = "llm_d_epp_plugin_duration_seconds"

func scorerPart(name string) scheduler.Part {
	return scheduler.Part{Point: scheduler.PointScorer, Type: "queue-scorer", Name: name}
}

// laps is how often a plugin has run, as the metrics show it; -1 where they do not.
func laps(t *testing.T, m *Metrics, name string) int {
	t.Helper()
	n := -1
	families, err := m.Registry().Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, s := range f.Metric {
			for _, l := range s.Label {
				if f.GetName() == pluginMetric && l.GetName() == "plugin_name" && l.GetValue() == name {
					n = max(n, 0) + int(s.GetHistogram().GetSampleCount())
				}
			}
		}
	}
	return n
}

func TestPluginTimes(t *testing.T) {
	m := New(Options{Legacy: true})
	var now time.Duration
	watch := m.PluginTimes([]scheduler.Part{scorerPart("a"), scorerPart("b"), scorerPart("a")}, func() time.Duration { return now })
	now = time.Hour
	since := watch.Lap(-1, 0)
	if since != time.Hour {
		t.Fatalf("the moment is %v", since)
	}
	// A bound belongs to its bucket; a clock that goes back is taken to stand still.
	for _, lap := range []struct {
		part int
		took time.Duration
	}{{0, time.Microsecond}, {2, time.Microsecond + 1}, {0, 100 * time.Microsecond}, {2, time.Minute}, {0, -time.Second}} {
		now += lap.took
		since = watch.Lap(lap.part, since)
	}
	for _, name := range []string{pluginMetric, "llm_d_router_epp_plugin_duration_seconds", "inference_extension_plugin_duration_seconds"} {
		got := series(t, m, name, map[string]string{"extension_point": "Scorer", "plugin_type": "queue-scorer", "plugin_name": "a"})
		h := got.GetHistogram()
		if want := 60.000102001; h.GetSampleCount() != 5 || h.GetSampleSum() != want {
			t.Errorf("%s: %d laps of %v s, want 5 of %v", name, h.GetSampleCount(), h.GetSampleSum(), want)
		}
		want := map[float64]uint64{.000001: 2, .000002: 3, .00005: 3, .0001: 4, 1: 4}
		for _, b := range h.Bucket {
			if n, ok := want[b.GetUpperBound()]; ok && n != b.GetCumulativeCount() {
				t.Errorf("%s: %d laps took at most %v s, want %d", name, b.GetCumulativeCount(), b.GetUpperBound(), n)
			}
		}
	}
	if laps(t, m, "b") != -1 {
		t.Error("a plugin shows that has not run")
	}
}

// What several policies have shows until the last of them is gone, and then begins anew.
func TestForgetPlugins(t *testing.T) {
	m := New(Options{})
	elapsed := func() time.Duration { return time.Second }
	count := func(name string) int { return laps(t, m, name) }
	first := m.PluginTimes([]scheduler.Part{scorerPart("a"), scorerPart("b"), scorerPart("a")}, elapsed)
	second := m.PluginTimes([]scheduler.Part{scorerPart("a"), scorerPart("c")}, elapsed)
	for _, w := range []*PluginTimes{first, second} {
		for i := range w.series {
			w.Lap(i, 0)
		}
	}
	if count("a") != 3 || count("b") != 1 || count("c") != 1 {
		t.Fatalf("%d, %d and %d laps", count("a"), count("b"), count("c"))
	}
	m.ForgetPlugins(first)
	first.Lap(1, 0) // a request under way
	if count("a") != 3 || count("b") != -1 || count("c") != 1 {
		t.Errorf("without the first: %d, %d and %d laps", count("a"), count("b"), count("c"))
	}
	m.ForgetPlugins(second)
	if count("a") != -1 || count("c") != -1 {
		t.Errorf("without both: %d and %d laps", count("a"), count("c"))
	}
	m.PluginTimes([]scheduler.Part{scorerPart("a")}, elapsed).Lap(0, 0)
	if count("a") != 1 {
		t.Errorf("again: %d laps", count("a"))
	}
}

// Names that are cut to the same label are one series, and none is invalid.
func TestPluginLabels(t *testing.T) {
	m := New(Options{})
	long := strings.Repeat("x", 300)
	w := m.PluginTimes([]scheduler.Part{scorerPart(long), scorerPart(long + "y"), scorerPart("\xff")}, func() time.Duration { return 0 })
	for i := range w.series {
		w.Lap(i, 0)
	}
	for name, want := range map[string]int{long[:256]: 2, "?": 1} {
		if got := laps(t, m, name); got != want {
			t.Errorf("%.10s: %d laps, want %d", name, got, want)
		}
	}
}

// What runs outside of decisions has the names that llm-d gives it.
func TestTimedElsewhere(t *testing.T) {
	m := New(Options{})
	m.Tokenized(time.Millisecond)
	m.Admitted(time.Millisecond)
	for typ, point := range map[string]string{"token-producer": "DataProducer", "probabilistic-admitter": "Admission"} {
		s := series(t, m, pluginMetric, map[string]string{"extension_point": point, "plugin_type": typ, "plugin_name": typ})
		if s.GetHistogram().GetSampleCount() != 1 {
			t.Errorf("%s: %v", typ, s)
		}
	}
}

func TestLapsAllocateNothing(t *testing.T) {
	w := New(Options{}).PluginTimes([]scheduler.Part{scorerPart("a")}, func() time.Duration { return time.Second })
	if n := testing.AllocsPerRun(100, func() { w.Lap(0, w.Lap(-1, 0)) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
