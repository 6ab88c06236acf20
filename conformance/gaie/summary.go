package gaie

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
)

// WriteSummary prints the results as a table, and a line that sums them up. Where no
// test ran, there are no results, and it prints nothing.
func (r *Result) WriteSummary(w io.Writer) error {
	if len(r.Suite)+len(r.Extra) == 0 {
		return nil
	}
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "test\tresult\ttime")
	rows := func(list []Test, suffix string) (passed int) {
		for _, t := range list {
			fmt.Fprintf(tw, "%s%s\t%s\t%s\n", t.Name, suffix, t.Outcome, t.Duration.Round(100*time.Millisecond))
			for _, step := range t.FailedSteps {
				fmt.Fprintf(tw, "  %s\t%s\t\n", step, Fail)
			}
			if t.Outcome == Pass {
				passed++
			}
		}
		return passed
	}
	suite, extra := rows(r.Suite, ""), rows(r.Extra, " (ours)")
	if err := tw.Flush(); err != nil {
		return fmt.Errorf("summary: %w", err)
	}
	var lines []string
	if len(r.Suite) > 0 {
		lines = append(lines, fmt.Sprintf("%d of %d tests of the suite passed", suite, len(r.Suite)))
	}
	if len(r.Extra) > 0 {
		lines = append(lines, fmt.Sprintf("%d of %d of our own passed", extra, len(r.Extra)))
	}
	if _, err := fmt.Fprintln(w, strings.Join(lines, ", ")); err != nil {
		return fmt.Errorf("summary: %w", err)
	}
	return nil
}
