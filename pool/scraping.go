package pool

import (
	"context"
	"log/slog"
	"math"
	"time"

	"github.com/fairway-ai/fairway/pool/scrape"
	"github.com/fairway-ai/fairway/scheduler"
)

const (
	// minGap separates the scrapes of one endpoint however often it is suspected.
	minGap = 20 * time.Millisecond
	// maxBackoff is the longest wait before a failing endpoint is tried again
	// while requests pass.
	maxBackoff = time.Second
	// watchFactor times Options.Interval is the wait for an endpoint without
	// requests in a pool that has some: other clients may be loading it.
	watchFactor = 10
	// refusals in a row make an endpoint unreachable: one may be a restart of the
	// listener or a full backlog.
	refusals = 2
)

// health is what the scraper of one endpoint remembers from scrape to scrape.
type health struct {
	ended     time.Time // of the last scrape
	succeeded time.Time // of the last success
	busy      time.Time // when requests were last seen in flight
	failures  int       // in a row
	refused   int       // in a row
	capacity  int64     // last told to the index
	failing   bool      // as logged
}

// watch scrapes one endpoint until ctx ends. Endpoints do not wait for each
// other: each has its own watch and at most one scrape in flight. n is the number
// of endpoints that may be starting at the same time.
func (p *Pool) watch(ctx context.Context, m *member, n int) {
	var h health
	spread := min(p.o.Interval, time.Duration(n)*wakeSpread)
	timer := time.NewTimer(time.Duration(p.o.Rand() * float64(spread)))
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-m.kick:
			if gap := minGap - p.o.Now().Sub(h.ended); !h.ended.IsZero() && gap > 0 {
				timer.Reset(gap)
				continue
			}
		}
		p.scrape(ctx, m, &h)
		if ctx.Err() != nil {
			return
		}
		timer.Reset(p.wait(m, &h))
	}
}

// interval is the time between two successful scrapes of an endpoint, by what is
// going on.
func (p *Pool) interval(m *member, h *health, now time.Time) time.Duration {
	if !m.load.Idle() {
		h.busy = now
	}
	active := p.activeAt(now)
	switch {
	case !h.busy.IsZero() && now.Sub(h.busy) < p.o.IdleAfter:
		return p.o.Interval
	case active:
		return min(watchFactor*p.o.Interval, p.o.IdleInterval)
	default:
		return p.o.IdleInterval
	}
}

// wait is the time until the next scrape.
func (p *Pool) wait(m *member, h *health) time.Duration {
	now := p.o.Now()
	every := p.interval(m, h, now)
	d := every
	if h.failures > 0 {
		d = backoff(p.o.Interval, h.failures, every == p.o.IdleInterval, p.o.IdleInterval)
	}
	d = time.Duration(float64(d) * (0.9 + 0.2*p.o.Rand()))
	if h.failures > 0 && !h.succeeded.IsZero() {
		// Look again when the last values become stale.
		if left := p.o.Staleness + every - now.Sub(h.succeeded); left > 0 {
			d = min(d, left+time.Millisecond)
		}
	}
	return d
}

// backoff doubles with every failure, up to a second, or the idle interval when
// nobody is waiting.
func backoff(interval time.Duration, failures int, idle bool, idleInterval time.Duration) time.Duration {
	longest := maxBackoff
	if idle {
		longest = idleInterval
	}
	return max(interval, min(longest, interval<<min(failures-1, 16)))
}

// scrape reads the endpoint's page once and takes the result in.
func (p *Pool) scrape(ctx context.Context, m *member, h *health) {
	p.mu.Lock()
	spec, url, engine := m.spec, m.url, m.engine
	p.mu.Unlock()

	limited, cancel := context.WithTimeout(ctx, p.o.Timeout)
	defer cancel()
	before := m.load.View().Dispatched
	v, err := p.o.Scraper.Fetch(limited, url, engine)
	sent := max(before, m.load.View().Dispatched)
	if ctx.Err() != nil {
		return // the endpoint or the process is leaving
	}
	log := p.log.With("endpoint", spec.ID, "address", spec.Address)
	if err == nil {
		h.ended = p.o.Now()
		p.took(m, h, v, sent, log)
		return
	}
	reach := p.reachability(ctx, err, url, spec.Address)
	if ctx.Err() != nil {
		return
	}
	h.ended = p.o.Now()
	p.failed(m, h, err, reach, log)
}

// reachability is what a failed scrape says of the endpoint.
type reachability uint8

const (
	unclear reachability = iota
	refused
	answers
)

// reachability judges a scrape's error. When the metrics page is elsewhere, it
// being refused says nothing of the port that serves requests; that is tried then.
func (p *Pool) reachability(ctx context.Context, err error, url, address string) reachability {
	own := scrape.SameHost(url, address)
	switch {
	case scrape.Answered(err) && own:
		return answers
	case !scrape.Unreachable(err):
		return unclear
	case own:
		return refused
	}
	ctx, cancel := context.WithTimeout(ctx, p.o.Timeout)
	defer cancel()
	switch err := p.o.Scraper.Probe(ctx, address); {
	case err == nil:
		return answers
	case scrape.Unreachable(err):
		return refused
	}
	return unclear
}

// took takes in a page.
func (p *Pool) took(m *member, h *health, v scrape.Values, sent int32, log *slog.Logger) {
	h.succeeded = h.ended
	h.failures, h.refused = 0, 0
	if h.failing {
		h.failing = false
		log.Info("endpoint's metrics can be read again")
	}
	otherWaiting, otherRunning := others(v, sent)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.reachableLocked(m, log)
	p.adapters = p.adapters.With(v.ActiveLoRA).With(v.WaitingLoRA)
	m.metrics = scheduler.Metrics{
		Known:        true,
		UnixNano:     h.ended.UnixNano(),
		Waiting:      v.Waiting,
		Running:      v.Running,
		OtherWaiting: otherWaiting,
		OtherRunning: otherRunning,
		KVUsage:      v.KVUsage,
		BlockTokens:  v.BlockTokens,
		Blocks:       v.Blocks,
		MaxLoRA:      v.MaxLoRA,
		ActiveLoRA:   v.ActiveLoRA,
		WaitingLoRA:  v.WaitingLoRA,
		Adapters:     p.adapters.Use(v.ActiveLoRA, v.WaitingLoRA),
		Custom:       v.Custom,
	}
	if c := int64(v.BlockTokens) * int64(v.Blocks); c > 0 && c != h.capacity && !m.gone {
		h.capacity = c
		p.index.Resize(m.slot, c)
	}
	p.publishSoonLocked(h.ended)
}

// reachableLocked ends a time of refused connections. Whoever listens again is a
// new process with an empty cache.
func (p *Pool) reachableLocked(m *member, log *slog.Logger) {
	if m.metrics.Unreachable {
		m.metrics.Unreachable = false
		if !m.gone {
			p.index.Clear(m.slot)
		}
		log.Info("endpoint accepts connections again")
	}
}

// failed takes in a scrape without a result.
func (p *Pool) failed(m *member, h *health, err error, reach reachability, log *slog.Logger) {
	h.failures++
	if p.o.Unread != nil {
		p.o.Unread(err)
	}
	if reach == refused {
		h.refused++
	} else {
		h.refused = 0
	}
	if !h.failing {
		h.failing = true
		log.Warn("endpoint's metrics cannot be read", "error", err)
	}
	limit := p.o.Staleness + p.interval(m, h, h.ended)
	p.mu.Lock()
	was := m.metrics
	if h.ended.Sub(h.succeeded) > limit {
		// What was in flight then says nothing of now.
		m.metrics.Known = false
		m.metrics.OtherWaiting, m.metrics.OtherRunning, m.metrics.Adapters = 0, 0, nil
	}
	switch {
	case reach == answers:
		p.reachableLocked(m, log)
	case h.refused >= refusals && !was.Unreachable:
		m.metrics.Unreachable = true
		log.Warn("endpoint refuses connections and gets no requests", "error", err)
	}
	switch {
	case m.metrics.Unreachable && !was.Unreachable && !m.gone:
		// Requests may be waiting for this endpoint: they must hear of it now.
		p.publishLocked(h.ended)
		p.pending = append(p.pending, p.snap.Load())
	case m.metrics.Known != was.Known || m.metrics.Unreachable != was.Unreachable:
		p.publishSoonLocked(h.ended)
	}
	p.mu.Unlock()
	p.announce()
}

// others splits off what this process did not send. The engine's count and ours
// are of slightly different moments, so the larger of ours, before and after the
// scrape, is taken away: a request of our own is never taken for another's. The
// remainder counts as running as far as the engine has running requests, because
// a waiting one is priced with a prompt still to be processed.
func others(v scrape.Values, sent int32) (waiting, running int32) {
	n := int64(v.Waiting) + int64(v.Running) - int64(sent)
	n = max(0, min(n, math.MaxInt32))
	r := min(n, int64(v.Running))
	return int32(n - r), int32(r)
}
