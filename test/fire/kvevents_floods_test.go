package fire

import (
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/fairway-ai/fairway/internal/zmtp"
)

// flood sends what message makes of one number after another, many in one write.
func (l *kvLiar) flood(nc net.Conn, message func(b []byte, n uint64) []byte) {
	if _, ok := l.greeted(nc); !ok {
		return
	}
	b := make([]byte, 0, 2*kvMaxMessage)
	for n := uint64(0); ; {
		b = b[:0]
		from := n
		for len(b) < 64<<10 {
			b = message(b, n)
			n++
		}
		if _, err := nc.Write(b); err != nil {
			return
		}
		l.did.Add(int64(n - from))
	}
}

// TestKVEventsFloods: an endpoint that sends as much as it can, of whatever kind, fills
// its own queue.
func TestKVEventsFloods(t *testing.T) {
	batches := func(payload []byte) func(*kvLiar, net.Conn) {
		return func(l *kvLiar, nc net.Conn) {
			l.flood(nc, func(b []byte, n uint64) []byte { return zmtp.AppendMessage(b, l.topic(), kvNumber(n), payload) })
		}
	}
	empty := kvBatch()
	large := kvPayloads()
	// raw repeats bytes behind a greeting; every connection ends with them at once.
	raw := func(b []byte) func(*kvLiar, net.Conn) {
		return func(l *kvLiar, nc net.Conn) {
			if _, ok := l.greeted(nc); !ok {
				return
			}
			for {
				if _, err := nc.Write(b); err != nil {
					return
				}
				l.did.Add(1)
			}
		}
	}
	runKVAttacks(t, []kvAttack{
		{name: "tiny messages", conn: batches(empty), enough: 1_000_000},
		{name: "one block again and again", conn: batches(kvBatch(kvStore(1, nil, kvLie))), enough: 100_000},
		{name: "signs of life", conn: batches(nil), enough: 1_000_000},
		{name: "messages of one frame", enough: 1_000_000, conn: func(l *kvLiar, nc net.Conn) {
			l.flood(nc, func(b []byte, _ uint64) []byte { return zmtp.AppendMessage(b, []byte("kv@")) })
		}},
		{name: "no batches", conn: batches([]byte("hello")), enough: 200_000, own: noLie},
		{name: "large events", conn: batches(large.wide), enough: 100},
		{name: "messages at the limit", conn: batches(large.full), enough: 100},
		{name: "removals of what is not there", conn: batches(large.removals), enough: 50},
		{name: "clearing without end", conn: batches(large.clears), enough: 50, own: noLie},
		{name: "blocks without end", enough: 100_000, conn: func(l *kvLiar, nc net.Conn) {
			l.flood(nc, func(b []byte, n uint64) []byte {
				return zmtp.AppendMessage(b, l.topic(), kvNumber(n), kvBatch(kvStore(4*n, nil, kvPrompt(uint32(1<<30+100*n)))))
			})
		}},
		{name: "blocks of many tokens without end", enough: 60, conn: manyTokens},
		{name: "blocks of odd sizes without end", enough: 20_000, conn: func(l *kvLiar, nc net.Conn) {
			l.flood(nc, func(b []byte, n uint64) []byte {
				tokens := make([]uint32, 2*1023)
				tokens[0] = uint32(n)
				return zmtp.AppendMessage(b, l.topic(), kvNumber(n), kvBatch(kvStored([]uint64{2 * n, 2*n + 1}, nil, tokens, kvPack(nil).number(1023))))
			})
		}},
		{name: "a message that is too long", enough: 3, conn: raw(append([]byte{2, 0, 0, 0, 0, 0, 0x20, 0, 0}, make([]byte, 2*kvMaxMessage)...))},
		{name: "a length beyond all bounds", enough: 3, conn: raw([]byte{2, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff})},
		{name: "frames without end", enough: 3, conn: raw([]byte{1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0})},
		{name: "pings whose answers nobody reads", enough: 20, conn: raw(pings())},
		{name: "unknown commands", enough: 100, conn: raw(commands())},
		{name: "subscriptions from a publisher", enough: 200_000, conn: func(l *kvLiar, nc net.Conn) {
			l.flood(nc, func(b []byte, n uint64) []byte {
				return zmtp.AppendMessage(b, fmt.Appendf(nil, "%ckv@%d", n%2, n))
			})
		}},
	})
}

// manyTokens stores blocks of 65,536 tokens each, of which each one is 4,096 of ours, no
// faster than they are followed.
func manyTokens(l *kvLiar, nc net.Conn) {
	c, ok := l.greeted(nc)
	if !ok {
		return
	}
	tokens := make([]uint32, 15<<16)
	for n := uint64(0); ; n++ {
		for i := range 4 {
			tokens[i] = uint32(n>>(4*i)) & 15
		}
		hashes := make([]uint64, 15)
		for i := range hashes {
			hashes[i] = 100*n + uint64(i)
		}
		if c.Write(l.topic(), kvNumber(n), kvBatch(kvStored(hashes, nil, tokens, kvPack(nil).number(1<<16)))) != nil {
			return
		}
		l.did.Add(1)
		for l.ctx.Err() == nil {
			if st := l.r.index.Stats(); uint64(st.Blocks)+st.Dropped >= 15*(n+1) {
				break
			}
			time.Sleep(time.Millisecond)
		}
	}
}

func pings() []byte {
	var b []byte
	for range 10_000 {
		b = append(b, 4, 11)
		b = append(append(b, 4), "PING\x00\x0acccc"...)
	}
	return b
}

func commands() []byte {
	var b []byte
	for range 1000 {
		b = append(b, 4, 5, 4, 'W', 'H', 'A', 'T')
	}
	return b
}

// noLie: nothing of what the liar said is believed.
func noLie(r *kvRig) error {
	for _, model := range []string{kvModel, kvOther} {
		if n := r.matched(kvLiars, model, kvLie); n > 0 {
			return fmt.Errorf("%d tokens of its prompt match; %+v %+v", n, r.sub.Stats(), r.index.Stats())
		}
	}
	return nil
}
