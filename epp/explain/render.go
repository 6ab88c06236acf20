package explain

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/fairway-ai/fairway/scheduler"
)

// Render writes a decision for a person to read.
func Render(w io.Writer, d *Decision) error {
	var b strings.Builder
	fmt.Fprintf(&b, "request  %s\n", printable(d.ID))
	fmt.Fprintf(&b, "time     %s\n", d.Time.UTC().Format("2006-01-02 15:04:05.000 MST"))
	fmt.Fprintf(&b, "pool     %s\n", printable(d.Pool))
	if d.Model != "" {
		fmt.Fprintf(&b, "model    %s\n", printable(d.Model))
	}
	if d.Policy != "" {
		fmt.Fprintf(&b, "policy   %s, %s\n", printable(d.Policy), whose(d.Policy))
	}
	counted := ""
	if d.TokensExact {
		counted = ", counted by its tokenizer"
	}
	fmt.Fprintf(&b, "prompt   %s tokens%s, %s expected in the cache\n", number(float64(d.PromptTokens), 0), counted, number(float64(d.CachedTokens), 0))
	if d.HeldSeconds > 0 {
		fmt.Fprintf(&b, "held     %s s\n", number(d.HeldSeconds, 3))
	}
	switch {
	case d.Error != "":
		fmt.Fprintf(&b, "refused  %s\n", printable(d.Error))
	case len(d.Rows) > 0:
		fmt.Fprintf(&b, "picked   %s (%s)\n", printable(d.Rows[0].ID), printable(d.Rows[0].Address))
		fmt.Fprintf(&b, "because  %s\n", printable(d.Why))
	}
	if d.Prefill != "" {
		fmt.Fprintf(&b, "prefill  %s\n", printable(d.Prefill))
	}
	if len(d.Encode) > 0 {
		fmt.Fprintf(&b, "encode   %s\n", printable(strings.Join(d.Encode, ", ")))
	}
	if o := d.Outcome; o != nil {
		b.WriteString(renderOutcome(o))
	}
	if _, err := io.WriteString(w, b.String()+"\n"); err != nil {
		return err
	}
	return renderTable(w, d)
}

// whose tells Fairway's policy from what a configuration names, since many a scheduling
// profile is called "default".
func whose(policy string) string {
	if policy == (scheduler.Priced{}).Name() {
		return "the default policy"
	}
	return "as configured"
}

func renderOutcome(o *Outcome) string {
	var b strings.Builder
	fmt.Fprintf(&b, "outcome  status %d", o.Status)
	if o.Served != "" {
		fmt.Fprintf(&b, " from %s", printable(o.Served))
	}
	if o.TTFTSeconds > 0 {
		fmt.Fprintf(&b, ", first token after %s s", number(o.TTFTSeconds, 3))
	}
	fmt.Fprintf(&b, ", over after %s s", number(o.Seconds, 3))
	if !o.Complete {
		b.WriteString(", not complete")
	}
	b.WriteByte('\n')
	if o.UsageKnown {
		fmt.Fprintf(&b, "usage    %s prompt tokens (%s cached), %s generated\n",
			number(float64(o.PromptTokens), 0), number(float64(o.CachedTokens), 0), number(float64(o.CompletionTokens), 0))
	}
	return b.String()
}

func renderTable(w io.Writer, d *Decision) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row := func(cells ...string) { _, _ = fmt.Fprintln(t, strings.Join(cells, "\t")) }
	head := []string{"RANK", "ENDPOINT"}
	for _, c := range d.Columns {
		name := strings.ToUpper(printable(c.title()))
		if c.Kind == "score" || c.Kind == "price" {
			name += " ×" + number(float64(c.Weight), 2)
		}
		head = append(head, name)
	}
	row(head...)
	for j := range d.Rows {
		r := &d.Rows[j]
		rank := ""
		if r.Rank > 0 {
			rank = fmt.Sprint(r.Rank)
		}
		cells := []string{rank, printable(r.ID)}
		for i, c := range d.Columns {
			cells = append(cells, cell(d, j, r.Values[i], &c))
		}
		if r.Unreachable {
			cells = append(cells, "unreachable")
		}
		row(cells...)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if d.Omitted > 0 {
		_, err := fmt.Fprintf(w, "and %d more endpoints\n", d.Omitted)
		return err
	}
	return nil
}

func cell(d *Decision, j int, v Value, c *Column) string {
	candidate := d.candidate(j)
	if !d.decides(c) {
		candidate = d.candidateOf(j, c.Profile)
	}
	switch {
	case v == None:
		return "-"
	case c.Kind == "verdict" && v == 1:
		return "keep"
	case c.Kind == "verdict":
		return "drop"
	case c.Name == scheduler.ExactFact && v == 1:
		return "exact"
	case c.Name == scheduler.ExactFact:
		return "approximate"
	case (c.Kind == "total" || c.Kind == "price") && !candidate:
		return "-"
	}
	return number(float64(v), 3)
}

// RenderList writes decisions as a table, one per line.
func RenderList(w io.Writer, ds []Decision) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(t, "TIME\tREQUEST\tPOOL\tMODEL\tPROMPT\tCACHED\tHELD\tENDPOINT\tSTATUS\tTTFT")
	for i := range ds {
		d := &ds[i]
		endpoint, status, ttft, held := "-", "-", "-", "-"
		if d.Error == "" && len(d.Rows) > 0 {
			endpoint = d.Rows[0].ID
		}
		if d.HeldSeconds > 0 {
			held = number(d.HeldSeconds, 3)
		}
		if o := d.Outcome; o != nil {
			status = fmt.Sprint(o.Status)
			if o.Served != "" {
				endpoint = o.Served
			}
			if o.TTFTSeconds > 0 {
				ttft = number(o.TTFTSeconds, 3)
			}
		}
		_, _ = fmt.Fprintln(t, strings.Join([]string{
			d.Time.UTC().Format("15:04:05.000"), printable(d.ID), printable(d.Pool), printable(d.Model),
			number(float64(d.PromptTokens), 0), number(float64(d.CachedTokens), 0), held, printable(endpoint), status, ttft,
		}, "\t"))
	}
	return t.Flush()
}

// printable replaces what a client could use to deceive a terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 || r == '\u2028' || r == '\u2029' || r >= '\u202a' && r <= '\u202e' || r >= '\u2066' && r <= '\u2069' {
			return '?'
		}
		return r
	}, s)
}
