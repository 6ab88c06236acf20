package egress

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

const (
	// failuresInRow is how many tries in a row fail before a backend cools.
	failuresInRow = 5
	// firstRest is how long it cools then; each failed probe doubles that, up to
	// longestRest.
	firstRest, longestRest = time.Second, 30 * time.Second
	// probeLease is how long the one request that is let through may take to begin to
	// be answered before another one is.
	probeLease = 5 * time.Second
)

// Cooling knows which backends are better left alone for a while: those that said so,
// and those that fail whatever they are asked. An outage then does not double the load
// of what stands behind it, and its requests do not wait for their first try to fail.
//
// It is what this process has seen, and safe for concurrent use. Reading takes no lock.
type Cooling struct {
	now      func() time.Time
	backends sync.Map // of label to *temperature
}

// temperature is how one backend is doing. Times are in Unix nanoseconds.
type temperature struct {
	// told is until when the backend asked to be left alone.
	told atomic.Int64
	// until is when the rest that failures led to is over; 0 for none. Until the next
	// success, one request at a time is let through then, and next is when it may be.
	until, next atomic.Int64

	refusals, outages atomic.Uint64 // for metrics

	mu       sync.Mutex    // of writers
	failures int           // in a row
	rest     time.Duration // the last one
}

// NewCooling returns one in which nothing cools. now is the clock; nil means time.Now.
func NewCooling(now func() time.Time) *Cooling {
	if now == nil {
		now = time.Now
	}
	return &Cooling{now: now}
}

// Cools says that a request should go somewhere else, if it can. Of a backend that rested
// after failures it says so of all but one request at a time, until that one, or any
// other, succeeds; so it is to be asked only of a backend that gets the request when
// it does not cool.
func (c *Cooling) Cools(label string) bool {
	t := c.of(label, false)
	if t == nil {
		return false
	}
	told, until := t.told.Load(), t.until.Load()
	if told == 0 && until == 0 {
		return false
	}
	now := c.now()
	switch at := now.UnixNano(); {
	case at < told || at < until:
		return true
	case until == 0:
		return false
	default:
		next := t.next.Load()
		return at < next || !t.next.CompareAndSwap(next, now.Add(probeLease).UnixNano())
	}
}

// Note takes in the status of an answer, and its headers by lower-case name.
func (c *Cooling) Note(label string, status int, header func(name string) string) {
	now := c.now()
	wait, asked := waitFor(status, header, now)
	if asked {
		t := c.of(label, true)
		t.refusals.Add(1)
		until := now.Add(wait).UnixNano()
		for old := t.told.Load(); until > old && !t.told.CompareAndSwap(old, until); old = t.told.Load() {
		}
	}
	switch {
	case status >= 500 && status != 501: // which is about the request
		c.Failed(label)
	case status != 429:
		c.succeeded(label)
	}
}

// Failed takes in a try that was not answered.
func (c *Cooling) Failed(label string) {
	t := c.of(label, true)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.failures++
	now := c.now()
	resting := t.until.Load()
	switch {
	case resting == 0 && t.failures < failuresInRow, now.UnixNano() < resting:
		return // or of a request from before the rest
	case resting == 0:
		t.rest = firstRest
	default:
		t.rest = min(2*t.rest, longestRest)
	}
	t.outages.Add(1)
	t.next.Store(0)
	t.until.Store(now.Add(t.rest).UnixNano())
}

// succeeded ends what failures led to, and nothing of what the backend asked for.
func (c *Cooling) succeeded(label string) {
	t := c.of(label, false)
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.failures, t.rest = 0, 0
	t.until.Store(0)
	t.next.Store(0)
}

// Forget drops what is known of a backend that is gone.
func (c *Cooling) Forget(label string) { c.backends.Delete(label) }

func (c *Cooling) of(label string, create bool) *temperature {
	if t, ok := c.backends.Load(label); ok {
		return t.(*temperature)
	}
	if !create {
		return nil
	}
	t, _ := c.backends.LoadOrStore(label, &temperature{})
	return t.(*temperature)
}

var (
	coolingNow = prometheus.NewDesc("fairway_backend_cooling",
		"1 while requests pass over a backend, because it asked for that or because it fails; else 0.", []string{"backend"}, nil)
	coolingTotal = prometheus.NewDesc("fairway_backend_cooled_total",
		"How often a backend began to be passed over, or for longer: refusal, because it asked for that; failure, because it failed.",
		[]string{"backend", "reason"}, nil)
)

// Describe implements prometheus.Collector.
func (c *Cooling) Describe(to chan<- *prometheus.Desc) { to <- coolingNow; to <- coolingTotal }

// Collect implements prometheus.Collector.
func (c *Cooling) Collect(to chan<- prometheus.Metric) {
	now := c.now().UnixNano()
	c.backends.Range(func(key, value any) bool {
		label, t := key.(string), value.(*temperature)
		cooling := 0.0
		if now < t.told.Load() || t.until.Load() != 0 {
			cooling = 1
		}
		to <- prometheus.MustNewConstMetric(coolingNow, prometheus.GaugeValue, cooling, label)
		for reason, n := range map[string]*atomic.Uint64{"refusal": &t.refusals, "failure": &t.outages} {
			to <- prometheus.MustNewConstMetric(coolingTotal, prometheus.CounterValue, float64(n.Load()), label, reason)
		}
		return true
	})
}
