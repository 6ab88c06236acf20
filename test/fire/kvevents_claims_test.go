package fire

import (
	"bytes"
	"fmt"
	"math"
	"net"
	"testing"
)

// TestKVEventsTopics: a liar speaks for itself alone, whatever its topics say. Where
// engines are dialled, the connection says whose the messages are; where they dial, an
// address that is not the connection's is refused.
func TestKVEventsTopics(t *testing.T) {
	lie := kvBatch(kvStore(1, nil, kvLie))
	// as says its prompt under a topic, and that the honest endpoint's blocks are gone.
	as := func(topic string) func(*kvLiar, net.Conn) {
		return func(l *kvLiar, nc net.Conn) {
			c, ok := l.greeted(nc)
			if !ok {
				return
			}
			for n, payload := range [][]byte{lie, kvBatch(kvRemove(1, 2, 3, 4)), kvBatch(kvCleared()), lie} {
				if c.Write([]byte(topic), kvNumber(uint64(n)), payload) != nil {
					return
				}
			}
			l.did.Add(1)
			l.holds(nc)
		}
	}
	// its reports what the liar's slot must hold of its prompt, by model.
	its := func(model string, dialled bool) func(*kvRig) error {
		return func(r *kvRig) error {
			want := 0
			if !r.bind && dialled {
				want = len(kvLie)
			}
			if n := r.matched(kvLiars, model, kvLie); n != want {
				return fmt.Errorf("%d tokens match at its own slot, want %d: %+v", n, want, r.sub.Stats())
			}
			if st := r.sub.Stats(); r.bind && st.Unknown < 4 {
				return fmt.Errorf("nothing was refused: %+v", st)
			}
			return nil
		}
	}
	runKVAttacks(t, []kvAttack{
		{name: "the honest endpoint's address", conn: as(kvTopic(kvHonestAddress, kvModel)), enough: 1, own: its(kvModel, true)},
		{name: "the honest endpoint's name", conn: as("kv@honest@" + kvModel), enough: 1, own: its(kvModel, true)},
		{name: "the absent endpoint's address", conn: as(kvTopic(kvAbsentAddress, kvModel)), enough: 1, own: its(kvModel, true)},
		{name: "another port of its own", conn: as("kv@127.0.1.1:9000@" + kvModel), enough: 1, own: its(kvModel, true)},
		{name: "another model's and endpoint's", conn: as(kvTopic(kvHonestAddress, kvOther)), enough: 1, own: its(kvOther, true)},
		{name: "no topic at all", conn: as("kv@"), enough: 1, own: its("", true)},
		{name: "a topic that never ends", conn: as("kv@" + string(bytes.Repeat([]byte{'@'}, 100_000))), enough: 1, own: its(kvModel, false)},
		{
			// The pool's account of the model counts, not the topic's.
			name: "another model in the pool's account", model: kvOther, conn: as(kvTopic(kvLiarAddress(0), kvModel)), enough: 1,
			own: func(r *kvRig) error {
				if n := r.matched(kvLiars, kvModel, kvLie); n != 0 {
					return fmt.Errorf("%d tokens match for the topic's model", n)
				}
				if n := r.matched(kvLiars, kvOther, kvLie); n != len(kvLie) {
					return fmt.Errorf("%d tokens match for its own model", n)
				}
				return nil
			},
		},
	})
}

// TestKVEventsClaims: an event that cannot be is passed over, and one that lies about its
// size costs no memory. A message that is no batch withdraws what was said before.
func TestKVEventsClaims(t *testing.T) {
	const tokens = 4 * kvBlock
	size := func(n int64) kvPack { return kvPack(nil).signed(n) }
	four := []uint64{1, 2, 3, 4}
	parents := func(n ...uint64) []*uint64 {
		out := make([]*uint64, len(n))
		for i := range n {
			out[i] = &n[i]
		}
		return out
	}(2, 1, 9, 0)
	event := func(fields kvPack) []byte { return kvBatch(fields) }
	stored := func(rest kvPack) kvPack { return append(kvPack(nil).array(5).text("BlockStored"), rest...) }
	lists := func(ids kvPack) []byte {
		return event(stored(append(append(kvPack(nil).numbers(four).null(), ids...), kvPack(nil).number(kvBlock)...)))
	}
	var negative, beyond kvPack = kvPack(nil).array(tokens), kvPack(nil).array(tokens)
	for range tokens {
		negative, beyond = negative.signed(-1), beyond.number(math.MaxUint32+1)
	}
	// Each payload is sent as one message, in order; believed is whether the liar's
	// prompt, told at first, is still believed after them.
	attack := func(name string, believed bool, payloads ...[]byte) kvAttack {
		return kvAttack{
			name: name, enough: 1,
			conn: func(l *kvLiar, nc net.Conn) {
				c, ok := l.greeted(nc)
				if !ok || l.says(c, 0) != nil {
					return
				}
				for n, p := range payloads {
					if c.Write(l.topic(), kvNumber(uint64(1+n)), p) != nil {
						return
					}
				}
				l.did.Add(1)
				l.holds(nc)
			},
			own: func(r *kvRig) error {
				want := 0
				if believed {
					want = len(kvLie)
				}
				if st := r.sub.Stats(); st.Messages < uint64(1+len(payloads)) {
					return fmt.Errorf("not all has come: %+v", st)
				}
				if n := r.matched(kvLiars, kvModel, kvLie); n != want {
					return fmt.Errorf("%d of its prompt's tokens match, want %d: %+v %+v", n, want, r.sub.Stats(), r.index.Stats())
				}
				return nil
			},
		}
	}
	deep := bytes.Repeat([]byte{0x91}, kvMaxMessage-1000)
	maps := bytes.Repeat([]byte{0x81, 0x01}, kvMaxMessage/4)
	runKVAttacks(t, []kvAttack{
		attack("an array of 4 billion events", false, []byte{0x92, 1, 0xdd, 0xff, 0xff, 0xff, 0xff}),
		attack("an array of 4 billion hashes", false, event(stored(kvPack{0xdd, 0xff, 0xff, 0xff, 0xff}))),
		attack("a map of 4 billion keys", false, []byte{0xdf, 0xff, 0xff, 0xff, 0xff}),
		attack("4 GiB of bytes", false, []byte{0x92, 1, 0xc6, 0xff, 0xff, 0xff, 0xff}),
		attack("a million lists within each other", false, deep),
		attack("lists within each other that end", true, event(append(stored(append(kvPack(nil).numbers(four), bytes.Repeat([]byte{0x91}, 100_000)...)), 1, 1, 1))),
		attack("maps within each other", false, maps),
		attack("token ids below 0", true, lists(negative)),
		attack("token ids beyond 32 bits", true, lists(beyond)),
		attack("more hashes than any event has", true, event(kvStored(make([]uint64, 1<<16+1), nil, nil, kvPack(nil).number(kvBlock)))),
		attack("blocks of no tokens", true, event(kvStored(four, nil, kvPrompt(7), size(0)))),
		attack("blocks of less than no tokens", true, event(kvStored(four, nil, kvPrompt(7), size(-16))), event(kvStored(four, nil, kvPrompt(7), size(math.MinInt64)))),
		attack("blocks of more tokens than there are", true, event(kvStored([]uint64{70, 71}, nil, kvPrompt(7), size(1<<16))), event(kvStored([]uint64{72}, nil, kvPrompt(7), size(math.MaxInt64)))),
		attack("a size that is no number", true, event(kvStored(four, nil, kvPrompt(7), kvPack(nil).text("16")))),
		attack("parents in a circle", true,
			event(kvStored([]uint64{1}, parents[0], kvPrompt(7)[:kvBlock], size(kvBlock))),
			event(kvStored([]uint64{2}, parents[1], kvPrompt(7)[:kvBlock], size(kvBlock))),
			event(kvStored([]uint64{9}, parents[2], kvPrompt(7)[:kvBlock], size(kvBlock))),
			event(kvStored([]uint64{0}, parents[3], kvPrompt(7)[:kvBlock], size(kvBlock)))),
		attack("its blocks with the honest endpoint's tokens", true, event(kvStore(100, nil, kvLasting)), event(kvRemove(100, 101, 102, 103))),
		attack("removed again and again", false, event(kvRemove(1, 1, 1, 1)), event(kvRemove(1)), event(kvRemove(2, 3, 4))),
		attack("cleared again and again", false, event(kvCleared()), event(kvCleared()), kvPayloads().clears),
		attack("events of no known type", true, event(kvPack(nil).array(3).text("BlockEaten").numbers(four).null()), event(kvPack(nil).array(0)), event(kvPack(nil).number(7))),
		attack("bytes behind the batch", true, append(kvBatch(), "more"...)),
		attack("no MessagePack", false, []byte{0xc1}),
	})
}
