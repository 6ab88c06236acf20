package egress

import (
	"bytes"
	"testing"

	"github.com/fairway-ai/fairway/aibackend"
	"github.com/fairway-ai/fairway/aibackend/credentials"
	"github.com/fairway-ai/fairway/extproc"
	"github.com/fairway-ai/fairway/gateway/airoute"
)

// TestLargeAnswersShareRoom: what all backends' tries hold of large answers is bounded
// once, and the end of a try makes room.
func TestLargeAnswersShareRoom(t *testing.T) {
	b := NewBackends(BackendsOptions{MaxBuffered: 2 << 20})
	var c airoute.Config
	for _, name := range []string{"ns/a", "ns/b"} {
		c.Backends = append(c.Backends, airoute.Backend{
			Name: name, Host: "h", Port: 443, Provider: aibackend.Backend{Schema: aibackend.Anthropic},
			Credentials: credentials.Config{Type: credentials.TypeNone},
		})
	}
	if err := b.Update(t.Context(), &c); err != nil {
		t.Fatal(err)
	}
	begin := func(name string) extproc.Exchange {
		x, change := decide(t, &b.translators, name, "/v1/chat/completions", ask, nil)
		if change.Immediate != nil {
			t.Fatalf("refused: %s", change.Immediate)
		}
		x.ResponseHeaders(extproc.Head{Headers: headers(":status", "200", "content-type", "application/json")}, nil)
		return x
	}
	large := string(bytes.Repeat([]byte(" "), 3<<20))
	first := begin("ns/a")
	if c := first.ResponseBody(body(large), false, false, nil); c.Immediate != nil {
		t.Fatal("there is no room for the first one")
	}
	second := begin("ns/b")
	if c := second.ResponseBody(body(large), false, false, nil); c.ImmediateStatus != 502 {
		t.Errorf("the second one is answered %d, want 502", c.ImmediateStatus)
	}
	second.Close(true)
	first.Close(false)
	third := begin("ns/b")
	if c := third.ResponseBody(body(large), false, false, nil); c.Immediate != nil {
		t.Error("the end of the first one has made no room")
	}
	third.Close(false)
}
