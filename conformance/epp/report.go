package epp

import (
	"encoding/json"
	"fmt"
	"io"
	"time"

	"go.yaml.in/yaml/v3"
)

// Status is how a case went.
type Status string

// The ways a case goes.
const (
	Passed  Status = "passed"
	Failed  Status = "failed"
	Skipped Status = "skipped"
)

// Result is a case and how it went.
type Result struct {
	Case   `yaml:",inline"`
	Status Status `json:"status" yaml:"status"`
	// Failure is set when it failed.
	Failure *Failure `json:"failure,omitempty" yaml:"failure,omitempty"`
	// Reason says why it was skipped.
	Reason string `json:"reason,omitempty" yaml:"reason,omitempty"`
	// Seconds is how long it took.
	Seconds float64 `json:"seconds" yaml:"seconds"`
}

// Count is how many cases of a level went how.
type Count struct {
	Passed  int `json:"passed" yaml:"passed"`
	Failed  int `json:"failed" yaml:"failed"`
	Skipped int `json:"skipped" yaml:"skipped"`
}

// Summary counts the cases by level.
type Summary struct {
	Must   Count `json:"must" yaml:"must"`
	Should Count `json:"should" yaml:"should"`
	May    Count `json:"may" yaml:"may"`
}

// Report is a whole run.
type Report struct {
	Target string `json:"target" yaml:"target"`
	Model  string `json:"model" yaml:"model"`
	// Version is the version of the program that judged; the caller fills it in.
	Version string    `json:"version,omitempty" yaml:"version,omitempty"`
	Started time.Time `json:"started" yaml:"started"`
	// Endpoints are those given, or learnt from picks.
	Endpoints []string `json:"endpoints" yaml:"endpoints"`
	Summary   Summary  `json:"summary" yaml:"summary"`
	Results   []Result `json:"results" yaml:"results"`
}

// Conformant reports whether no MUST failed.
func (r *Report) Conformant() bool { return r.Summary.Must.Failed == 0 }

func (r *Report) add(result Result) {
	r.Results = append(r.Results, result)
	count := &r.Summary.May
	switch result.Level {
	case Must:
		count = &r.Summary.Must
	case Should:
		count = &r.Summary.Should
	}
	switch result.Status {
	case Passed:
		count.Passed++
	case Failed:
		count.Failed++
	case Skipped:
		count.Skipped++
	}
}

// WriteJSON writes the report as JSON.
func (r *Report) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

// WriteYAML writes the report as YAML.
func (r *Report) WriteYAML(w io.Writer) error {
	e := yaml.NewEncoder(w)
	e.SetIndent(2)
	if err := e.Encode(r); err != nil {
		return err
	}
	return e.Close()
}

// WriteSummary writes the counts for a person.
func (r *Report) WriteSummary(w io.Writer) error {
	_, err := fmt.Fprintln(w)
	for _, l := range []struct {
		level Level
		count Count
	}{{Must, r.Summary.Must}, {Should, r.Summary.Should}, {May, r.Summary.May}} {
		if err == nil {
			_, err = fmt.Fprintf(w, "%-6s  %3d passed  %3d failed  %3d skipped\n", l.level, l.count.Passed, l.count.Failed, l.count.Skipped)
		}
	}
	return err
}

// TextReporter writes results for a person as they come.
type TextReporter struct {
	w io.Writer
	// Verbose also shows the clause of what passed.
	Verbose bool
}

// NewTextReporter returns a reporter that writes to w, whose errors it ignores.
func NewTextReporter(w io.Writer) *TextReporter { return &TextReporter{w: w} }

// Done implements Reporter.
func (t *TextReporter) Done(r Result) {
	word := map[Status]string{Passed: "ok", Failed: "FAIL", Skipped: "skip"}[r.Status]
	_, _ = fmt.Fprintf(t.w, "%-4s  %-6s  %s\n", word, r.Level, r.ID)
	if t.Verbose || r.Status == Failed {
		_, _ = fmt.Fprintf(t.w, "              clause  %s (%s)\n", r.Clause, r.Section)
	}
	if f := r.Failure; f != nil {
		_, _ = fmt.Fprintf(t.w, "              sent    %s\n              got     %s\n              want    %s\n", f.Sent, f.Got, f.Want)
	}
	if r.Reason != "" {
		_, _ = fmt.Fprintf(t.w, "              %s\n", r.Reason)
	}
}

// WriteCases lists the cases as a Markdown table.
func WriteCases(w io.Writer, cases []Case) error {
	if _, err := fmt.Fprint(w, "| case | level | asks | source |\n|---|---|---|---|\n"); err != nil {
		return err
	}
	for _, c := range cases {
		if _, err := fmt.Fprintf(w, "| `%s` | %s | %s | %s |\n", c.ID, c.Level, c.Clause, c.Section); err != nil {
			return err
		}
	}
	return nil
}
