package scheduler_test

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/fairway-ai/fairway/scheduler"
	"github.com/fairway-ai/fairway/scheduler/prefix"
)

// blocks turns "a*3/b*2" into the chain of a prompt: three blocks of text a, then
// two of text b, 64 tokens each.
func (w *world) blocks(prompt string) []prefix.Block {
	var out []prefix.Block
	parent := uint64(14695981039346656037)
	for _, part := range strings.Split(prompt, "/") {
		text, times, _ := strings.Cut(part, "*")
		n, err := strconv.Atoi(times)
		if err != nil {
			w.t.Fatalf("prompt %q: %v", prompt, err)
		}
		for range n {
			for _, c := range []byte(text) {
				parent = (parent ^ uint64(c)) * 1099511628211
			}
			out = append(out, prefix.Block{Hash: parent, Tokens: 64})
		}
	}
	return out
}

// request ID [prompt=...] [tokens=N] [model=M] [session=S] [subset=A,B|-] [seed=N]
// [images=N] [header=NAME:VALUE,...] decides where a request goes and prints why.
func (w *world) request(a args) string {
	id := a.word(1)
	req := &scheduler.Request{
		ID: id, Model: a.named["model"], Session: a.named["session"], Seed: uint64(a.int("seed", 1)),
		Images: int(a.int("images", 0)), Now: w.now,
	}
	if h := list(a.named["header"]); len(h) > 0 {
		req.Header = func(name string) string {
			for _, kv := range h {
				if k, v, _ := strings.Cut(kv, ":"); k == name {
					return v
				}
			}
			return ""
		}
	}
	if p := a.named["prompt"]; p != "" {
		req.Blocks = w.blocks(p)
	}
	for _, b := range req.Blocks {
		req.PromptTokens += int64(b.Tokens)
	}
	req.PromptTokens = a.int("tokens", req.PromptTokens)
	if s, ok := a.named["subset"]; ok {
		req.HasSubset, req.Subset = true, list(s)
	}
	snap := &scheduler.Snapshot{
		Endpoints: slices.Clone(w.endpoints), Metrics: slices.Clone(w.metrics), Slots: int(w.nextSlot), Adapters: w.adapters,
	}
	r := &transcriptRequest{req: req}
	w.requests[id] = r
	var ex scheduler.Explanation
	err := w.sched.Schedule(req, snap, &r.dec, &ex)
	var out strings.Builder
	if err != nil {
		fmt.Fprintf(&out, "error: %v\n", err)
	} else {
		r.ep = snap.Endpoints[r.dec.Ranked[0]]
		r.flight.Bind(r.ep.Load, r.dec.Uncached, req.PromptTokens)
		r.flight.Await(r.dec.AwaitsAdapter)
		var names []string
		for _, i := range r.dec.Ranked {
			names = append(names, snap.Endpoints[i].ID)
		}
		fmt.Fprintf(&out, "%s: %s  cached %d, uncached %d\n", ex.Policy, strings.Join(names, ", "), r.dec.Cached, r.dec.Uncached)
		stages(&out, snap, &r.dec)
		if r.dec.AwaitsAdapter {
			fmt.Fprintln(&out, "awaits its adapter")
		}
	}
	w.table(&out, snap, &ex)
	return out.String()
}

// stages prints what a decision has besides the pick.
func stages(out *strings.Builder, snap *scheduler.Snapshot, dec *scheduler.Decision) {
	ids := func(list []int32) string {
		var names []string
		for _, i := range list {
			names = append(names, snap.Endpoints[i].ID)
		}
		return strings.Join(names, ", ")
	}
	if len(dec.Prefill) > 0 {
		fmt.Fprintf(out, "prefill: %s  uncached %d\n", ids(dec.Prefill), dec.PrefillUncached)
	}
	if len(dec.Encode) > 0 {
		fmt.Fprintf(out, "encode: %s\n", ids(dec.Encode))
	}
	if dec.Port != 0 {
		fmt.Fprintf(out, "port: %d\n", dec.Port)
	}
}

// table prints the columns in which any endpoint has a value.
func (w *world) table(out *strings.Builder, snap *scheduler.Snapshot, ex *scheduler.Explanation) {
	var columns []scheduler.Column
	for _, c := range ex.Columns {
		if c.Kind != scheduler.Fact || slices.ContainsFunc(c.Values, func(v float32) bool { return v != 0 }) {
			columns = append(columns, c)
		}
	}
	if len(columns) == 0 {
		return
	}
	var text strings.Builder
	tw := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fmt.Fprint(tw, "endpoint")
	for _, c := range columns {
		name := c.Name
		if c.Profile != "" {
			name = c.Profile + "/" + name
		}
		fmt.Fprintf(tw, "\t%s", name)
		if c.Kind == scheduler.Score || c.Kind == scheduler.Price {
			fmt.Fprintf(tw, " ×%.4g", c.Weight)
		}
	}
	fmt.Fprintln(tw, "\t")
	reachable := slices.ContainsFunc(snap.Metrics, func(m scheduler.Metrics) bool { return !m.Unreachable })
	for i := range snap.Endpoints {
		fmt.Fprint(tw, snap.Endpoints[i].ID)
		for _, c := range columns {
			out := reachable && snap.Metrics[i].Unreachable
			for _, o := range columns {
				out = out || o.Kind == scheduler.Verdict && o.Values[i] != 1 && (o.Profile == "" || o.Profile == c.Profile)
			}
			switch v := c.Values[i]; {
			case v == scheduler.NotAsked, out && (c.Kind == scheduler.Price || c.Kind == scheduler.Total):
				fmt.Fprint(tw, "\t-")
			case c.Kind == scheduler.Verdict:
				fmt.Fprint(tw, "\t"+[]string{"no", "yes"}[int(v)])
			default:
				fmt.Fprintf(tw, "\t%s", strconv.FormatFloat(float64(v), 'g', 4, 32))
			}
		}
		fmt.Fprintln(tw, "\t")
	}
	_ = tw.Flush()
	for _, line := range strings.Split(text.String(), "\n") {
		fmt.Fprintln(out, strings.TrimRight(line, " "))
	}
}

// dispatch ID sends a request to its endpoint.
func (w *world) dispatch(id string) string {
	r := w.get(id)
	uncached := w.sched.Uncached(r.req, r.ep.Slot)
	r.flight.Dispatch(w.now, uncached)
	w.index.Insert(r.ep.Slot, r.req.Blocks)
	return fmt.Sprintf("to %s with %d uncached tokens\n", r.ep.ID, uncached)
}

// hold ID keeps a request in its endpoint's queue.
func (w *world) hold(id string) string {
	r := w.get(id)
	r.held = &scheduler.Held{Request: r.req, Since: w.now, Uncached: r.dec.Uncached}
	w.queue(r.ep.ID).Push(r.held)
	return fmt.Sprintf("%d held at %s\n", w.queue(r.ep.ID).Len(), r.ep.ID)
}

// release NAME sends held requests while the endpoint admits any.
func (w *world) release(a args) string {
	e := w.endpoints[w.find(a.word(1))]
	var out strings.Builder
	q := w.queue(e.ID)
	for q.Len() > 0 && scheduler.Admits(e.Load.Prefilling()) {
		h := q.Pop(w.now, e.Load.View().PrefillRate, func(h *scheduler.Held) int64 {
			return w.sched.Uncached(h.Request, e.Slot)
		})
		fmt.Fprintf(&out, "%s after %v, ", h.Request.ID, w.now.Sub(h.Since))
		out.WriteString(w.dispatch(h.Request.ID))
	}
	fmt.Fprintf(&out, "%d held, %d tokens outstanding\n", q.Len(), e.Load.Prefilling())
	return out.String()
}

// loads prints what is in flight.
func (w *world) loads() string {
	var text strings.Builder
	tw := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "endpoint\trequests\twaiting\tdispatched\tbacklog\tprefilling\tcontext")
	for i := range w.endpoints {
		v := w.endpoints[i].Load.View()
		fmt.Fprintf(tw, "%s\t%d\t%d\t%d\t%d\t%d\t%d\n", w.endpoints[i].ID, v.Requests, v.Waiting, v.Dispatched, v.Backlog, v.Prefilling, v.Context)
	}
	_ = tw.Flush()
	return text.String()
}
