package kvevents

import (
	"context"
	"encoding/binary"
	"testing"
	"time"

	"github.com/go-zeromq/zmq4"
)

// TestIndependentPeer has another implementation of ZeroMQ publish and replay.
// (It serves as a peer only: it allocates what a frame's header claims.)
func TestIndependentPeer(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	pub, router := zmq4.NewPub(ctx), zmq4.NewRouter(ctx)
	defer pub.Close()
	defer router.Close()
	if err := pub.Listen("tcp://127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	if err := router.Listen("tcp://127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	go func() {
		for {
			m, err := router.Recv()
			if err != nil {
				return
			}
			id, from := m.Frames[0], binary.BigEndian.Uint64(m.Frames[2])
			for seq := from; seq < 3; seq++ {
				_ = router.SendMulti(zmq4.NewMsgFrom(id, nil, be(seq), stored(byte(seq+1))))
			}
			_ = router.SendMulti(zmq4.NewMsgFrom(id, nil, be(^uint64(0)), nil))
		}
	}()
	j := newJournal()
	ep := local("a")
	ep.Model = "m"
	run(t, Options{Sink: j, SocketPort: port(t, pub), ReplayPort: port(t, router)}, ep)
	j.holds(t, "a", 1, 2, 3)
	if err := pub.SendMulti(zmq4.NewMsgFrom([]byte("kv@x@m"), be(3), stored(9))); err != nil {
		t.Fatal(err)
	}
	j.holds(t, "a", 1, 2, 3, 9)
}

func port(t *testing.T, s zmq4.Socket) int {
	t.Helper()
	a, err := ParseAddress(s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return a.Port
}

// TestIndependentPeerDials has it connect to us.
func TestIndependentPeerDials(t *testing.T) {
	j := newJournal()
	s := run(t, Options{Sink: j, Bind: "127.0.0.1:0"}, local("a"))
	until(t, "listener", func() bool { return s.BoundAddr() != nil })
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	pub := zmq4.NewPub(ctx)
	defer pub.Close()
	if err := pub.Dial("tcp://" + s.BoundAddr().String()); err != nil {
		t.Fatal(err)
	}
	// Its subscription may not have arrived yet, and then a message is lost.
	for seq := uint64(0); s.Stats().Messages == 0; seq++ {
		if seq == 1000 {
			t.Fatal("nothing arrived")
		}
		if err := pub.SendMulti(zmq4.NewMsgFrom([]byte("kv@127.0.0.1:8000@m"), be(seq), stored(5))); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Millisecond)
	}
	j.await(t, "block", func() bool { return j.blocks["a"][5] })
}
