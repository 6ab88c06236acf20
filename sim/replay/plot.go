package replay

import (
	"bufio"
	"fmt"
	"html"
	"io"
	"math"
	"slices"
)

const (
	plotWidth, plotHeight           = 900, 520
	plotLeft, plotRight             = 70, 190
	plotTop, plotBottom             = 50, 60
	plotInnerWidth, plotInnerHeight = plotWidth - plotLeft - plotRight, plotHeight - plotTop - plotBottom
	plotCurvePoints                 = 400
	plotMinSeconds                  = 0.01
)

// WritePlot draws the summaries as SVG: with one speed, each policy's
// distribution of TTFT; with several, its p90 TTFT against the speed.
func WritePlot(out io.Writer, title string, rows []Summary) error {
	w := bufio.NewWriter(out)
	fmt.Fprintf(w, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="13">`+"\n", plotWidth, plotHeight)
	fmt.Fprintf(w, `<rect width="100%%" height="100%%" fill="white"/><text x="%d" y="28" font-size="16">%s</text>`+"\n", plotLeft, html.EscapeString(title))
	speeds := map[float64]bool{}
	for i := range rows {
		speeds[rows[i].Speed] = true
	}
	if len(speeds) > 1 {
		plotSpeeds(w, rows)
	} else {
		plotDistribution(w, rows)
	}
	fmt.Fprintln(w, "</svg>")
	return w.Flush()
}

// axis maps a value range onto pixels, linearly or by logarithm.
type axis struct {
	lo, hi, from, to float64
	log              bool
}

func (a axis) at(v float64) float64 {
	lo, hi := a.lo, a.hi
	if a.log {
		v, lo, hi = math.Log10(max(v, a.lo)), math.Log10(lo), math.Log10(hi)
	}
	if hi <= lo {
		return a.from
	}
	return a.from + (a.to-a.from)*min(1, max(0, (v-lo)/(hi-lo)))
}

// timeAxis covers the values with whole decades.
func timeAxis(values []float64, from, to float64) axis {
	lo, hi := math.Inf(1), plotMinSeconds*10
	for _, v := range values {
		lo, hi = min(lo, max(v, plotMinSeconds)), max(hi, v)
	}
	return axis{
		lo: math.Pow(10, math.Floor(math.Log10(min(lo, hi)))), hi: math.Pow(10, math.Ceil(math.Log10(hi))),
		from: from, to: to, log: true,
	}
}

func (a axis) decades() []float64 {
	var out []float64
	for v := a.lo; v <= a.hi*1.0001; v *= 10 {
		out = append(out, v)
	}
	return out
}

func plotDistribution(w io.Writer, rows []Summary) {
	var all []float64
	for i := range rows {
		if n := len(rows[i].ttft); n > 0 {
			all = append(all, rows[i].ttft[n/20], rows[i].ttft[n-1])
		}
	}
	x := timeAxis(all, plotLeft, plotLeft+plotInnerWidth)
	y := axis{lo: 0, hi: 1, from: plotTop + plotInnerHeight, to: plotTop}
	for _, v := range x.decades() {
		gridV(w, x.at(v), seconds(v))
	}
	for v := 0.0; v < 1.01; v += 0.25 {
		gridH(w, y.at(v), fmt.Sprintf("%.0f%%", 100*v))
	}
	axisTitles(w, "time to first token", "requests answered within")
	for i := range rows {
		var points [][2]float64
		n := len(rows[i].ttft)
		for k := range plotCurvePoints + 1 {
			if n == 0 {
				break
			}
			j := min(n-1, k*n/plotCurvePoints)
			points = append(points, [2]float64{x.at(rows[i].ttft[j]), y.at(rows[i].SuccessRate * float64(j+1) / float64(n))})
		}
		curve(w, i, rows[i].Policy, points)
	}
}

func plotSpeeds(w io.Writer, rows []Summary) {
	var names []string
	var times []float64
	lo, hi := math.Inf(1), 0.0
	for i := range rows {
		if !slices.Contains(names, rows[i].Policy) {
			names = append(names, rows[i].Policy)
		}
		times = append(times, rows[i].TTFTP90)
		lo, hi = min(lo, rows[i].Speed), max(hi, rows[i].Speed)
	}
	x := axis{lo: lo, hi: hi, from: plotLeft, to: plotLeft + plotInnerWidth}
	y := timeAxis(times, plotTop+plotInnerHeight, plotTop)
	for i := range rows {
		if rows[i].Policy == names[0] {
			gridV(w, x.at(rows[i].Speed), fmt.Sprintf("x%g", rows[i].Speed))
		}
	}
	for _, v := range y.decades() {
		gridH(w, y.at(v), seconds(v))
	}
	axisTitles(w, "speed of the workload", "p90 time to first token")
	for k, name := range names {
		var points [][2]float64
		for i := range rows {
			if rows[i].Policy == name {
				points = append(points, [2]float64{x.at(rows[i].Speed), y.at(rows[i].TTFTP90)})
			}
		}
		curve(w, k, name, points)
	}
}

func gridV(w io.Writer, x float64, label string) {
	fmt.Fprintf(w, `<line x1="%.1f" x2="%.1f" y1="%d" y2="%d" stroke="#ddd"/><text x="%.1f" y="%d" text-anchor="middle">%s</text>`+"\n",
		x, x, plotTop, plotTop+plotInnerHeight, x, plotTop+plotInnerHeight+18, label)
}

func gridH(w io.Writer, y float64, label string) {
	fmt.Fprintf(w, `<line x1="%d" x2="%d" y1="%.1f" y2="%.1f" stroke="#ddd"/><text x="%d" y="%.1f" text-anchor="end">%s</text>`+"\n",
		plotLeft, plotLeft+plotInnerWidth, y, y, plotLeft-6, y+4, label)
}

func axisTitles(w io.Writer, x, y string) {
	fmt.Fprintf(w, `<text x="%d" y="%d" text-anchor="middle">%s</text>`+"\n", plotLeft+plotInnerWidth/2, plotHeight-16, x)
	fmt.Fprintf(w, `<text transform="translate(16 %d) rotate(-90)" text-anchor="middle">%s</text>`+"\n", plotTop+plotInnerHeight/2, y)
}

func curve(w io.Writer, i int, name string, points [][2]float64) {
	colours := [...]string{"#d62728", "#1f77b4", "#2ca02c", "#ff7f0e", "#9467bd", "#8c564b", "#e377c2", "#7f7f7f", "#bcbd22", "#17becf"}
	c, width := colours[i%len(colours)], 1.5
	if i == 0 {
		width = 3
	}
	fmt.Fprintf(w, `<polyline fill="none" stroke="%s" stroke-width="%.1f" points="`, c, width)
	for _, p := range points {
		fmt.Fprintf(w, "%.1f,%.1f ", p[0], p[1])
	}
	y := plotTop + 14 + 20*i
	fmt.Fprintf(w, `"/><line x1="%d" x2="%d" y1="%d" y2="%d" stroke="%s" stroke-width="3"/><text x="%d" y="%d">%s</text>`+"\n",
		plotWidth-plotRight+14, plotWidth-plotRight+38, y, y, c, plotWidth-plotRight+44, y+4, html.EscapeString(name))
}
