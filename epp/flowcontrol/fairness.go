package flowcontrol

import "time"

// fairness chooses between the flows of a band that have waiters.
type fairness interface {
	join(f *flow, now time.Time)
	leave(f *flow)
	// changed says that another waiter may be the first of f.
	changed(f *flow)
	// pick is the flow whose turn it is; there is one.
	pick(now time.Time) *flow
}

// ring gives every flow its turn. A flow that joins is served after all who were
// there, one that leaves and comes back as well.
type ring struct{ turn *flow }

func (r *ring) join(f *flow, _ time.Time) {
	if r.turn == nil {
		f.prev, f.next = f, f
		r.turn = f
		return
	}
	f.prev, f.next = r.turn.prev, r.turn
	f.prev.next, f.next.prev = f, f
}

func (r *ring) leave(f *flow) {
	if f.next == f {
		r.turn = nil
	} else {
		if r.turn == f {
			r.turn = f.next
		}
		f.prev.next, f.next.prev = f.next, f.prev
	}
	f.prev, f.next = nil, nil
}

func (r *ring) changed(*flow) {}

func (r *ring) pick(time.Time) *flow {
	f := r.turn
	r.turn = f.next
	return f
}
