package replay

import (
	"fmt"
	"io"
	"math"
	"slices"
	"text/tabwriter"
	"time"
)

// Summary is one policy's result. Times are in seconds. Latencies are of the
// requests that were answered; SuccessRate says how many those are.
type Summary struct {
	Policy      string  `json:"policy"`
	Workload    string  `json:"workload"`
	Speed       float64 `json:"speed"`
	Requests    int     `json:"requests"`
	SuccessRate float64 `json:"success_rate"`
	TTFTMean    float64 `json:"ttft_mean"`
	TTFTP50     float64 `json:"ttft_p50"`
	TTFTP90     float64 `json:"ttft_p90"`
	TTFTP99     float64 `json:"ttft_p99"`
	E2EMean     float64 `json:"e2e_mean"`
	E2EP90      float64 `json:"e2e_p90"`
	HitRate     float64 `json:"hit_rate"`
	// Replicas is the number of routers, 0 for one. Staleness is how long, in
	// seconds, after a decision the others knew of it; with Alone they never did.
	Replicas  int     `json:"replicas,omitempty"`
	Staleness float64 `json:"staleness,omitempty"`
	Alone     bool    `json:"alone,omitempty"`

	ttft []float64 // sorted, of all seeds, for plots
}

// Summarise condenses the samples of one or more replays (one per seed). A
// percentile is the mean of the seeds' percentiles.
func Summarise(policy string, workload string, speed float64, runs ...[]Sample) Summary {
	s := Summary{Policy: policy, Workload: workload, Speed: speed}
	var answered int
	var prompt, cached float64
	for _, samples := range runs {
		var ttft, e2e []float64
		s.Requests += len(samples)
		for i := range samples {
			if !samples[i].OK {
				continue
			}
			ttft = append(ttft, samples[i].TTFT.Seconds())
			e2e = append(e2e, samples[i].E2E.Seconds())
			prompt += float64(samples[i].Prompt)
			cached += float64(samples[i].Cached)
		}
		answered += len(ttft)
		slices.Sort(ttft)
		slices.Sort(e2e)
		s.TTFTMean += mean(ttft)
		s.TTFTP50 += quantile(ttft, 0.5)
		s.TTFTP90 += quantile(ttft, 0.9)
		s.TTFTP99 += quantile(ttft, 0.99)
		s.E2EMean += mean(e2e)
		s.E2EP90 += quantile(e2e, 0.9)
		s.ttft = append(s.ttft, ttft...)
	}
	slices.Sort(s.ttft)
	for _, v := range []*float64{&s.TTFTMean, &s.TTFTP50, &s.TTFTP90, &s.TTFTP99, &s.E2EMean, &s.E2EP90} {
		*v = round(*v / float64(max(1, len(runs))))
	}
	if s.Requests > 0 {
		s.SuccessRate = float64(answered) / float64(s.Requests)
	}
	if prompt > 0 {
		s.HitRate = round(cached / prompt)
	}
	return s
}

func round(v float64) float64 { return math.Round(v*1e6) / 1e6 }

func mean(v []float64) float64 {
	if len(v) == 0 {
		return 0
	}
	sum := 0.0
	for _, x := range v {
		sum += x
	}
	return sum / float64(len(v))
}

// quantile is the nearest-rank quantile of sorted values.
func quantile(v []float64, q float64) float64 {
	if len(v) == 0 {
		return 0
	}
	return v[min(len(v)-1, int(math.Ceil(q*float64(len(v))))-1)]
}

// WriteTable prints summaries for a person; the ratios compare each policy's p90
// TTFT with the first one's.
func WriteTable(out io.Writer, rows []Summary) error {
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "policy\tsuccess\tTTFT mean\tp50\tp90\tp99\te2e mean\te2e p90\thit rate\tp90 vs first\t")
	for i := range rows {
		s := &rows[i]
		ratio := "-"
		if rows[0].TTFTP90 > 0 {
			ratio = fmt.Sprintf("%.2fx", s.TTFTP90/rows[0].TTFTP90)
		}
		fmt.Fprintf(t, "%s\t%.2f%%\t%s\t%s\t%s\t%s\t%s\t%s\t%.1f%%\t%s\t\n", s.Policy, 100*s.SuccessRate,
			seconds(s.TTFTMean), seconds(s.TTFTP50), seconds(s.TTFTP90), seconds(s.TTFTP99),
			seconds(s.E2EMean), seconds(s.E2EP90), 100*s.HitRate, ratio)
	}
	return t.Flush()
}

func seconds(v float64) string {
	switch {
	case v < 0.0995:
		return fmt.Sprintf("%d ms", time.Duration(v*float64(time.Second)).Round(time.Millisecond).Milliseconds())
	case v < 100:
		return fmt.Sprintf("%.2f s", v)
	default:
		return fmt.Sprintf("%.0f s", v)
	}
}
