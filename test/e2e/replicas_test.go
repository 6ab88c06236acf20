package e2e

import (
	"bufio"
	"context"
	"fmt"
	"maps"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	// pickers is how many replicas of the gateway pick at once.
	pickers = 3
	// metricsPort is where the gateway's pods have their metrics.
	metricsPort = "9090"
)

// TestActiveActive has Envoy ask three replicas of the gateway in turn: all of them
// pick, each learns from the others where prompts are cached, and none is missed when it
// is killed.
func TestActiveActive(t *testing.T) {
	s := start(t, "pool.yaml")
	d := s.deployments(systemNamespace(), map[string]string{"app.kubernetes.io/component": "gateway"})[0]
	defer s.activeActive(&d)()
	s.answers(s.target)
	s.peers(&d, pickers-1)

	t.Run("all pick", func(t *testing.T) {
		s := s.on(t)
		// A replica that has not picked yet does not have it.
		before := s.metric(t.Context(), &d, "llm_d_epp_scheduler_attempts_total")
		mustBeFlawless(t, ask(t, s.target, 2*steady))
		after := s.scrape(&d, "llm_d_epp_scheduler_attempts_total")
		for pod, n := range after {
			if n <= before[pod] {
				t.Errorf("%s has not picked: %v picks before, %v after", pod, before[pod], n)
			}
		}
		if received := s.scrape(&d, "fairway_replica_events_total"); len(received) != pickers {
			t.Errorf("events %v", received)
		}
	})

	t.Run("prompts are shared", func(t *testing.T) {
		s := s.on(t)
		// A server is asked for a prompt that it has in its cache, whichever replica
		// picks: one that had not heard of it would choose the least busy server, and
		// half of the time the other one.
		const texts, turns = 8, 12
		strayed := 0
		for i := range texts {
			text := strings.Repeat(fmt.Sprintf("sentence of text %d at %d. ", i, time.Now().UnixNano()), 300)
			first := ""
			for turn := range turns {
				o := s.send(t.Context(), httpClient, text+fmt.Sprintf("question %d", turn))
				if o.reason != "" {
					t.Fatalf("text %d, turn %d: %s", i, turn, o.reason)
				}
				if first == "" {
					first = o.server
				} else if o.server != first {
					strayed++
				}
				// The next replica hears of it some 30 ms later.
				time.Sleep(100 * time.Millisecond)
			}
		}
		if strayed > texts*(turns-1)/10 {
			t.Errorf("%d of %d requests did not go where their text is cached", strayed, texts*(turns-1))
		}
		t.Logf("%d of %d requests did not go where their text is cached", strayed, texts*(turns-1))
	})

	t.Run("a replica is killed", func(t *testing.T) {
		s := s.on(t)
		fewer := make(chan bool, 1)
		outcomes := s.under(t, func() {
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			go func() { fewer <- s.sawPeers(ctx, &d, pickers-2) }()
			s.killHard(&d)
			s.rolledOut(d.Namespace, d.Name)
			s.peers(&d, pickers-1)
			stop()
			if !<-fewer {
				t.Error("no replica was seen to have lost its peer")
			}
		})
		mustBeFlawless(t, outcomes)
	})
}

// activeActive makes a gateway's replicas three, which all pick, and returns what undoes
// that.
func (s setup) activeActive(d *appsv1.Deployment) (undo func()) {
	s.t.Helper()
	set := func(replicas int32, from, to string) {
		s.t.Helper()
		now := s.deployment(d.Namespace, d.Name)
		args := slices.Clone(now.Spec.Template.Spec.Containers[0].Args)
		i := slices.Index(args, "--active-active="+from)
		if i < 0 {
			s.t.Fatalf("the gateway's arguments are %q", args)
		}
		args[i] = "--active-active=" + to
		patch := fmt.Appendf(nil, `[{"op":"replace","path":"/spec/replicas","value":%d},{"op":"replace","path":"/spec/template/spec/containers/0/args/%d","value":%q}]`, replicas, i, args[i])
		if err := s.Patch(s.t.Context(), &now, client.RawPatch(types.JSONPatchType, patch)); err != nil {
			s.t.Fatalf("changing %s: %v", d.Name, err)
		}
		s.rolledOut(d.Namespace, d.Name)
	}
	set(pickers, "false", "true")
	replicas := *d.Spec.Replicas
	return func() { set(replicas, "true", "false") }
}

// peers waits until every replica shares with so many others.
func (s setup) peers(d *appsv1.Deployment, want int) {
	s.t.Helper()
	s.eventually(fmt.Sprintf("%d peers of each replica", want), func(ctx context.Context) (string, bool) {
		got := s.metric(ctx, d, "fairway_replica_peers")
		ok := len(got) == pickers
		for _, n := range got {
			ok = ok && n == float64(want)
		}
		return fmt.Sprintf("there are %v", got), ok
	})
}

// sawPeers reports whether any replica was seen to share with so many others, before ctx
// ended.
func (s setup) sawPeers(ctx context.Context, d *appsv1.Deployment, want int) bool {
	for ctx.Err() == nil {
		if slices.Contains(slices.Collect(maps.Values(s.metric(ctx, d, "fairway_replica_peers"))), float64(want)) {
			return true
		}
		select {
		case <-ctx.Done():
		case <-time.After(50 * time.Millisecond):
		}
	}
	return false
}

// scrape is a metric of each of a Deployment's ready pods, by name; all must have it.
func (s setup) scrape(d *appsv1.Deployment, metric string) (values map[string]float64) {
	s.t.Helper()
	s.eventually(metric, func(ctx context.Context) (string, bool) {
		values = s.metric(ctx, d, metric)
		return fmt.Sprintf("it is read from %v", values), len(values) == pickers
	})
	return values
}

// metric is the sum of a metric's series, for each of a Deployment's ready pods that can
// be asked and have it.
func (s setup) metric(ctx context.Context, d *appsv1.Deployment, metric string) map[string]float64 {
	values := map[string]float64{}
	for _, pod := range s.podsOf(ctx, d) {
		if isReady(&pod) {
			if v, ok := podMetric(ctx, &pod, metric); ok {
				values[pod.Name] = v
			}
		}
	}
	return values
}

func podMetric(ctx context.Context, pod *corev1.Pod, metric string) (sum float64, found bool) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+net.JoinHostPort(pod.Status.PodIP, metricsPort)+"/metrics", nil)
	if err != nil {
		return 0, false
	}
	resp, err := httpClient.Do(req)
	if err != nil {
		return 0, false
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		rest, ok := strings.CutPrefix(lines.Text(), metric)
		if !ok || !strings.HasPrefix(rest, "{") && !strings.HasPrefix(rest, " ") {
			continue
		}
		if v, err := strconv.ParseFloat(rest[strings.LastIndexByte(rest, ' ')+1:], 64); err == nil {
			sum, found = sum+v, true
		}
	}
	return sum, found
}
