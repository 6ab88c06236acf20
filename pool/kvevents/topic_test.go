package kvevents

import (
	"net"
	"testing"

	"github.com/fairway-ai/fairway/internal/zmtp"
)

// TestTopicNames: engines write what they know of themselves, which may be their IP
// alone; where that names several endpoints it names none.
func TestTopicNames(t *testing.T) {
	j := newJournal()
	s := run(t, Options{Sink: j, Bind: "127.0.0.1:0", AnySource: true},
		Endpoint{Name: "only", Address: "10.0.0.1", Port: 8000},
		Endpoint{Name: "one", Address: "10.0.0.2", Port: 8000}, Endpoint{Name: "two", Address: "10.0.0.2", Port: 8001},
		Endpoint{Name: "six", Address: "fd00::1", Port: 8000},
		Endpoint{Name: "10.0.0.1:8000#2", Address: "10.0.0.3", Port: 8000})
	until(t, "listener", func() bool { return s.BoundAddr() != nil })
	nc, err := net.Dial("tcp", s.BoundAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	c, err := zmtp.Handshake(nc, zmtp.Pub, zmtp.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	sent := map[string]uint64{}
	unknown := uint64(0)
	for i, x := range []struct{ topic, who string }{
		{"kv@10.0.0.1@m", "only"},
		{"kv@10.0.0.1:8000@m", "only"},
		{"kv@only@m", "only"},
		{"kv@10.0.0.2:8001@m", "two"},
		{"kv@10.0.0.2@m", ""}, // one or two
		{"kv@10.0.0.1:8001@m", ""},
		{"kv@[fd00::1]:8000@m", "six"},
		{"kv@fd00::1:8000@m", "six"},
		{"kv@fd00::1@m", "six"},
		{"kv@[fd00::1]@m", "six"},
		{"kv@10.0.0.1:8000#2@m", "10.0.0.1:8000#2"},
		{"kv@@m", ""},
		{"kv@", ""},
	} {
		if err := c.Write([]byte(x.topic), be(sent[x.who]), stored(byte(i+1))); err != nil {
			t.Fatal(err)
		}
		if x.who == "" {
			unknown++
			until(t, "unknown topic "+x.topic, func() bool { return s.Stats().Unknown == unknown })
			continue
		}
		sent[x.who]++
		j.await(t, x.topic, func() bool { return j.blocks[x.who][uint64(i+1)] })
	}
}
