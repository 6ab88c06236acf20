package kube

import (
	"bytes"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	inferencev1 "sigs.k8s.io/gateway-api-inference-extension/api/v1"
)

func readyPod(ns, name, ip string, l map[string]string) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name, Labels: l}}
	p.Status.PodIP, p.Status.Phase = ip, corev1.PodRunning
	p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	return p
}

func inferencePool(ns, name string, generation int64, want map[string]string, ports ...int) *inferencev1.InferencePool {
	p := &inferencev1.InferencePool{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name, Generation: generation, UID: types.UID(ns + name)}}
	p.Spec.Selector.MatchLabels = map[inferencev1.LabelKey]inferencev1.LabelValue{}
	for k, v := range want {
		p.Spec.Selector.MatchLabels[inferencev1.LabelKey(k)] = inferencev1.LabelValue(v)
	}
	for _, n := range ports {
		p.Spec.TargetPorts = append(p.Spec.TargetPorts, inferencev1.Port{Number: inferencev1.PortNumber(n)})
	}
	return p
}

func newTestIndex() *index { return newIndex(slog.New(slog.DiscardHandler), func() {}) }

// taken is what an index reports, one line for each pool.
func taken(x *index) []string {
	changed, gone := x.take()
	var out []string
	for _, n := range gone {
		out = append(out, n.String()+" gone")
	}
	for _, p := range changed {
		line := fmt.Sprintf("%s %d", p.Name, p.Selected)
		for _, e := range p.Endpoints {
			line += " " + e.ID + "=" + e.Address
		}
		out = append(out, line)
	}
	return out
}

func expect(t *testing.T, x *index, what string, want ...string) {
	t.Helper()
	if d := cmp.Diff(want, taken(x)); d != "" {
		t.Errorf("%s: (-want +got)\n%s", what, d)
	}
}

func TestIndexFollowsPodsAndPools(t *testing.T) {
	x := newTestIndex()
	app := map[string]string{"app": "a"}
	x.setPod(readyPod("ns", "p2", "10.0.0.2", app))
	x.setPod(readyPod("ns", "p1", "10.0.0.1", app))
	x.setPod(readyPod("elsewhere", "p1", "10.0.0.9", app))
	expect(t, x, "no pool yet")
	x.setPool(inferencePool("ns", "pool", 1, app, 8000))
	expect(t, x, "a pool takes the pods of its namespace, in order", "ns/pool 2 ns/p1=10.0.0.1:8000 ns/p2=10.0.0.2:8000")

	p := readyPod("ns", "p1", "10.0.0.1", app)
	p.Status.Message, p.ResourceVersion = "news", "7"
	x.setPod(p)
	x.setPool(inferencePool("ns", "pool", 1, app, 8000))
	expect(t, x, "what changes no endpoint is not reported")

	p.Status.Conditions[0].Status = corev1.ConditionFalse
	x.setPod(p)
	expect(t, x, "not ready", "ns/pool 2 ns/p2=10.0.0.2:8000")
	p.Labels = map[string]string{"app": "a", "more": "1"}
	x.setPod(p)
	expect(t, x, "labels of a pod that cannot serve")
	x.setPod(readyPod("ns", "p1", "10.0.0.1", p.Labels))
	x.setPod(readyPod("ns", "p2", "10.0.0.2", map[string]string{"app": "b"}))
	expect(t, x, "another label", "ns/pool 1 ns/p1=10.0.0.1:8000")

	x.setPool(inferencePool("ns", "pool", 2, map[string]string{"app": "b"}, 8000, 8001))
	expect(t, x, "another selector and two ports", "ns/pool 1 ns/p2-rank-0=10.0.0.2:8000 ns/p2-rank-1=10.0.0.2:8001")
	x.setPod(readyPod("ns", "p1", "10.0.0.1", app))
	expect(t, x, "no longer selected")
	x.setPool(inferencePool("ns", "other", 1, map[string]string{"app": "b"}, 9))
	expect(t, x, "two pools share a pod", "ns/other 1 ns/p2=10.0.0.2:9")
	x.deletePod(types.NamespacedName{Namespace: "ns", Name: "p2"})
	expect(t, x, "both lose it", "ns/other 0", "ns/pool 0")
	x.deletePool(types.NamespacedName{Namespace: "ns", Name: "pool"})
	x.deletePool(types.NamespacedName{Namespace: "ns", Name: "other"})
	x.deletePool(types.NamespacedName{Namespace: "ns", Name: "never"})
	expect(t, x, "gone", "ns/other gone", "ns/pool gone")
	x.deletePod(types.NamespacedName{Namespace: "ns", Name: "p1"})
	x.deletePod(types.NamespacedName{Namespace: "elsewhere", Name: "p1"})
	if len(x.namespaces) != 0 {
		t.Errorf("%d namespaces remembered, want none", len(x.namespaces))
	}
}

func TestSelectorPool(t *testing.T) {
	x := newTestIndex()
	s, err := labels.Parse("app in (a, b), !canary")
	if err != nil {
		t.Fatal(err)
	}
	x.setSelector(&SelectorPool{Name: types.NamespacedName{Namespace: "ns", Name: "x"}, Selector: s, Ports: []int32{8000}})
	expect(t, x, "empty at first", "ns/x 0")
	x.setPod(readyPod("ns", "p1", "10.0.0.1", map[string]string{"app": "b"}))
	x.setPod(readyPod("ns", "p2", "10.0.0.2", map[string]string{"app": "a", "canary": "1"}))
	expect(t, x, "set-based", "ns/x 1 ns/p1=10.0.0.1:8000")
}

func TestReadPod(t *testing.T) {
	now := metav1.Now()
	for _, tt := range []struct {
		name    string
		change  func(*corev1.Pod)
		want    string
		problem string
	}{
		{name: "ready", want: "10.0.0.1:80 10.0.0.1:81"},
		{name: "terminating, still ready", change: func(p *corev1.Pod) { p.DeletionTimestamp = &now }},
		{name: "failed", change: func(p *corev1.Pod) { p.Status.Phase = corev1.PodFailed }},
		{name: "succeeded", change: func(p *corev1.Pod) { p.Status.Phase = corev1.PodSucceeded }},
		{name: "no condition", change: func(p *corev1.Pod) { p.Status.Conditions = nil }},
		{name: "unknown", change: func(p *corev1.Pod) { p.Status.Conditions[0].Status = corev1.ConditionUnknown }},
		{name: "no address", change: func(p *corev1.Pod) { p.Status.PodIP = "" }},
		{name: "odd address", change: func(p *corev1.Pod) { p.Status.PodIP = "fe80::1%eth0" }},
		{name: "IPv6", change: func(p *corev1.Pod) { p.Status.PodIP = "fd00::1" }, want: "[fd00::1]:80 [fd00::1]:81"},
		{name: "dual stack", change: func(p *corev1.Pod) { p.Status.PodIPs = []corev1.PodIP{{IP: "10.0.0.1"}, {IP: "fd00::1"}} }, want: "10.0.0.1:80 10.0.0.1:81"},
		{name: "one active port", change: annotate(ActivePorts, " 81 ,7"), want: "10.0.0.1:81"},
		{name: "legacy active port", change: annotate(ActivePortsLegacy, "80"), want: "10.0.0.1:80"},
		{name: "both", change: func(p *corev1.Pod) { annotate(ActivePorts, "81")(p); annotate(ActivePortsLegacy, "80")(p) }, want: "10.0.0.1:81"},
		{name: "no active port", change: annotate(ActivePorts, "")},
		{name: "bad port", change: annotate(ActivePorts, "80,x"), want: "10.0.0.1:80 10.0.0.1:81", problem: `"x" is no port`},
		{name: "port too large", change: annotate(ActivePorts, "65536"), want: "10.0.0.1:80 10.0.0.1:81", problem: "no port"},
		{name: "long", change: annotate(ActivePorts, strings.Repeat("80,", 999)), want: "10.0.0.1:80 10.0.0.1:81", problem: "bytes"},
	} {
		p := readyPod("ns", "p", "10.0.0.1", nil)
		if tt.change != nil {
			if p.Annotations = map[string]string{}; tt.change != nil {
				tt.change(p)
			}
		}
		stripped, err := StripPod(p)
		if err != nil {
			t.Fatal(err)
		}
		got, problem := readPod(stripped.(*corev1.Pod))
		var all []string
		for _, s := range got.specs("ns", []int32{80, 81}) {
			all = append(all, s.Address)
		}
		if strings.Join(all, " ") != tt.want || !strings.Contains(problem, tt.problem) || (problem == "") != (tt.problem == "") {
			t.Errorf("%s: %q %q, want %q %q", tt.name, all, problem, tt.want, tt.problem)
		}
	}
}

func annotate(key, value string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		if p.Annotations == nil {
			p.Annotations = map[string]string{}
		}
		p.Annotations[key] = value
	}
}

func TestABadAnnotationIsReportedOnce(t *testing.T) {
	var log bytes.Buffer
	x := newIndex(slog.New(slog.NewTextHandler(&log, nil)), func() {})
	count := func() int { return strings.Count(log.String(), "annotation is ignored") }
	p := readyPod("ns", "p", "10.0.0.1", nil)
	annotate(ActivePorts, "x")(p)
	x.setPod(p)
	x.setPod(p)
	if count() != 1 {
		t.Errorf("%d warnings, want 1", count())
	}
	annotate(ActivePorts, "y")(p)
	x.setPod(p)
	if count() != 2 {
		t.Errorf("%d warnings, want 2: the value is another", count())
	}
}

func FuzzParsePorts(f *testing.F) {
	for _, s := range []string{"", "8000", "8000, 8001", "0", "65536", ",", "８"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		ports, err := parsePorts(s)
		for i, p := range ports {
			if err != nil || p < 1 || p > 65535 || i > 0 && p <= ports[i-1] {
				t.Fatalf("%q: %v %v", s, ports, err)
			}
		}
	})
}

// BenchmarkPodEvent is one pod becoming ready or not, with 1,000 pods in 100 pools.
func BenchmarkPodEvent(b *testing.B) {
	for _, tt := range []struct{ pods, pools int }{{1000, 100}, {1000, 1}, {1000, 1000}} {
		b.Run(fmt.Sprintf("%dpods/%dpools", tt.pods, tt.pools), func(b *testing.B) {
			x := newTestIndex()
			for i := range tt.pools {
				x.setPool(inferencePool("ns", fmt.Sprintf("pool-%d", i), 1, map[string]string{"app": "llm", "model": fmt.Sprintf("m%d", i)}, 8000))
			}
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			pods := make([]*corev1.Pod, tt.pods)
			for i := range pods {
				p := readyPod("ns", fmt.Sprintf("pod-%d", i), fmt.Sprintf("10.0.%d.%d", i/256, i%256), map[string]string{"app": "llm", "model": fmt.Sprintf("m%d", i%tt.pools)})
				s, _ := StripPod(p)
				pods[i] = s.(*corev1.Pod)
				x.setPod(pods[i])
			}
			runtime.GC()
			runtime.ReadMemStats(&after)
			x.take()
			off := make([]*corev1.Pod, tt.pods)
			for i, p := range pods {
				off[i] = p.DeepCopy()
				off[i].Status.Conditions[0].Status = corev1.ConditionFalse
			}
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				set := pods
				if i/tt.pods%2 == 0 {
					set = off
				}
				x.setPod(set[i%tt.pods])
				if changed, _ := x.take(); len(changed) != 1 {
					b.Fatalf("%d pools changed", len(changed))
				}
				i++
			}
			b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/float64(tt.pods), "B/pod")
		})
	}
}
