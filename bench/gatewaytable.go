package bench

import (
	"fmt"
	"io"
	"text/tabwriter"
)

func newTable(out io.Writer) *tabwriter.Writer {
	return tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
}

// writeBusy prints throughput and CPU time.
func writeBusy(out io.Writer, rows []GatewayRow, concurrency int) error {
	fmt.Fprintf(out, "%d requests at a time; Envoy alone → with the picker\n", concurrency)
	w := newTable(out)
	fmt.Fprintln(w, "body\trequests/s\tratio\tlow-high\tp50 ms\tp99 ms\tEnvoy CPU ms\tpicker CPU ms\t")
	for i := range rows {
		r := &rows[i]
		fmt.Fprintf(w, "%s\t%.0f → %.0f\t%.2f\t%.2f-%.2f\t%.2f → %.2f\t%.2f → %.2f\t%s → %s\t%s\t\n", r.Case,
			r.Envoy.Rate.Median, r.Picker.Rate.Median, r.Ratio.Median, r.Ratio.Low, r.Ratio.High,
			r.Envoy.P50Busy, r.Picker.P50Busy, r.Envoy.P99Busy, r.Picker.P99Busy,
			cpuCell(r.Envoy.EnvoyCPU), cpuCell(r.Picker.EnvoyCPU), cpuCell(r.Picker.PickerCPU))
	}
	return w.Flush()
}

// writeQuiet prints latency without queueing.
func writeQuiet(out io.Writer, rows []GatewayRow) error {
	fmt.Fprintln(out, "\none request at a time; Envoy alone → with the picker")
	w := newTable(out)
	fmt.Fprintln(w, "body\tp50 ms\tp99 ms\tadded p50 ms\tadded p99 ms\t")
	for i := range rows {
		r := &rows[i]
		fmt.Fprintf(w, "%s\t%.2f → %.2f\t%.2f → %.2f\t%.2f\t%.2f\t\n", r.Case,
			r.Envoy.P50, r.Picker.P50, r.Envoy.P99, r.Picker.P99, r.AddedP50, r.AddedP99)
	}
	return w.Flush()
}

func cpuCell(v *float64) string {
	if v == nil {
		return "-"
	}
	return fmt.Sprintf("%.3f", *v)
}
