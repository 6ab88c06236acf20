package scheduler

// What a LoRA adapter costs, in tokens of prefill at [DefaultPrefillRate]. In replays
// with thirty adapters, four at a time, halving or doubling either changes p90 TTFT by a
// tenth at most; at saturation, by two fifths. Not to look at adapters at all takes it to
// sixty times as much.
const (
	// adapterHeld is 4 s, in which an answer of some 200 tokens is decoded: how long an
	// adapter keeps its place at least. While more requests for it come, it keeps it.
	adapterHeld = 81_920
	// adapterPlace is half a second, about what it takes to load an adapter, 100 ms from
	// the host to seconds from far away: what it costs to take an engine's last place,
	// which the next one will lack.
	adapterPlace = 10_240
)

// adapterCost is what it costs an endpoint with those metrics to run the LoRA adapter
// of that number, in tokens. place delays others; wait is the request's own.
//
// Engines run at most MaxLoRA adapters at a time. A request for another one stands in
// the engine's queue, however idle the endpoint is, until one of those has no requests
// left and the adapters that came before have had their turn.
//
// As long as there is a place, a new adapter costs the more the fewer are left: so a hot
// one spreads where there is most room, and only when the load of the endpoints that run
// it is worth it, and a rare one finds some room. There is no cost for loading alone,
// since an adapter that does not run may still be in memory, and is the likelier to be
// the fewer places are taken. Where the adapter runs already, it costs nothing.
func adapterCost(m *Metrics, number int32) (place, wait float64) {
	if m.MaxLoRA <= 0 {
		return 0, 0 // the engine does not say
	}
	var others int32
	waits := false
	if u := m.Adapters; u != nil {
		if u.active.has(number) {
			return 0, 0
		}
		others = u.distinct
		if waits = u.waiting.has(number); waits {
			others-- // itself
		}
	}
	if over := others - m.MaxLoRA; over >= 0 {
		wait = adapterHeld * float64(over+1)
	}
	if !waits {
		taken := min(1, float64(others+1)/float64(m.MaxLoRA))
		place = adapterPlace * taken * taken
	}
	return place, wait
}
