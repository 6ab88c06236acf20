package kvcache

import (
	"log/slog"
	"time"
)

const (
	// firstAfter is how long an endpoint's events may take to begin before that is
	// logged.
	firstAfter = 5 * time.Second
	// At most sayMost lines are logged about one endpoint in sayEvery.
	sayMost  = 4
	sayEvery = time.Minute
)

// telling is what the log has been told of an endpoint.
type telling struct {
	since    time.Time // the first look
	from     time.Time // of the lines that are counted
	lines    int
	known    bool // whether it was told that the endpoint is exact, or not
	exact    bool
	nameless bool
	was      bool // live at the look before
}

// report logs whether the endpoint's cache is known, when that has changed: the state as
// it is at the look, not each that was since the one before.
func (t *target) report(log *slog.Logger, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	told := &t.told
	if told.was && !t.live { // as when the server has died
		t.cache.pool.Suspect(t.id)
	}
	told.was = t.live
	if told.since.IsZero() {
		told.since = now
	}
	if t.nameless && !told.nameless {
		told.nameless = true
		log.Warn("an endpoint's KV cache events name no model, so no request matches them: let their topic end in @MODEL", "pool", t.cache.name, "endpoint", t.id)
	}
	if now.Sub(told.from) >= sayEvery {
		told.from, told.lines = now, 0
	}
	exact := t.live && t.cache.index.Exact(t.slot)
	switch {
	case told.known && told.exact == exact, told.lines == sayMost,
		!told.known && !exact && now.Sub(told.since) < firstAfter:
		return
	}
	told.known, told.exact = true, exact
	told.lines++
	switch {
	case exact:
		log.Info("an endpoint's KV cache is known: its events are followed", "pool", t.cache.name, "endpoint", t.id)
	case t.live:
		log.Warn("an endpoint's KV cache is guessed: its events are not understood, or tell of blocks behind others that are not known; in that case, let it replay events, so that what it cached before is known", "pool", t.cache.name, "endpoint", t.id)
	default:
		log.Warn("an endpoint's KV cache is guessed: its events are not followed", "pool", t.cache.name, "endpoint", t.id)
	}
}
