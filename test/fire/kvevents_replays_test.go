package fire

import (
	"bytes"
	"fmt"
	"math"
	"net"
	"testing"
	"time"

	"github.com/fairway-ai/fairway/internal/zmtp"
)

// TestKVEventsReplays: an endpoint whose replays are not what was asked for spoils
// nothing but its own state.
func TestKVEventsReplays(t *testing.T) {
	lie := kvBatch(kvStore(1, nil, kvLie))
	// joins begins in the middle of a sequence, which is what a replay is asked for.
	joins := func(l *kvLiar, nc net.Conn) {
		if c, ok := l.greeted(nc); ok && l.says(c, 5) == nil {
			l.holds(nc)
		}
	}
	// with answers the question with these messages, over and over when endless.
	with := func(endless bool, messages ...[][]byte) func(*kvLiar, net.Conn) {
		return func(l *kvLiar, nc net.Conn) {
			c, _, ok := l.asked(nc)
			for n := 0; ok && (endless || n == 0); n++ {
				for _, m := range messages {
					if c.Write(m...) != nil {
						return
					}
				}
				l.did.Add(1)
			}
			l.holds(nc)
		}
	}
	at := func(numbers ...uint64) (out [][][]byte) {
		for _, n := range numbers {
			out = append(out, [][]byte{nil, kvNumber(n), lie})
		}
		return out
	}
	end := [][]byte{nil, kvNumber(math.MaxUint64), nil}
	attack := func(name string, enough int64, replay func(*kvLiar, net.Conn)) {
		t.Run(name, func(t *testing.T) {
			runKVAttack(t, false, kvAttack{model: kvModel, conn: joins, replay: replay, enough: enough})
		})
	}
	attack("that never ends", 20_000, func(l *kvLiar, nc net.Conn) {
		c, from, ok := l.asked(nc)
		for n := from; ok && c.Write(nil, kvNumber(n), kvBatch(kvStore(4*n, nil, kvPrompt(uint32(1<<30+100*n))))) == nil; n++ {
			l.did.Add(1)
		}
	})
	attack("that goes back", 1, with(false, at(0, 1, 2, 1)...))
	attack("that repeats", 1, with(false, at(0, 0, 0)...))
	attack("that jumps", 1, with(false, append(at(0, 9, 1<<40), end)...))
	attack("beyond all numbers", 1, with(false, append(at(0, math.MaxUint64, 0, 1), end)...))
	attack("of one number for ever", 1, with(true, at(3)...))
	attack("for another socket", 1, with(false, [][]byte{[]byte("another"), nil, kvNumber(0), lie}, [][]byte{[]byte("another"), nil, kvNumber(math.MaxUint64), nil}))
	attack("of no batches", 1, with(false, [][]byte{nil, kvNumber(0), []byte("hello")}, [][]byte{nil, kvNumber(1), lie}, end))
	attack("of one frame", 1, with(true, [][]byte{lie}))
	attack("of too many frames", 1, with(false, make([][]byte, 9)))
	attack("of a message that is too long", 1, with(false, [][]byte{nil, kvNumber(0), make([]byte, kvMaxMessage+1)}))
	attack("without an end", 1, with(false, at(0, 1, 2)...))
	attack("that is refused", 1, func(l *kvLiar, _ net.Conn) { l.did.Add(1) })
	attack("that says nothing", 1, func(l *kvLiar, nc net.Conn) { l.did.Add(1); l.holds(nc) })
	attack("byte by byte", 20, func(l *kvLiar, nc net.Conn) {
		if _, _, ok := l.asked(nc); ok {
			l.slowly(nc, zmtp.AppendMessage(nil, nil, kvNumber(0), bytes.Repeat([]byte{0x91}, 10_000)), 10*time.Millisecond)
		}
	})
	attack("by a publisher", 1, func(l *kvLiar, nc net.Conn) { l.did.Add(1); l.greeted(nc) })
}

// TestKVEventsReplaysTakeTurns: endpoints whose replays never end take all turns there
// are; one that misses a message goes on all the same, and tells no old tales.
func TestKVEventsReplaysTakeTurns(t *testing.T) {
	const liars = 12
	a := kvAttack{
		liars: liars, model: kvModel,
		conn:   func(l *kvLiar, nc net.Conn) { l.greeted(nc); l.holds(nc) },
		replay: func(l *kvLiar, nc net.Conn) { l.asked(nc); l.did.Add(1); l.holds(nc) },
	}
	r := newKVRig(t, false, &a)
	r.honest.begin()
	for _, l := range r.liars {
		l.begin()
	}
	eventually(t, "all turns are taken", func() error {
		if st := r.sub.Stats(); st.Replays < 1+liars {
			return fmt.Errorf("%+v", st)
		}
		return nil
	})
	h := r.honest
	h.publish(kvBatch(kvRemove(1)), true) // which nobody hears
	prompt := kvPrompt(900_000)
	h.publish(kvBatch(kvStore(900, nil, prompt)), false)
	r.awaits("what is after the gap", kvHonestSlot, prompt, len(prompt))
	r.awaits("what was removed within it", kvHonestSlot, kvLasting, 0)
	h.step()
	if n := h.connections(); n != 1 {
		t.Errorf("the honest endpoint was connected %d times", n)
	}
}
