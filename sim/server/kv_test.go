package server

import (
	"encoding/binary"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fairway-ai/fairway/internal/zmtp"
	"github.com/fairway-ai/fairway/sim/engine"
)

// zmq connects to one of a server's sockets.
func zmq(t *testing.T, addr net.Addr, own zmtp.SocketType) *zmtp.Conn {
	t.Helper()
	nc, err := net.Dial("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nc.Close() })
	if err := nc.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	c, err := zmtp.Handshake(nc, own, zmtp.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// history asks for all messages so far and returns their numbers and payloads.
func history(t *testing.T, s *Server, from uint64) (seqs []uint64, payloads []string) {
	t.Helper()
	_, addr := s.KVEventAddrs()
	c := zmq(t, addr, zmtp.Dealer)
	if err := c.Write(nil, binary.BigEndian.AppendUint64(nil, from)); err != nil {
		t.Fatal(err)
	}
	var m zmtp.Message
	for {
		if err := c.Read(&m); err != nil {
			t.Fatal(err)
		}
		seq := binary.BigEndian.Uint64(m.Frames[1])
		if len(m.Frames[2]) == 0 {
			if seq != ^uint64(0) {
				t.Errorf("the end has number %d", seq)
			}
			return seqs, payloads
		}
		seqs, payloads = append(seqs, seq), append(payloads, string(m.Frames[2]))
	}
}

func publishing(format string) Config {
	c := fast()
	c.Engine = engine.Config{Blocks: 8, BlockTokens: 16}
	c.KVEvents = KVEvents{Endpoint: "tcp://*:0", ReplayEndpoint: "tcp://127.0.0.1:0", Topic: "kv@127.0.0.1:1@sim", Format: format, BufferSteps: 3}
	return c
}

// TestKVEventsDialWhatWasNamed: a server that dials its subscriber and listens for
// replays does not take one address for the other.
func TestKVEventsDialWhatWasNamed(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	if err := l.(*net.TCPListener).SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	config := publishing(KVArray)
	config.KVEvents.Endpoint = "tcp://" + l.Addr().String()
	newClient(t, config)
	nc, err := l.Accept()
	if err != nil {
		t.Fatalf("nobody dials: %v", err)
	}
	_ = nc.Close()
}

func complete(prompt string) string {
	return fmt.Sprintf(`{"prompt": %q, "max_tokens": 1}`, prompt)
}

func TestKVEventsArePublishedAndReplayed(t *testing.T) {
	for _, format := range []string{KVArray, KVMap} {
		t.Run(format, func(t *testing.T) {
			c := newClient(t, publishing(format))
			addr, _ := c.s.KVEventAddrs()
			sub := zmq(t, addr, zmtp.Sub)
			if err := sub.Subscribe("kv@"); err != nil {
				t.Fatal(err)
			}
			for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
				p := c.s.driver.publisher
				p.mu.Lock()
				ready := false
				for s := range p.subs {
					ready = ready || len(s.topics) == 1
				}
				p.mu.Unlock()
				if ready {
					break
				}
				if time.Now().After(end) {
					t.Fatal("no subscription within 10 s")
				}
			}
			c.ok("/v1/completions", complete(strings.Repeat("abcd", 40))) // two full blocks
			var m zmtp.Message
			if err := sub.Read(&m); err != nil {
				t.Fatal(err)
			}
			if string(m.Frames[0]) != "kv@127.0.0.1:1@sim" || binary.BigEndian.Uint64(m.Frames[1]) != 0 || !strings.Contains(string(m.Frames[2]), "BlockStored") {
				t.Errorf("%q", m.Frames)
			}
			if strings.Contains(string(m.Frames[2]), "token_ids") != (format == KVMap) {
				t.Errorf("not in the %s form: %q", format, m.Frames[2])
			}
			c.ok("/v1/completions", complete(strings.Repeat("efgh", 120))) // evicts
			c.do("/reset_prefix_cache", "{}")
			seqs, payloads := history(t, c.s, 1)
			if len(seqs) == 0 || seqs[0] != 1 || !strings.Contains(payloads[len(payloads)-1], "AllBlocksCleared") {
				t.Errorf("%d %q", seqs, payloads)
			}
			if !slices.ContainsFunc(payloads, func(p string) bool { return strings.Contains(p, "BlockRemoved") }) {
				t.Errorf("nothing was evicted: %q", payloads)
			}
			for range 4 {
				c.ok("/v1/completions", complete(strings.Repeat("ijkl", 40)))
				c.do("/reset_prefix_cache", "{}")
			}
			if seqs, _ := history(t, c.s, 0); len(seqs) != 3 || seqs[0] == 0 {
				t.Errorf("the buffer keeps %d", seqs)
			}
		})
	}
}

func TestNothingIsClearedWhileRequestsRun(t *testing.T) {
	conf := slow()
	conf.KVEvents = publishing(KVArray).KVEvents
	c := newClient(t, conf)
	go func() { c.send(t.Context(), "POST", "/v1/completions", complete(strings.Repeat("abcd", 40))) }() //nolint:errcheck // it never ends
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		c.s.driver.mu.Lock()
		running := c.s.driver.eng.Stats().Running
		c.s.driver.mu.Unlock()
		if running == 1 {
			break
		}
		if time.Now().After(end) {
			t.Fatal("the request does not run")
		}
	}
	if status, _ := c.do("/reset_prefix_cache", "{}"); status != 200 {
		t.Errorf("status %d", status)
	}
	if seqs, _ := history(t, c.s, 0); len(seqs) != 0 {
		t.Errorf("published %d", seqs)
	}
}

func TestRenderAgreesWithTokenize(t *testing.T) {
	c := newClient(t, fast())
	chat := `{"messages": [{"role": "user", "content": "Hello, world"}], "cache_salt": "s"}`
	want := fmt.Sprint(at(t, c.ok("/tokenize", chat), "tokens"))
	got := c.ok("/v1/chat/completions/render", chat)
	if fmt.Sprint(got["token_ids"]) != want || got["cache_salt"] != "s" || got["model"] != "sim" {
		t.Errorf("%v, want tokens %s", got, want)
	}
	want = fmt.Sprint(at(t, c.ok("/tokenize", `{"prompt": "abcdefgh"}`), "tokens"))
	status, body := c.do("/v1/completions/render", `{"prompt": ["abcdefgh", "x"]}`)
	if status != 200 || want != "[1.684234849e+09 1.751606885e+09]" || !strings.HasPrefix(body, `[{`) || !strings.Contains(body, `"token_ids":[1684234849,1751606885]`) || !strings.Contains(body, `"token_ids":[120]`) {
		t.Errorf("%d %s, want %s", status, body, want)
	}
	for path, body := range map[string]string{
		"/v1/chat/completions/render": `{"messages": []}`,
		"/v1/completions/render":      `{}`,
	} {
		if status, _ := c.do(path, body); status != 400 {
			t.Errorf("%s: %d", path, status)
		}
	}
	if status, _ := c.do("/v1/completions/render", `{"prompt": "x", "model": "none"}`); status != 404 {
		t.Errorf("unknown model: %d", status)
	}
}

func TestKVEventsConfig(t *testing.T) {
	for name, k := range map[string]KVEvents{
		"scheme":        {Endpoint: "ipc:///x"},
		"no port":       {Endpoint: "tcp://*"},
		"format":        {Endpoint: "tcp://*:0", Format: "xml"},
		"replay only":   {ReplayEndpoint: "tcp://*:0"},
		"replay scheme": {Endpoint: "tcp://*:0", ReplayEndpoint: "x"},
		"buffer":        {Endpoint: "tcp://*:0", BufferSteps: -1},
		"taken":         {Endpoint: "tcp://*:0", ReplayEndpoint: "tcp://192.0.2.1:1"},
	} {
		if s, err := New(Config{KVEvents: k}); err == nil {
			s.Close()
			t.Errorf("%s: accepted", name)
		}
	}
}
