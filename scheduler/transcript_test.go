package scheduler_test

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/fairway-ai/fairway/scheduler"
	"github.com/fairway-ai/fairway/scheduler/prefix"
	"github.com/fairway-ai/fairway/scheduler/profile"
)

var rewrite = flag.Bool("rewrite", false, "write what the transcripts produce into testdata")

// TestTranscripts replays testdata/*.txt. A transcript is a list of commands,
// each followed by "----" and what it printed; lines that begin with # are
// comments. Run with -rewrite after a change, and read the difference.
func TestTranscripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no transcripts: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := replay(t, string(want))
			if *rewrite {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// replay runs the commands of a transcript and returns it with fresh output.
func replay(t *testing.T, text string) string {
	var out bytes.Buffer
	w := newWorld(t)
	skipping := false
	for _, line := range strings.Split(strings.TrimRight(text, "\n"), "\n") {
		switch {
		case line == "----":
			skipping = true
		case line == "":
			fmt.Fprintln(&out)
			skipping = false
		case skipping:
		case strings.HasPrefix(line, "#"):
			fmt.Fprintln(&out, line)
		default:
			fmt.Fprintln(&out, line)
			if printed := w.run(line); printed != "" {
				fmt.Fprintf(&out, "----\n%s\n", strings.TrimRight(printed, "\n"))
			}
		}
	}
	return out.String()
}

// world is the state that a transcript's commands change.
type world struct {
	t         *testing.T
	index     *prefix.Index
	endpoints []scheduler.Endpoint
	metrics   []scheduler.Metrics
	sched     *scheduler.Scheduler
	now       time.Time
	requests  map[string]*transcriptRequest
	holds     map[string]*scheduler.HoldQueue
	adapters  *scheduler.Adapters
	nextSlot  int32
}

type transcriptRequest struct {
	req    *scheduler.Request
	dec    scheduler.Decision
	flight scheduler.Flight
	held   *scheduler.Held
	ep     scheduler.Endpoint
}

func newWorld(t *testing.T) *world {
	w := &world{
		t: t, index: prefix.New(prefix.Options{Shards: 1}), now: time.Unix(0, 0),
		requests: map[string]*transcriptRequest{}, holds: map[string]*scheduler.HoldQueue{},
	}
	w.use(scheduler.Priced{Alternatives: 3})
	return w
}

func (w *world) use(p scheduler.Policy) { w.sched = scheduler.New(p, w.index) }

// run does one command and returns what it prints.
func (w *world) run(line string) string {
	a := parse(w.t, line)
	switch a.word(0) {
	case "add":
		w.add(a)
	case "remove":
		return w.remove(a.word(1))
	case "metrics":
		w.setMetrics(a)
	case "policy":
		w.use(scheduler.Priced{Alternatives: int(a.int("alternatives", 3))})
	case "profile":
		w.use(a.profile())
	case "disagg":
		w.use(a.disagg())
	case "by-header":
		w.use(a.byHeader())
	case "data-parallel":
		w.use(profile.NewDataParallel("", a.profileOf("profile", a.words[1:]), int(a.int("port", 0))))
	case "request":
		return w.request(a)
	case "dispatch":
		return w.dispatch(a.word(1))
	case "first-token":
		w.get(a.word(1)).flight.FirstToken(w.now)
	case "end":
		w.get(a.word(1)).flight.End(w.now)
	case "hold":
		return w.hold(a.word(1))
	case "release":
		return w.release(a)
	case "cancel":
		r := w.get(a.word(1))
		r.flight.End(w.now)
		return fmt.Sprintf("was held: %v\n", w.queue(r.ep.ID).Remove(r.held))
	case "advance":
		d, err := time.ParseDuration(a.word(1))
		if err != nil {
			w.t.Fatal(err)
		}
		w.now = w.now.Add(d)
	case "loads":
		return w.loads()
	default:
		w.t.Fatalf("%q: unknown command", line)
	}
	return ""
}

func (w *world) find(id string) int {
	for i := range w.endpoints {
		if w.endpoints[i].ID == id {
			return i
		}
	}
	w.t.Fatalf("no endpoint %q", id)
	return -1
}

func (w *world) get(id string) *transcriptRequest {
	r := w.requests[id]
	if r == nil {
		w.t.Fatalf("no request %q", id)
	}
	return r
}

func (w *world) queue(id string) *scheduler.HoldQueue {
	if w.holds[id] == nil {
		w.holds[id] = &scheduler.HoldQueue{}
	}
	return w.holds[id]
}

// add NAME... [capacity=TOKENS] [labels=k:v,...]
func (w *world) add(a args) {
	for _, name := range a.words[1:] {
		labels := map[string]string{}
		for _, l := range list(a.named["labels"]) {
			k, v, _ := strings.Cut(l, ":")
			labels[k] = v
		}
		slot := w.nextSlot
		w.nextSlot++
		w.index.AddEndpoint(slot, a.int("capacity", 0))
		w.endpoints = append(w.endpoints, scheduler.Endpoint{
			ID: name, Address: fmt.Sprintf("10.0.0.%d:8000", slot+1), Slot: slot, Labels: labels, Load: new(scheduler.Load),
		})
		w.metrics = append(w.metrics, scheduler.Metrics{Known: true})
	}
}

func (w *world) remove(id string) string {
	i := w.find(id)
	w.index.RemoveEndpoint(w.endpoints[i].Slot)
	w.endpoints = append(w.endpoints[:i:i], w.endpoints[i+1:]...)
	w.metrics = append(w.metrics[:i:i], w.metrics[i+1:]...)
	var lost []string
	for _, h := range w.queue(id).Drain() {
		lost = append(lost, h.Request.ID)
	}
	if len(lost) > 0 {
		return "held there: " + strings.Join(lost, ", ") + "\n"
	}
	return ""
}

// metrics NAME [waiting=N] [running=N] [kv=F] [other-waiting=N] [other-running=N]
// [max-lora=N] [active=A,B] [queued=A,B] [unknown=true] [unreachable=true]
func (w *world) setMetrics(a args) {
	m := &w.metrics[w.find(a.word(1))]
	m.Known = a.named["unknown"] == ""
	for k, v := range a.named {
		switch k {
		case "waiting":
			m.Waiting = int32(a.int(k, 0))
		case "running":
			m.Running = int32(a.int(k, 0))
		case "other-waiting":
			m.OtherWaiting = int32(a.int(k, 0))
		case "other-running":
			m.OtherRunning = int32(a.int(k, 0))
		case "kv":
			f, err := strconv.ParseFloat(v, 32)
			if err != nil {
				w.t.Fatalf("%q: %v", a.line, err)
			}
			m.KVUsage = float32(f)
		case "max-lora":
			m.MaxLoRA = int32(a.int(k, 0))
		case "active":
			m.ActiveLoRA = list(v)
		case "queued":
			m.WaitingLoRA = list(v)
		case "custom":
			f, err := strconv.ParseFloat(v, 64)
			if err != nil {
				w.t.Fatalf("%q: %v", a.line, err)
			}
			m.Custom = []float64{f}
		case "unreachable":
			m.Unreachable = v == "true"
		case "unknown":
		default:
			w.t.Fatalf("%q: unknown metric %s", a.line, k)
		}
	}
	w.adapters = w.adapters.With(m.ActiveLoRA).With(m.WaitingLoRA)
	m.Adapters = w.adapters.Use(m.ActiveLoRA, m.WaitingLoRA)
}
