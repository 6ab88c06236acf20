package kvevents

import (
	"encoding/binary"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"testing"
)

// told counts what a sink is told, and finds what must not be told.
type told struct {
	t    *testing.T
	live bool
	n    int
}

func (s *told) during(what string) {
	s.n++
	if !s.live {
		s.t.Errorf("%s of an endpoint that is lost", what)
	}
}
func (s *told) Stored(string, *Stored)   { s.during("blocks stored") }
func (s *told) Removed(string, *Removed) { s.during("blocks removed") }
func (s *told) Cleared(string)           { s.during("a cleared cache") }
func (s *told) Unread(string, int)       { s.during("an unread event") }
func (s *told) Lost(string)              { s.during("the loss"); s.live = false }
func (s *told) Live(string) {
	if s.live {
		s.t.Error("an endpoint that is live becomes so")
	}
	s.live = true
}

// frames cuts a fuzzed replay into messages: a byte for the number of frames, and for
// each of them two bytes for its length.
func frames(b []byte) (messages [][][]byte) {
	for len(b) > 0 && len(messages) < 100 {
		n := int(b[0] & 7)
		b = b[1:]
		var m [][]byte
		for range n {
			if len(b) < 2 {
				return messages
			}
			k := min(int(binary.BigEndian.Uint16(b)), len(b)-2)
			m, b = append(m, b[2:2+k]), b[2+k:]
		}
		messages = append(messages, m)
	}
	return messages
}

func replayFrame(b []byte, frames ...[]byte) []byte {
	b = append(b, byte(len(frames)))
	for _, f := range frames {
		b = append(binary.BigEndian.AppendUint16(b, uint16(len(f))), f...)
	}
	return b
}

// FuzzReplayFrames has an endpoint replay anything, to a source that is behind by some
// messages, or has had none.
func FuzzReplayFrames(f *testing.F) {
	number := func(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }
	files, _ := filepath.Glob("testdata/events/*.msgpack")
	whole := []byte{}
	for i, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		whole = replayFrame(whole, nil, []byte("kv@a@m"), number(uint64(i)), b)
		f.Add(uint64(i), false, replayFrame(nil, number(uint64(i+1)), b))
	}
	f.Add(uint64(0), true, replayFrame(whole, nil, number(math.MaxUint64), nil))
	f.Add(uint64(3), false, replayFrame(replayFrame(nil, number(9), []byte{0x92, 1, 0x90}), number(2), []byte{0x92, 1, 0x90}))
	f.Add(uint64(math.MaxUint64), false, replayFrame(nil, number(math.MaxUint64), []byte{0x92, 1, 0x90}))
	f.Fuzz(func(t *testing.T, from uint64, fresh bool, b []byte) {
		sink := &told{t: t}
		s, err := New(Options{Sink: sink, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		src := newSource(s, Endpoint{Name: "a", Model: "m"})
		src.begin()
		if fresh {
			from = 0
		} else {
			src.started, src.next = true, from
		}
		a := answer{src: src, from: from, want: from}
		for _, m := range frames(b) {
			before := a.want
			over, err := a.take(m)
			if a.want < before || s.Stats().Replayed > 0 && src.next != a.want {
				t.Fatalf("from %d: was at %d, is at %d, next is %d", from, before, a.want, src.next)
			}
			if over || err != nil {
				break
			}
		}
		if !sink.live || sink.n > len(b) {
			t.Fatalf("live: %v after %d calls", sink.live, sink.n)
		}
	})
}
