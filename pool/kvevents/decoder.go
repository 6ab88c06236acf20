package kvevents

import "fmt"

// Decoder decodes messages of one endpoint that come by another way than a
// [Subscriber]. The zero value is ready; it is not safe for concurrent use.
type Decoder struct {
	d decoder
	g groups
}

// Counts is what a message came to: blocks stored and removed, and events of other
// kinds, as in [Stats].
type Counts struct{ Stored, Removed, Cleared, Skipped, Invalid int }

// Decode tells sink what a message's payload, which is a batch of events, says of
// the endpoint. from gives the endpoint's name, model and rank; its address and port
// do not matter. An error means that the payload is no batch: whatever it was to
// say, what sink knows of the endpoint may be wrong from here on.
func (d *Decoder) Decode(payload []byte, from Endpoint, sink Sink) (Counts, error) {
	t, err := d.d.decode(payload, origin{endpoint: from.Name, model: from.Model, rank: from.Rank}, &d.g, sink)
	if err != nil {
		err = fmt.Errorf("KV cache events: %w", err)
	}
	return Counts{Stored: t.stored, Removed: t.removed, Cleared: t.cleared, Skipped: t.skipped, Invalid: t.invalid}, err
}
