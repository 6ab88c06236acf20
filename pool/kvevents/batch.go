package kvevents

import "math"

// batch is the outer layout of a message: [ts, [event...], rank?], or a map with
// the keys ts, events and data_parallel_rank.
type batch struct {
	events  []byte // the array, with its header
	rank    int
	hasRank bool
}

// parseBatch checks that a whole message is MessagePack and finds its parts.
func parseBatch(payload []byte) (batch, error) {
	r := reader{b: payload}
	var b batch
	if r.isMap() {
		n, err := r.object()
		if err != nil {
			return b, err
		}
		for range n {
			key, err := r.data()
			if err != nil {
				return b, err
			}
			if err := b.field(&r, string(key)); err != nil {
				return b, err
			}
		}
	} else {
		n, err := r.array()
		if err != nil {
			return b, err
		}
		for i := range n {
			key := ""
			if i < len(batchFields) {
				key = batchFields[i]
			}
			if err := b.field(&r, key); err != nil {
				return b, err
			}
		}
	}
	if b.events == nil {
		return b, errType
	}
	return b, nil
}

// batchFields are a batch's fields in the order of its array form.
var batchFields = [...]string{"ts", "events", "data_parallel_rank"}

func (b *batch) field(r *reader, key string) error {
	switch key {
	case "events":
		if !r.isArray() {
			return errType
		}
		from := r.at
		if err := r.skip(); err != nil {
			return err
		}
		b.events = r.b[from:r.at]
		return nil
	case "data_parallel_rank":
		if r.null() {
			return nil
		}
		v, err := r.integer()
		if err != nil || v > math.MaxInt32 {
			return errType
		}
		b.rank, b.hasRank = int(v), true
		return nil
	}
	return r.skip()
}
