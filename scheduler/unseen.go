package scheduler

import (
	"math"
	"time"
)

// Unseen estimates, for one replica of several, the work that the others send to an
// endpoint while it cannot know: they decide on the same grounds at the same time, and
// so choose the same endpoint.
//
// Work of theirs that is on its way delays this replica's request; and this replica's
// request, of which they do not know for as long, delays as much work of theirs. Both
// is what they send in the time it takes to hear of each other, at worst all of it to
// the endpoint in question. The endpoints are therefore divided among the replicas:
// each counts that work at those that are not its own, and so prefers, of endpoints
// that are nearly as good as each other, different ones than the others do.
//
// The zero Unseen has seen nothing. It is not safe for concurrent use.
type Unseen struct {
	at   time.Time
	sent int64
	rate float64 // tokens per second
}

// unseenWindow is the time over which the others' rate is averaged.
const unseenWindow = 2 * time.Second

// Observe takes in what the others have sent to the pool so far, in tokens, see
// [Work.Sent]. A smaller number than before starts anew.
func (u *Unseen) Observe(now time.Time, sent int64) {
	d := now.Sub(u.at)
	switch {
	case u.at.IsZero() || sent < u.sent:
	case d <= 0:
		return
	default:
		keep := math.Exp(-d.Seconds() / unseenWindow.Seconds())
		u.rate = u.rate*keep + float64(sent-u.sent)/d.Seconds()*(1-keep)
	}
	u.at, u.sent = now, sent
}

// Tokens is the work to count at each endpoint that is not the replica's own, when
// news from the others is as old as lag.
func (u *Unseen) Tokens(lag time.Duration) int64 {
	return int64(min(2*u.rate*lag.Seconds(), maxWork))
}
