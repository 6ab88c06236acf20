package fire

import (
	"fmt"
	"math"
	"math/rand/v2"
	"net"
	"testing"

	"github.com/fairway-ai/fairway/internal/zmtp"
)

// TestKVEventsSequences: what a liar has said is withdrawn once it lies about its
// sequence of messages.
func TestKVEventsSequences(t *testing.T) {
	nothing := kvBatch()
	// then says at number first that it holds its prompt, and goes on with these numbers.
	then := func(first uint64, numbers ...uint64) func(*kvLiar, net.Conn) {
		return func(l *kvLiar, nc net.Conn) {
			c, ok := l.greeted(nc)
			if !ok || l.says(c, first) != nil {
				return
			}
			for _, n := range numbers {
				if c.Write(l.topic(), kvNumber(n), nothing) != nil {
					return
				}
			}
			l.did.Add(1)
			l.holds(nc)
		}
	}
	runKVAttacks(t, []kvAttack{
		{name: "a jump", conn: then(0, 7), enough: 1, own: noLie},
		{name: "a jump to the end", conn: then(0, math.MaxUint64-1), enough: 1, own: noLie},
		{name: "the mark of an end", conn: then(0, math.MaxUint64), enough: 1, own: noLie},
		{name: "a repeated number", conn: then(5, 5), enough: 1, own: noLie},
		{name: "a number of before", conn: then(5, 6, 2), enough: 1, own: noLie},
		{name: "around the end", conn: then(math.MaxUint64-2, math.MaxUint64-1, math.MaxUint64, 0, 1), enough: 1, own: noLie},
		{name: "around the end, without the mark", conn: then(math.MaxUint64-1, 0), enough: 1, own: noLie},
		{name: "a sign that changes", conn: then(math.MaxInt64, math.MaxInt64+2), enough: 1, own: noLie},
		{name: "numbers of other sizes", enough: 1, own: believedNothing, conn: func(l *kvLiar, nc net.Conn) {
			c, ok := l.greeted(nc)
			if !ok {
				return
			}
			lie := kvBatch(kvStore(1, nil, kvLie))
			for _, n := range [][]byte{nil, {0}, make([]byte, 7), make([]byte, 65), make([]byte, 1000)} {
				_ = c.Write(l.topic(), n, lie) // the next one shows
			}
			l.did.Add(1)
			l.holds(nc)
		}},
		{name: "numbers at random", enough: 200_000, conn: func(l *kvLiar, nc net.Conn) {
			random := rand.New(rand.NewPCG(1, 2))
			lie := kvBatch(kvStore(1, nil, kvLie))
			l.flood(nc, func(b []byte, _ uint64) []byte {
				return zmtp.AppendMessage(b, l.topic(), kvNumber(random.Uint64()>>random.IntN(64)), lie)
			})
		}},
		{name: "one number for ever", enough: 200_000, conn: func(l *kvLiar, nc net.Conn) {
			lie := kvBatch(kvStore(1, nil, kvLie))
			l.flood(nc, func(b []byte, _ uint64) []byte { return zmtp.AppendMessage(b, l.topic(), kvNumber(3), lie) })
		}},
	})
}

// believedNothing: no message of the liar's was taken for one.
func believedNothing(r *kvRig) error {
	if st := r.sub.Stats(); st.Malformed+st.Unknown == 0 {
		return fmt.Errorf("no message was refused: %+v", st)
	}
	return noLie(r)
}

// TestKVEventsRestarts: an endpoint that restarts again and again, in the middle of
// anything, has only itself to lose.
func TestKVEventsRestarts(t *testing.T) {
	lie := func(l *kvLiar, n uint64) []byte {
		return zmtp.AppendMessage(nil, l.topic(), kvNumber(n), kvBatch(kvStore(1, nil, kvLie)))
	}
	runKVAttacks(t, []kvAttack{
		{name: "between messages", enough: 8, conn: func(l *kvLiar, nc net.Conn) {
			if c, ok := l.greeted(nc); ok {
				for n := range uint64(20) {
					_ = l.says(c, n) // the next connection is another one
				}
				l.did.Add(1)
			}
		}},
		{name: "within a message", enough: 8, conn: func(l *kvLiar, nc net.Conn) {
			if _, ok := l.greeted(nc); ok {
				b := append(lie(l, 0), lie(l, 1)...)
				_, _ = nc.Write(b[:len(b)-1-rand.IntN(len(b)/2)]) // the next connection is another one
				l.did.Add(1)
			}
		}},
		{name: "with a reset", enough: 8, conn: func(l *kvLiar, nc net.Conn) {
			if c, ok := l.greeted(nc); ok {
				_ = l.says(c, 0)                   // as above
				_ = nc.(*net.TCPConn).SetLinger(0) // no more than a wish
				l.did.Add(1)
			}
		}},
		{name: "on the same connection", enough: 100_000, conn: func(l *kvLiar, nc net.Conn) {
			message := kvBatch(kvStore(1, nil, kvLie))
			l.flood(nc, func(b []byte, n uint64) []byte { return zmtp.AppendMessage(b, l.topic(), kvNumber(n%3), message) })
		}},
	})
}
