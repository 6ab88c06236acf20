package bench

import (
	"bytes"
	"fmt"
	"io"
	"strconv"
)

// WriteKVCache prints a result as Markdown tables.
func WriteKVCache(out io.Writer, r KVCacheResult) error {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%d endpoints hold %s blocks of %d tokens, of which %s are distinct.\n\n",
		r.Endpoints, thousands(float64(r.Blocks)), r.BlockTokens, thousands(float64(r.Distinct)))
	fmt.Fprintln(&b, "| one core, decoding included | messages/s | events/s | blocks/s |")
	fmt.Fprintln(&b, "|---|---:|---:|---:|")
	for _, x := range []struct {
		name string
		r    *KVRate
	}{{"store all blocks", &r.Fill}, {"remove a tenth of them", &r.Remove}} {
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", x.name, thousands(x.r.per(x.r.Messages)), thousands(x.r.per(x.r.Events)), thousands(x.r.per(x.r.Blocks)))
	}
	fmt.Fprintf(&b, "\nMemory: **%.0f MB** per million blocks. To forget an endpoint of %s blocks: **%.1f ms**.\n",
		r.BytesPerBlock, thousands(float64(r.Forget.Blocks)), r.Forget.Milliseconds.Median)
	r.writeSteps(&b)
	r.writeLatencies(&b)
	fmt.Fprintln(&b, "\n| part | Fairway | llm-d's own benchmark, not measured in this run |")
	fmt.Fprintln(&b, "|---|---:|---|")
	for _, p := range r.Parts {
		fmt.Fprintf(&b, "| %s | %s, %.0f allocations | %s |\n", p.Name, duration(p.Nanoseconds.Median), p.Allocations, p.LLMD)
	}
	fmt.Fprintf(&b, "| a decision over 100 endpoints | see above | 128 µs, 132 allocations |\n")
	_, err := out.Write(b.Bytes())
	return err
}

// step finds a step's row.
func (r *KVCacheResult) step(name string, size int) KVStep {
	for _, s := range r.Steps {
		if s.Name == name && s.PromptBytes == size {
			return s
		}
	}
	return KVStep{}
}

func (r *KVCacheResult) writeSteps(b *bytes.Buffer) {
	for _, size := range bodySizes {
		fmt.Fprintf(b, "\n| %s prompt, %s blocks | exact | allocations | approximate | allocations |\n", sizeName(size), thousands(float64(r.step(stepKeys, size).Blocks)))
		fmt.Fprintln(b, "|---|---:|---:|---:|---:|")
		var modes [2]KVStep // exact, approximate
		for _, row := range []struct{ name, exact, approx string }{
			{stepScan, stepScan, stepScan}, {stepTokens, stepTokens, ""}, {stepKeys, stepKeys, ""},
			{"lookup and decision", stepExact, stepApprox}, {"note the dispatch", stepDispatch, stepInsert},
		} {
			fmt.Fprintf(b, "| %s |", row.name)
			for i, name := range []string{row.exact, row.approx} {
				if name == "" {
					fmt.Fprint(b, " | |")
					continue
				}
				s := r.step(name, size)
				fmt.Fprintf(b, " %s | %.1f |", duration(s.Nanoseconds.Median), s.Allocations)
				modes[i].Nanoseconds.Median += s.Nanoseconds.Median
				modes[i].Allocations += s.Allocations
			}
			fmt.Fprintln(b)
		}
		fmt.Fprint(b, "| together |")
		for _, m := range modes {
			fmt.Fprintf(b, " **%s** | %.1f |", duration(m.Nanoseconds.Median), m.Allocations)
		}
		fmt.Fprintln(b)
	}
}

func (r *KVCacheResult) writeLatencies(b *bytes.Buffer) {
	fmt.Fprintln(b, "\n| lookup and decision, exact | ingest meanwhile, blocks/s | goroutines | p50 µs | p99 µs | longest µs |")
	fmt.Fprintln(b, "|---|---:|---:|---:|---:|---:|")
	for _, l := range r.Latencies {
		ingest := "none"
		if l.Ingest.Blocks > 0 {
			ingest = thousands(l.Ingest.per(l.Ingest.Blocks))
		}
		fmt.Fprintf(b, "| %s | %s | %d | %.1f | %.1f | %.0f |\n", sizeName(l.PromptBytes), ingest, l.Lookers, l.P50, l.P99, l.Max)
	}
}

// duration is a time in nanoseconds with three digits or so.
func duration(ns float64) string {
	switch {
	case ns < 1e3:
		return fmt.Sprintf("%.0f ns", ns)
	case ns < 1e4:
		return fmt.Sprintf("%.2f µs", ns/1e3)
	case ns < 1e5:
		return fmt.Sprintf("%.1f µs", ns/1e3)
	}
	return fmt.Sprintf("%.0f µs", ns/1e3)
}

// thousands is a whole number with commas.
func thousands(v float64) string {
	s := strconv.FormatInt(int64(v+0.5), 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
