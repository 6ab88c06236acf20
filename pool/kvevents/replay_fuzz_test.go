package kvevents

import (
	"maps"
	"math"
	"net"
	"testing"
	"time"

	"github.com/fairway-ai/fairway/internal/zmtp"
)

// replayed is a replay that a fuzzer made of bytes, three for each message, and what has
// to come of it.
type replayed struct {
	messages [][][]byte
	holds    map[uint64]bool
}

// readReplay makes the messages, and follows them as the documentation has it: in order,
// from nothing after a gap or a message that is no batch, up to the end or the first that
// is out of order.
func readReplay(b []byte) replayed {
	r := replayed{holds: map[uint64]bool{}}
	want, started, over := uint64(0), false, false
	for ; len(b) >= 3 && len(r.messages) < 64; b = b[3:] {
		kind, seq, hash := b[0]%8, uint64(b[1]%16), b[2]%100
		payload := stored(hash)
		switch kind {
		case 4, 5:
			payload = removed(hash)
		case 6:
			payload = []byte{0xc1}
		}
		m := [][]byte{nil, be(seq), payload}
		switch b[0] / 8 {
		case 1: // for another socket, as far as one can tell
			m = append([][]byte{[]byte("another")}, m...)
		case 2: // the end
			m = [][]byte{nil, be(math.MaxUint64), nil}
		case 3:
			m = [][]byte{payload}
		case 4:
			m = [][]byte{nil, be(seq)[:7], payload}
		}
		r.messages = append(r.messages, m)
		n := len(m)
		over = over || n < 2 || len(m[n-1]) == 0 || len(m[n-2]) < 8 || seq < want && want > 0
		if over {
			continue
		}
		if seq > want && started {
			clear(r.holds)
		}
		want, started = seq+1, true
		switch kind {
		case 4, 5:
			delete(r.holds, uint64(hash))
		case 6:
			clear(r.holds)
			started = false
		default:
			r.holds[uint64(hash)] = true
		}
	}
	return r
}

// FuzzReplay: of any replay, what is in order is believed, and nothing else.
func FuzzReplay(f *testing.F) {
	f.Add([]byte{0, 0, 1, 0, 1, 2, 4, 2, 1, 16, 0, 0})
	f.Add([]byte{0, 3, 1, 0, 7, 2, 0, 8, 3, 0, 2, 4})
	f.Add([]byte{8, 0, 1, 6, 1, 0, 0, 5, 2, 24, 0, 0})
	f.Add([]byte{0, 0, 1, 32, 1, 2, 0, 1, 2})
	f.Fuzz(func(t *testing.T, b []byte) {
		r := readReplay(b)
		p, j := newPublisher(t), newJournal()
		l := listen(t)
		go p.serve(l, zmtp.Router, func(c *zmtp.Conn) {
			var m zmtp.Message
			if c.Read(&m) != nil {
				return
			}
			for _, m := range r.messages {
				_ = c.Write(m...) // the reader may have had enough
			}
		})
		named := local("a")
		named.Model = "m"
		now := make(chan time.Time)
		close(now)
		s := run(t, Options{
			Sink: j, SocketPort: p.port(), ReplayPort: l.Addr().(*net.TCPAddr).Port,
			After: func(time.Duration) <-chan time.Time { return now },
		}, named)
		src := s.find([]byte("a"))
		until(t, "end of the replay", func() bool {
			begun := s.Stats().Replays > 0
			src.mu.Lock()
			defer src.mu.Unlock()
			return begun && !src.held
		})
		j.mu.Lock()
		defer j.mu.Unlock()
		if j.broken != "" || j.blocks["a"] == nil || !maps.Equal(j.blocks["a"], r.holds) {
			t.Fatalf("%s holds %v, want %v; told %v", j.broken, j.blocks["a"], r.holds, j.log["a"])
		}
	})
}
