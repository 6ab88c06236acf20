package metrics

import (
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// requestVecs are the metrics of requests under one naming.
type requestVecs struct {
	naming                                  naming
	total, failed                           *prometheus.CounterVec
	duration, requestSize, responseSize     *prometheus.HistogramVec
	inputTokens, outputTokens, cachedTokens *prometheus.HistogramVec
	ntpot                                   *prometheus.HistogramVec
	ttft, tpot                              *prometheus.HistogramVec // nil unless timed
	gap                                     *prometheus.HistogramVec // nil unless full
	running                                 *prometheus.GaugeVec
}

func newRequestVecs(reg *prometheus.Registry, n naming) requestVecs {
	histogram := func(name, help string, buckets []float64, labels []string) *prometheus.HistogramVec {
		v := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets}, labels)
		reg.MustRegister(v)
		return v
	}
	counter := func(name, help string, labels []string) *prometheus.CounterVec {
		v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
		reg.MustRegister(v)
		return v
	}
	v := requestVecs{
		naming:       n,
		total:        counter(n.request+"_total", "Requests received.", n.totalLabels),
		failed:       counter(n.request+"_error_total", "Requests that failed, by reason.", plus(n.failedLabels, "error_code")),
		duration:     histogram(n.request+"_duration_seconds", "Time from a request's arrival to the end of its response.", durationBuckets, n.labels),
		requestSize:  histogram(n.requestSize, "Length of request bodies in bytes.", sizeBuckets, n.labels),
		responseSize: histogram(n.responseSize, "Length of response bodies in bytes.", responseBuckets, n.labels),
		inputTokens:  histogram(n.inputTokens, "Prompt tokens, as the model server counts them.", inputBuckets, n.labels),
		outputTokens: histogram(n.outputTokens, "Generated tokens, as the model server counts them.", outputBuckets, n.labels),
		cachedTokens: histogram(n.cachedTokens, "Prompt tokens that the model server found in its cache.", inputBuckets, n.labels),
		ntpot:        histogram(n.ntpot, "Request duration per generated token.", perTokenBuckets, n.ntpotLabels),
		running:      prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: n.running, Help: "Requests under way."}, n.runningLabels),
	}
	if n.timed {
		v.ttft = histogram(n.request+"_ttft_seconds", "Time from a request's arrival to its first token, or to the first byte of an answer that is not streamed.", durationBuckets, plus(n.labels, "streaming"))
		v.tpot = histogram(n.request+"_streaming_tpot_seconds", "Time per generated token after the first, of streamed responses.", tpotBuckets, n.labels)
	}
	if n.full {
		v.gap = histogram(n.request+"_streaming_itl_seconds", "Time between two parts of a streamed response that carry tokens.", gapBuckets, n.labels)
	}
	reg.MustRegister(v.running)
	return v
}

// Request counts requests of one combination of labels.
type Request struct {
	kind     kind
	priority string
	sets     []requestSet

	failed   table[string, counters] // by reason
	held     table[stay, observers]
	outcomes table[stay, prometheus.Counter]
	enqueued table[string, observers] // by outcome
	staged   table[staging, counters]
}

// requestSet is a Request's metrics under one naming.
type requestSet struct {
	total                                   prometheus.Counter
	failed                                  *prometheus.CounterVec
	duration, requestSize, responseSize     prometheus.Observer
	inputTokens, outputTokens, cachedTokens prometheus.Observer
	ntpot                                   prometheus.Observer
	tpot, gap                               prometheus.Observer    // nil where the naming has none
	ttft                                    [2]prometheus.Observer // not streamed, streamed; nil as well
	running                                 prometheus.Gauge
}

// Request returns the counters of requests with these labels.
func (m *Metrics) Request(model, target, fairness string, priority int) *Request {
	k := kind{model, target, fairness, priority}
	if r, ok := m.kinds.get(k); ok {
		return r
	}
	others := kind{Other, Other, Other, 0}
	if m.kinds.len() >= MaxRequestKinds {
		k = others
	} else {
		k = kind{m.models.fold(model), m.models.fold(target), m.fairness.fold(fairness), priority}
	}
	return m.kinds.bounded(k, MaxRequestKinds, others, m.newRequest)
}

// label makes a client's text fit to be a label value.
func label(s string) string {
	const maxLabel = 256
	if len(s) > maxLabel {
		s = s[:maxLabel]
	}
	return strings.ToValidUTF8(s, "?")
}

func (m *Metrics) newRequest(k kind) *Request {
	r := &Request{kind: k, priority: strconv.Itoa(k.priority)}
	for i := range m.requests {
		v := &m.requests[i]
		n := &v.naming
		l := k.values(n.labels)
		set := requestSet{
			total:        v.total.WithLabelValues(k.values(n.totalLabels)...),
			failed:       v.failed.MustCurryWith(curry(n.failedLabels, k.values(n.failedLabels))),
			duration:     v.duration.WithLabelValues(l...),
			requestSize:  v.requestSize.WithLabelValues(l...),
			responseSize: v.responseSize.WithLabelValues(l...),
			inputTokens:  v.inputTokens.WithLabelValues(l...),
			outputTokens: v.outputTokens.WithLabelValues(l...),
			cachedTokens: v.cachedTokens.WithLabelValues(l...),
			ntpot:        v.ntpot.WithLabelValues(k.values(n.ntpotLabels)...),
			running:      v.running.WithLabelValues(k.values(n.runningLabels)...),
		}
		if v.ttft != nil {
			set.ttft = [2]prometheus.Observer{
				v.ttft.WithLabelValues(k.values(n.labels, "false")...), v.ttft.WithLabelValues(k.values(n.labels, "true")...),
			}
			set.tpot = v.tpot.WithLabelValues(l...)
		}
		if v.gap != nil {
			set.gap = v.gap.WithLabelValues(l...)
		}
		r.sets = append(r.sets, set)
	}
	return r
}

func curry(names, vals []string) prometheus.Labels {
	l := prometheus.Labels{}
	for i, n := range names {
		l[n] = vals[i]
	}
	return l
}

// Started counts a request's arrival with a body of size bytes.
func (r *Request) Started(size int64) {
	for i := range r.sets {
		s := &r.sets[i]
		s.total.Inc()
		s.running.Inc()
		s.requestSize.Observe(float64(size))
	}
}

// Failed counts a failure.
func (r *Request) Failed(code string) {
	r.failed.of(code, func(code string) counters {
		cs := make(counters, len(r.sets))
		for i := range r.sets {
			cs[i] = r.sets[i].failed.WithLabelValues(code)
		}
		return cs
	}).inc()
}

// FirstToken counts the time from arrival to the first token.
func (r *Request) FirstToken(d time.Duration, streamed bool) {
	k := 0
	if streamed {
		k = 1
	}
	for i := range r.sets {
		if o := r.sets[i].ttft[k]; o != nil {
			o.Observe(d.Seconds())
		}
	}
}

// Gap counts the time between two parts of a streamed response that carry tokens.
func (r *Request) Gap(d time.Duration) {
	for i := range r.sets {
		if o := r.sets[i].gap; o != nil {
			o.Observe(d.Seconds())
		}
	}
}

// Outcome is how a request ended.
type Outcome struct {
	// Duration is the time since its arrival.
	Duration time.Duration
	// Responded is true when a model server's response was seen.
	Responded bool
	// ResponseBytes is the response body's length.
	ResponseBytes int64
	// UsageKnown is true when the model server reported tokens.
	UsageKnown bool
	// InputTokens, OutputTokens and CachedTokens are what it reported;
	// OutputTokens may be counted here instead.
	InputTokens, OutputTokens, CachedTokens int64
	// PerToken is the time per token after the first; 0 when unknown.
	PerToken time.Duration
}

// Ended counts a request's end. Every Started is followed by one Ended.
func (r *Request) Ended(o Outcome) {
	for i := range r.sets {
		s := &r.sets[i]
		s.running.Dec()
		if !o.Responded {
			continue
		}
		s.duration.Observe(o.Duration.Seconds())
		s.responseSize.Observe(float64(o.ResponseBytes))
		if o.UsageKnown {
			s.inputTokens.Observe(float64(o.InputTokens))
			s.cachedTokens.Observe(float64(o.CachedTokens))
		}
		if o.OutputTokens > 0 {
			s.outputTokens.Observe(float64(o.OutputTokens))
			s.ntpot.Observe(o.Duration.Seconds() / float64(o.OutputTokens))
		}
		if o.PerToken > 0 && s.tpot != nil {
			s.tpot.Observe(o.PerToken.Seconds())
		}
	}
}
