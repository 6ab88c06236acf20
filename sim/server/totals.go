package server

import (
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// The engine's histograms, in the order of the metrics page.
const (
	histIteration = iota
	histPrompt
	histGeneration
	histMaxGeneration
	histN
	histMaxTokens
	histPrefillComputed
	histTTFT
	histITL
	histTPOT
	histMeanTPOT
	histE2E
	histQueue
	histInference
	histPrefill
	histDecode
	histCount
)

// totals is what the engine's events add up to. The driver's lock guards it.
type totals struct {
	generation int64
	success    map[string]int64 // by finish reason
	aborted    int64
	// mediaQueries and mediaHits are filled in for a metrics page.
	mediaQueries, mediaHits int64
	hists                   [histCount]histogram
}

func newTotals(maxModelLen int) totals {
	t := totals{success: map[string]int64{}}
	for i := range t.hists {
		bounds := latencyBuckets()
		switch i {
		case histIteration:
			bounds = iterationBuckets()
		case histPrompt, histGeneration, histMaxGeneration, histMaxTokens, histPrefillComputed:
			bounds = lengthBuckets(maxModelLen)
		case histN:
			bounds = lengthBuckets(20)
		case histTTFT:
			bounds = firstTokenBuckets()
		case histITL, histTPOT, histMeanTPOT:
			bounds = interTokenBuckets()
		}
		t.hists[i] = newHistogram(bounds)
	}
	return t
}

// finished adds a request that was answered to its end.
func (t *totals) finished(d *driver, a *answer, now time.Duration) {
	r, generated := &a.req, float64(a.req.Generated)
	if a.pooling {
		generated = 0
	}
	t.success[a.reason]++
	t.hists[histPrompt].observe(float64(r.PromptTokens))
	t.hists[histPrefillComputed].observe(float64(r.PromptTokens - r.Cached - r.Transferred))
	t.hists[histGeneration].observe(generated)
	t.hists[histMaxGeneration].observe(float64(r.OutputTokens))
	t.hists[histN].observe(float64(a.n))
	if a.limit > 0 {
		t.hists[histMaxTokens].observe(float64(a.limit))
	}
	if generated > 1 {
		t.hists[histMeanTPOT].observe(d.seconds(now-a.firstAt) / (generated - 1))
	}
	t.hists[histE2E].observe(d.seconds(now - r.Submitted))
	t.hists[histQueue].observe(d.seconds(r.Admitted - r.Submitted))
	t.hists[histInference].observe(d.seconds(now - r.Admitted))
	t.hists[histPrefill].observe(d.seconds(a.firstAt - r.Admitted))
	t.hists[histDecode].observe(d.seconds(now - a.firstAt))
}

func (t *totals) clone() totals {
	c := totals{generation: t.generation, success: maps.Clone(t.success), aborted: t.aborted}
	for i := range t.hists {
		c.hists[i] = t.hists[i].clone()
	}
	return c
}

// route identifies a handler in the HTTP metrics.
type route struct{ path, method string }

// httpTotals counts HTTP requests by handler. The set of handlers is fixed.
type httpTotals struct {
	mu       sync.Mutex
	all      histogram
	requests map[route]map[string]int64 // by status class
	latency  map[route]histogram
	routes   []route // sorted
}

func (h *httpTotals) init() {
	h.all = newHistogram(httpBuckets())
	h.requests = make(map[route]map[string]int64)
	h.latency = make(map[route]histogram)
}

// count wraps a handler. It must be called before requests are served.
func (h *httpTotals) count(clock Clock, pattern string, next http.HandlerFunc) http.HandlerFunc {
	method, path, _ := strings.Cut(pattern, " ")
	key := route{path, method}
	h.routes = append(h.routes, key)
	slices.SortFunc(h.routes, func(a, b route) int { return strings.Compare(a.path+a.method, b.path+b.method) })
	h.requests[key] = make(map[string]int64)
	h.latency[key] = newHistogram(httpHandlerBuckets())
	return func(w http.ResponseWriter, r *http.Request) {
		began := clock.Now()
		rec := &statusRecorder{ResponseWriter: w, status: http.StatusOK}
		defer func() {
			seconds := clock.Now().Sub(began).Seconds()
			h.mu.Lock()
			defer h.mu.Unlock()
			h.all.observe(seconds)
			l := h.latency[key]
			l.observe(seconds)
			h.latency[key] = l
			h.requests[key][string(rune('0'+rec.status/100))+"xx"]++
		}()
		next(rec, r)
	}
}

// statusRecorder remembers the status.
type statusRecorder struct {
	http.ResponseWriter
	status int
}

// WriteHeader implements http.ResponseWriter.
func (r *statusRecorder) WriteHeader(status int) {
	r.status = status
	r.ResponseWriter.WriteHeader(status)
}

// Unwrap lets http.ResponseController flush.
func (r *statusRecorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }
