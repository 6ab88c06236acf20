package bench

import (
	"fmt"
	"io"
)

// WriteEgress prints the tables.
func WriteEgress(out io.Writer, r EgressResult) error {
	fmt.Fprintln(out, "one request at a time, in OpenAI's API; straight to a provider of it → through Envoy and Fairway")
	w := newTable(out)
	fmt.Fprintln(w, "provider\tbody\tevents\tfirst p50 ms\tfirst p99 ms\twhole p50 ms\twhole p99 ms\tFairway CPU ms\tEnvoy CPU ms\t")
	for i := range r.Rows {
		x := &r.Rows[i]
		first50, first99 := "-", "-"
		if x.Events > 0 {
			first50 = fmt.Sprintf("%.2f → %.2f", x.Direct.FirstP50, x.Through.FirstP50)
			first99 = fmt.Sprintf("%.2f → %.2f", x.Direct.FirstP99, x.Through.FirstP99)
		}
		fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%s\t%.2f → %.2f\t%.2f → %.2f\t%s\t%s\t\n", x.Provider, sizeName(x.BodyBytes), x.Events, first50, first99,
			x.Direct.P50, x.Through.P50, x.Direct.P99, x.Through.P99, cpuCell(x.FairwayCPU), cpuCell(x.EnvoyCPU))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(out, "\ntranslation alone, in one process")
	w = newTable(out)
	fmt.Fprintln(w, "provider\trequest ns/KB\tallocations\tevent ns\tallocations\t")
	for _, x := range r.Translation {
		fmt.Fprintf(w, "%s\t%.0f\t%.0f\t%.0f\t%.1f\t\n", x.Provider, x.RequestKB, x.RequestAllocs, x.Event, x.EventAllocs)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if s := r.Streams; s != nil {
		_, err := fmt.Fprintf(out, "\n%d streams open, translated: Fairway %.1f KiB and Envoy %.1f KiB for each\n", s.Streams, s.Fairway, s.Envoy)
		return err
	}
	return nil
}
