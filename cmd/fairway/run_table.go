package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"text/tabwriter"
	"time"

	"golang.org/x/term"

	"github.com/fairway-ai/fairway/epp/explain"
	"github.com/fairway-ai/fairway/pool/file"
)

// welcome says how to use what has started.
func (o *runOptions) welcome(out io.Writer, screen *os.File, addr netip.AddrPort, config *file.Config) {
	if screen == nil {
		return
	}
	if ai := aiOf(config); len(ai.rules.Rules) > 0 {
		fmt.Fprint(out, ai.tryIt(addr.String()))
		return
	}
	model := o.model
	if o.file != "" {
		model = "YOUR-MODEL"
		for i := range config.Pools {
			if m := config.Pools[i].Models; len(m) > 0 {
				model = m[0]
				break
			}
		}
	}
	fmt.Fprintf(out, `
Try it:

  curl http://%s/v1/chat/completions -H 'content-type: application/json' -d '{
    "model": "%s", "messages": [{"role": "user", "content": "Why is the sky blue?"}]}'

Ask why:  fairway explain%s

`, addr, model, map[bool]string{true: " --addr http://" + o.admin, false: ""}[o.admin != "127.0.0.1:9090" && o.admin != ""])
}

const (
	tableInterval = time.Second
	logInterval   = 10 * time.Second
	// tableDecisions is how many of the latest decisions the figures are of, and
	// tableWindow how old they may be.
	tableDecisions = 400
	tableWindow    = 30 * time.Second
)

// report shows what happens until ctx ends: a live table on a terminal, a line in
// the log now and then otherwise.
func (r *running) report(ctx context.Context, screen *os.File, log *slog.Logger) {
	interval := logInterval
	if screen != nil {
		interval = tableInterval
	}
	tick := time.NewTicker(interval)
	defer tick.Stop()
	drawn, last := 0, ""
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			t := r.table(now)
			if screen != nil {
				drawn = t.draw(screen, drawn)
				continue
			}
			if t.latest != "" && t.latest != last {
				last = t.latest
				log.Info("traffic", "picks_per_second", fmt.Sprintf("%.1f", t.total.rate), "in_flight", t.total.requests,
					"cache_hit_rate", percent(t.total.hits()), "ttft_p50", ms(t.total.quantile(0.5)), "ttft_p90", ms(t.total.quantile(0.9)))
			}
		}
	}
}

// tableRow is what is shown of an endpoint, or of all.
type tableRow struct {
	name           string
	state          string
	requests       int32
	tokens         int64
	picks          int
	rate           float64
	prompt, cached int64
	ttft           []float64
}

func (r *tableRow) add(d *explain.Decision) {
	r.picks++
	if o := d.Outcome; o != nil && o.UsageKnown {
		r.prompt += o.PromptTokens
		r.cached += o.CachedTokens
	} else {
		r.prompt += d.PromptTokens
		r.cached += d.CachedTokens
	}
	if o := d.Outcome; o != nil && o.TTFTSeconds > 0 {
		r.ttft = append(r.ttft, o.TTFTSeconds)
	}
}

// hits is the cached share of the prompt tokens, -1 when there were none.
func (r *tableRow) hits() float64 {
	if r.prompt == 0 {
		return -1
	}
	return float64(r.cached) / float64(r.prompt)
}

// quantile is of the times to first token, -1 when there were none.
func (r *tableRow) quantile(q float64) float64 {
	if len(r.ttft) == 0 {
		return -1
	}
	slices.Sort(r.ttft)
	return r.ttft[min(len(r.ttft)-1, int(q*float64(len(r.ttft))))]
}

type liveTable struct {
	rows   []tableRow
	total  tableRow
	latest string // the latest decision's request
}

// table collects the figures.
func (r *running) table(now time.Time) *liveTable {
	t := &liveTable{total: tableRow{name: "all"}}
	at := map[string]int{}
	r.mu.Lock()
	pools := r.config.Pools
	r.mu.Unlock()
	for i := range pools {
		p := r.set.Pool(pools[i].FullName())
		if p == nil {
			continue
		}
		snap := p.Snapshot()
		for k := range snap.Endpoints {
			e, m := &snap.Endpoints[k], &snap.Metrics[k]
			v := e.Load.View()
			row := tableRow{name: e.ID, state: "ok", requests: v.Requests, tokens: v.Context}
			switch {
			case m.Unreachable:
				row.state = "unreachable"
			case !m.Known:
				row.state = "no metrics"
			}
			at[e.ID] = len(t.rows)
			t.rows = append(t.rows, row)
			t.total.requests += v.Requests
			t.total.tokens += v.Context
		}
	}
	oldest := now
	decisions := r.ring.Latest(tableDecisions)
	for i := range decisions {
		d := &decisions[i]
		if len(d.Rows) == 0 || d.Error != "" || now.Sub(d.Time) > tableWindow {
			continue
		}
		if t.latest == "" {
			t.latest = d.ID
		}
		oldest = d.Time
		t.total.add(d)
		if k, ok := at[d.Rows[0].ID]; ok {
			t.rows[k].add(d)
		}
	}
	span := max(now.Sub(oldest), time.Second).Seconds()
	t.total.rate = float64(t.total.picks) / span
	for i := range t.rows {
		t.rows[i].rate = float64(t.rows[i].picks) / span
	}
	return t
}

// draw replaces the drawn lines above the cursor and returns how many there are
// now.
func (t *liveTable) draw(screen *os.File, drawn int) int {
	width, height, err := term.GetSize(int(screen.Fd()))
	if err != nil {
		width, height = 80, 24
	}
	lines := t.lines(max(1, height-4))
	var b bytes.Buffer
	if drawn > 0 {
		fmt.Fprintf(&b, "\033[%dA", drawn)
	}
	for _, l := range lines {
		if len(l) > width {
			l = l[:width]
		}
		b.Write(l)
		b.WriteString("\033[K\n")
	}
	b.WriteString("\033[J")
	_, _ = screen.Write(b.Bytes()) // a terminal that is gone needs no table
	return len(lines)
}

// lines are the table, at most n endpoints of it.
func (t *liveTable) lines(n int) [][]byte {
	var b bytes.Buffer
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "endpoint\tstate\tin flight\ttokens\tcache hits\tTTFT p50\tp90\tpicks/s\t")
	shown := t.rows[:min(len(t.rows), n)]
	for i := range shown {
		writeRow(w, &shown[i])
	}
	if left := len(t.rows) - len(shown); left > 0 {
		fmt.Fprintf(w, "… %d more\t\t\t\t\t\t\t\t\n", left)
	}
	writeRow(w, &t.total)
	_ = w.Flush() // into memory
	return bytes.Split(bytes.TrimRight(b.Bytes(), "\n"), []byte("\n"))
}

func writeRow(w io.Writer, r *tableRow) {
	fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%s\t%s\t%s\t%.1f\t\n", r.name, r.state, r.requests, r.tokens,
		percent(r.hits()), ms(r.quantile(0.5)), ms(r.quantile(0.9)), r.rate)
}

func percent(v float64) string {
	if v < 0 {
		return "-"
	}
	return fmt.Sprintf("%.0f%%", 100*v)
}

func ms(v float64) string {
	switch {
	case v < 0:
		return "-"
	case v < 10:
		return fmt.Sprintf("%.0f ms", 1000*v)
	}
	return fmt.Sprintf("%.1f s", v)
}
