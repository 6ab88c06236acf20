package index_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/fairway-ai/fairway/pool/kvevents"
	"github.com/fairway-ai/fairway/pool/kvevents/index"
	"github.com/fairway-ai/fairway/scheduler/prefix"
	"github.com/fairway-ai/fairway/sim/engine"
	"github.com/fairway-ai/fairway/sim/server"
)

// world is simulated servers whose caches an index follows.
type world struct {
	t *testing.T
	p *prefix.Index
	x *index.Index
	s *kvevents.Subscriber
}

func newWorld(t *testing.T, o kvevents.Options) *world {
	t.Helper()
	w := &world{t: t, p: prefix.New(prefix.Options{})}
	var err error
	if w.x, err = index.New(index.Options{Prefix: w.p}); err != nil {
		t.Fatal(err)
	}
	o.Sink, o.Logger = w.x, slog.New(slog.DiscardHandler)
	if w.s, err = kvevents.New(o); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) run() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.s.Run(ctx) }()
	w.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Error(err)
		}
	})
}

func (w *world) attach(names ...string) {
	for i, n := range names {
		w.p.AddEndpoint(int32(i), 1<<20)
		w.x.Attach(n, int32(i))
	}
}

// sim starts a server with 64 blocks of the given size.
func sim(t *testing.T, blockTokens int, k server.KVEvents) (*server.Server, string) {
	t.Helper()
	s, err := server.New(server.Config{Speed: 2000, Model: "m", Adapters: []string{"sql"}, Engine: engine.Config{Blocks: 1024 / blockTokens, BlockTokens: blockTokens}, KVEvents: k})
	if err != nil {
		t.Fatal(err)
	}
	hs := httptest.NewServer(s)
	t.Cleanup(func() { hs.Close(); s.Close() })
	return s, hs.URL
}

func post(t *testing.T, url string, body any) []byte {
	t.Helper()
	b, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.Post(url, "application/json", bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	out, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != 200 {
		t.Fatalf("%s: %d %s %v", url, res.StatusCode, out, err)
	}
	return out
}

func chat(model, text, salt string) map[string]any {
	return map[string]any{"model": model, "cache_salt": salt, "max_tokens": 1, "messages": []any{map[string]any{"role": "user", "content": text}}}
}

// render asks a server for a request's tokens.
func render(t *testing.T, url string, q map[string]any) []uint32 {
	t.Helper()
	var r struct {
		Tokens []uint32 `json:"token_ids"`
	}
	if err := json.Unmarshal(post(t, url+"/v1/chat/completions/render", q), &r); err != nil {
		t.Fatal(err)
	}
	return r.Tokens
}

// matches waits until a slot holds a number of tokens of a request.
func (w *world) matches(what string, slot int32, model string, ids []uint32, salt string, want int32) {
	w.t.Helper()
	var extra []index.Extra
	if salt != "" {
		extra = []index.Extra{{Key: salt}}
	}
	keys := w.x.Keys(nil, model, ids, extra)
	var m index.Matches
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		w.x.Match(keys, int(slot)+1, &m)
		if m.Tokens(slot) == want {
			return
		}
		if time.Now().After(end) {
			w.t.Fatalf("%s: %d tokens match, want %d; %+v %+v", what, m.Tokens(slot), want, w.s.Stats(), w.x.Stats())
		}
	}
}

func (w *world) live(slot int32, want bool) {
	w.t.Helper()
	for end := time.Now().Add(10 * time.Second); w.x.Exact(slot) != want; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			w.t.Fatalf("slot %d live: not %v within 10 s", slot, want)
		}
	}
}

func port(a net.Addr) int { return a.(*net.TCPAddr).Port }

// TestDialledServers follows what real requests do to real caches, whatever the
// block size and the encoding.
func TestDialledServers(t *testing.T) {
	for _, c := range []struct {
		blockTokens int
		format      string
	}{{16, server.KVArray}, {8, server.KVMap}, {64, server.KVMap}} {
		t.Run(fmt.Sprintf("%d %s", c.blockTokens, c.format), func(t *testing.T) {
			s, url := sim(t, c.blockTokens, server.KVEvents{Endpoint: "tcp://*:0", ReplayEndpoint: "tcp://127.0.0.1:0", Format: c.format, Topic: "kv@10.9.8.7:1@m"})
			first := chat("m", strings.Repeat("The quick brown fox. ", 60), "")
			ids := render(t, url, first)
			full := int32(len(ids) / c.blockTokens * c.blockTokens / 16 * 16)
			post(t, url+"/v1/chat/completions", first) // before anybody listens

			events, replay := s.KVEventAddrs()
			w := newWorld(t, kvevents.Options{SocketPort: port(events), ReplayPort: port(replay)})
			w.attach("a")
			w.s.SetEndpoints([]kvevents.Endpoint{{Name: "a", Address: "127.0.0.1", Port: 8000, Model: "m"}})
			w.run()
			w.matches("replayed", 0, "m", ids, "", full)

			salted, lora := chat("m", "xyz"+strings.Repeat("salted ", 60), "pepper"), chat("sql", strings.Repeat("adapted ", 60), "")
			post(t, url+"/v1/chat/completions", salted)
			post(t, url+"/v1/chat/completions", lora)
			ids2, ids3 := render(t, url, salted), render(t, url, lora)
			w.matches("salted", 0, "m", ids2, "pepper", int32(len(ids2)/c.blockTokens*c.blockTokens/16*16))
			w.matches("adapted", 0, "sql", ids3, "", int32(len(ids3)/c.blockTokens*c.blockTokens/16*16))
			w.matches("without its salt", 0, "m", ids2, "", 0)
			w.matches("for the base model", 0, "m", ids3, "", 0)

			// A prompt nearly as large as the cache drives the others out.
			large := chat("m", strings.Repeat("0123456789abcdef", 240), "")
			post(t, url+"/v1/chat/completions", large)
			w.matches("evicted", 0, "m", ids2, "pepper", 0)
			post(t, url+"/reset_prefix_cache", nil)
			w.matches("cleared", 0, "m", render(t, url, large), "", 0)
			if st := w.s.Stats(); st.Malformed+st.Invalid+st.Gaps+st.Resets > 0 || w.x.Stats().Orphans+w.x.Stats().Torn+w.x.Stats().Unknown > 0 {
				t.Errorf("%+v %+v", st, w.x.Stats())
			}
		})
	}
}

// TestServersThatDial has two servers of two models publish to one address, one of
// which restarts.
func TestServersThatDial(t *testing.T) {
	w := newWorld(t, kvevents.Options{Bind: "tcp://127.0.0.1:0"})
	w.attach("a", "b")
	w.s.SetEndpoints([]kvevents.Endpoint{{Name: "a", Address: "127.0.0.1", Port: 8001}, {Name: "b", Address: "127.0.0.1", Port: 8002}})
	w.run()
	var bound net.Addr
	for end := time.Now().Add(10 * time.Second); bound == nil; bound = w.s.BoundAddr() {
		if time.Now().After(end) {
			t.Fatal("no listener within 10 s")
		}
		time.Sleep(time.Millisecond)
	}
	start := func(port int, model string) (*server.Server, string) {
		return sim(t, 16, server.KVEvents{Endpoint: "tcp://" + bound.String(), Topic: "kv@127.0.0.1:" + strconv.Itoa(port) + "@" + model})
	}
	q := chat("m", strings.Repeat("The quick brown fox. ", 40), "")
	send := func(url string, slot int32, model string) []uint32 {
		// Until the publisher has connected its messages are lost, as with ZeroMQ.
		ids := render(t, url, q)
		keys := w.x.Keys(nil, model, ids, nil)
		var m index.Matches
		for end := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
			w.x.Match(keys, 2, &m)
			if int(m.Blocks(slot)) == len(keys) {
				return ids
			}
			if time.Now().After(end) {
				t.Fatalf("nothing arrived within 10 s: %+v", w.s.Stats())
			}
			post(t, url+"/reset_prefix_cache", nil)
			post(t, url+"/v1/chat/completions", q)
		}
	}
	a, urlA := start(8001, "m")
	_, urlB := start(8002, "other")
	ids := send(urlA, 0, "m")
	send(urlB, 1, "other")
	w.matches("the other's model", 1, "m", ids, "", 0)
	w.matches("the model", 0, "other", ids, "", 0)
	a.Close()
	w.live(0, false)
	w.matches("after its end", 0, "m", ids, "", 0)
	w.live(1, true)
	_, urlA = start(8001, "m")
	send(urlA, 0, "m")
}
