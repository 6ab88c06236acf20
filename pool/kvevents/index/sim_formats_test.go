package index_test

import (
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/fairway-ai/fairway/epp/tokens"
	"github.com/fairway-ai/fairway/internal/testkit"
	"github.com/fairway-ai/fairway/pool/kvevents"
	"github.com/fairway-ai/fairway/pool/kvevents/index"
	"github.com/fairway-ai/fairway/scheduler/prefix"
	"github.com/fairway-ai/fairway/sim/engine"
	"github.com/fairway-ai/fairway/sim/server"
)

// start runs a simulated server whose events can be had from their beginning.
func start(t *testing.T, blockTokens int, c server.Config) (*server.Server, string) {
	t.Helper()
	c.Speed, c.Model, c.Adapters = 2000, "m", []string{"sql", "json"}
	if c.KVEvents.Endpoint == "" {
		c.KVEvents.Endpoint, c.KVEvents.ReplayEndpoint = "tcp://*:0", "tcp://127.0.0.1:0"
	}
	if c.Engine.Blocks == 0 {
		c.Engine.Blocks = 4096
	}
	c.Engine.BlockTokens = blockTokens
	s, err := server.New(c)
	if err != nil {
		t.Fatal(err)
	}
	hs := httptest.NewServer(s)
	t.Cleanup(func() { hs.Close(); s.Close() })
	return s, hs.URL
}

// follow has a world follow one server.
func follow(t *testing.T, s *server.Server) *world {
	t.Helper()
	events, replay := s.KVEventAddrs()
	w := newWorld(t, kvevents.Options{SocketPort: port(events), ReplayPort: port(replay)})
	w.attach("a")
	w.s.SetEndpoints([]kvevents.Endpoint{{Name: "a", Address: "127.0.0.1", Port: 8000, Model: "m"}})
	w.run()
	return w
}

// question is a chat about pictures.
func question(model, salt, text string, pictures ...string) map[string]any {
	parts := []any{}
	for i, p := range pictures {
		parts = append(parts, map[string]any{"type": "text", "text": strings.Repeat("x", 3+5*i)},
			map[string]any{"type": "image_url", "image_url": map[string]any{"url": "http://pictures/" + p}})
	}
	q := chat(model, "", salt)
	q["messages"] = []any{map[string]any{"role": "user", "content": append(parts, map[string]any{"type": "text", "text": text})}}
	return q
}

// rendered is what a server says of a request's tokens.
func rendered(t *testing.T, url string, q map[string]any) tokens.Tokens {
	t.Helper()
	var r struct {
		Tokens   []uint32 `json:"token_ids"`
		Salt     string   `json:"cache_salt"`
		Features *struct {
			Hashes map[string][]string                       `json:"mm_hashes"`
			P      map[string][]struct{ Offset, Length int } `json:"mm_placeholders"`
		}
	}
	if err := json.Unmarshal(post(t, url+"/v1/chat/completions/render", q), &r); err != nil {
		t.Fatal(err)
	}
	out := tokens.Tokens{IDs: r.Tokens, Salt: r.Salt}
	if r.Features != nil {
		for i, h := range r.Features.Hashes["image"] {
			p := r.Features.P["image"][i]
			out.Images = append(out.Images, tokens.Image{Hash: h, At: p.Offset, Length: p.Length})
		}
	}
	return out
}

// holds waits until the endpoint holds a number of tokens of a prompt.
func (w *world) holds(what, model string, p tokens.Tokens, blockTokens int, want int32) {
	w.t.Helper()
	w.has(what, w.x.Keys(nil, model, p.IDs, p.Extras(blockTokens)), 0, want)
}

func (w *world) has(what string, keys []prefix.Block, slot, want int32) {
	w.t.Helper()
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

// whole is the tokens of a prompt that are in full blocks of the engine and of ours.
func whole(p tokens.Tokens, blockTokens int) int32 {
	return int32(len(p.IDs) / blockTokens * blockTokens / 16 * 16)
}

// TestWhatIsPublishedIsWhatIsRendered follows every format and block size, with all
// that a block's identity has besides its tokens.
func TestWhatIsPublishedIsWhatIsRendered(t *testing.T) {
	text := strings.Repeat("The quick brown fox. ", 40)
	for _, format := range []string{server.KVArray, server.KVMap, server.KVSGLang} {
		for _, blockTokens := range []int{16, 8, 64} {
			t.Run(fmt.Sprintf("%s %d", format, blockTokens), func(t *testing.T) {
				s, url := start(t, blockTokens, server.Config{KVEvents: server.KVEvents{Format: format}})
				w := follow(t, s)
				prompts := map[string]map[string]any{
					"plain": question("m", "", text), "salted": question("m", "pepper", "S"+text),
				}
				if format != server.KVSGLang { // whose events name neither adapters nor images
					prompts["adapted"] = question("sql", "", "L"+text)
					prompts["a picture"] = question("m", "", text, "a")
					prompts["two pictures, salted"] = question("m", "pepper", text, "d", "b")
					prompts["a picture, adapted and salted"] = question("json", "salt", text, "c")
				}
				for name, q := range prompts {
					post(t, url+"/v1/chat/completions", q)
					p := rendered(t, url, q)
					w.holds(name, q["model"].(string), p, blockTokens, whole(p, blockTokens))
					for _, other := range []string{"another", "sql", "m"} {
						if other != q["model"] {
							w.holds(name+" for the model "+other, other, p, blockTokens, 0)
						}
					}
					if p.Salt == "" {
						p.Salt = "another"
						w.holds(name+" with a salt", q["model"].(string), p, blockTokens, 0)
					} else {
						p.Salt = ""
						w.holds(name+" without its salt", q["model"].(string), p, blockTokens, 0)
					}
				}
				if format != server.KVSGLang {
					// The same tokens up to the other picture, which none of its blocks match.
					q := question("m", "", text, "another")
					p := rendered(t, url, q)
					w.holds("another picture", "m", p, blockTokens, int32(p.Images[0].At/max(16, blockTokens)*max(16, blockTokens)))
				}
				post(t, url+"/reset_prefix_cache", nil)
				p := rendered(t, url, prompts["plain"])
				w.holds("after a reset", "m", p, blockTokens, 0)
				if st, x := w.s.Stats(), w.x.Stats(); st.Malformed+st.Invalid+st.Gaps+st.Resets > 0 || x.Orphans+x.Torn+x.Unknown > 0 || x.Blocks != 0 {
					t.Errorf("%+v %+v", st, x)
				}
			})
		}
	}
}

func TestGroupsOfLayers(t *testing.T) {
	text := strings.Repeat("The quick brown fox. ", 40)
	for _, tc := range []struct {
		groups []string
		found  bool
	}{
		{[]string{"full_attention", "sliding_window"}, true}, {[]string{"sliding_window", "mla_attention"}, true},
		{[]string{"sliding_window", "mamba"}, false},
	} {
		for _, format := range []string{server.KVArray, server.KVMap} {
			t.Run(fmt.Sprint(tc.groups, format), func(t *testing.T) {
				s, url := start(t, 16, server.Config{KVEvents: server.KVEvents{Format: format, Groups: tc.groups}})
				w := follow(t, s)
				w.live(0, true)
				q := question("m", "", text)
				post(t, url+"/v1/chat/completions", q)
				p := rendered(t, url, q)
				want := int32(0)
				if tc.found {
					want = whole(p, 16)
				}
				handled := func() bool { st := w.s.Stats(); return st.Skipped+st.Stored > 0 }
				for end := time.Now().Add(10 * time.Second); !handled() && time.Now().Before(end); {
					time.Sleep(time.Millisecond)
				}
				w.holds("the prompt", "m", p, 16, want)
				if st := w.s.Stats(); st.Invalid > 0 || !handled() {
					t.Errorf("%+v", st)
				}
			})
		}
	}
}

// TestCPUTier has a prompt's blocks leave the GPU's cache and stay in the CPU's.
func TestCPUTier(t *testing.T) {
	text := strings.Repeat("The quick brown fox. ", 40)
	for _, format := range []string{server.KVArray, server.KVMap, server.KVSGLang} {
		t.Run(format, func(t *testing.T) {
			s, url := start(t, 16, server.Config{KVEvents: server.KVEvents{Format: format}, Engine: engine.Config{Blocks: 32, CPUBlocks: 48}})
			w := follow(t, s)
			first, second, third := question("m", "", "1"+text), question("m", "", "2"+text+text), question("m", "", "3"+text+text)
			post(t, url+"/v1/chat/completions", first)
			p := rendered(t, url, first)
			keys := w.x.Keys(nil, "m", p.IDs, nil)
			w.has("in both", keys, 0, whole(p, 16))
			var m index.Matches
			weight := func() float32 { w.x.Match(keys, 1, &m); return m.Weighted(0) }
			if weight() != float32(whole(p, 16)) {
				t.Errorf("in both it is worth %v of %d", weight(), whole(p, 16))
			}
			post(t, url+"/v1/chat/completions", second)
			for end := time.Now().Add(10 * time.Second); weight() >= float32(whole(p, 16)) && time.Now().Before(end); {
				time.Sleep(time.Millisecond)
			}
			if v := weight(); v >= float32(whole(p, 16)) || m.Tokens(0) != whole(p, 16) {
				t.Errorf("with a part only in the CPU's memory it is worth %v of %d tokens", v, m.Tokens(0))
			}
			post(t, url+"/v1/chat/completions", third) // and out of the CPU's
			w.has("in neither", keys, 0, 0)
			// The copies that took their place are told of.
			fourth := question("m", "", "4"+text)
			post(t, url+"/v1/chat/completions", fourth)
			p = rendered(t, url, fourth)
			w.has("the last one", w.x.Keys(nil, "m", p.IDs, nil), 0, whole(p, 16))
			p = rendered(t, url, third)
			keys = w.x.Keys(nil, "m", p.IDs, nil)
			if v := weight(); v >= float32(whole(p, 16)) || m.Tokens(0) != whole(p, 16) {
				t.Errorf("the one before is worth %v of %d tokens, of %d", v, m.Tokens(0), whole(p, 16))
			}
			if st, x := w.s.Stats(), w.x.Stats(); st.Invalid > 0 || x.Orphans+x.Torn+x.Unknown > 0 {
				t.Errorf("%+v %+v", st, x)
			}
		})
	}
}

// TestRanksPublishOnPortsOfTheirOwn follows two data parallel ranks.
func TestRanksPublishOnPortsOfTheirOwn(t *testing.T) {
	base := testkit.FreePorts(t, 2)
	var urls []string
	for rank := range 2 {
		_, url := start(t, 16, server.Config{Rank: rank, KVEvents: server.KVEvents{Endpoint: "tcp://*:" + strconv.Itoa(base)}})
		urls = append(urls, url)
	}
	w := newWorld(t, kvevents.Options{SocketPort: base})
	w.attach("a", "b")
	w.s.SetEndpoints([]kvevents.Endpoint{
		{Name: "a", Address: "127.0.0.1", Port: 8000, Model: "m"}, {Name: "b", Address: "127.0.0.1", Port: 8001, Rank: 1, Model: "m"},
	})
	w.run()
	w.live(0, true)
	w.live(1, true)
	for rank, url := range urls {
		q := question("m", "", fmt.Sprint(rank)+strings.Repeat("The quick brown fox. ", 40))
		p := rendered(t, url, q)
		keys := w.x.Keys(nil, "m", p.IDs, nil)
		// Until the subscription has arrived messages are lost, as with ZeroMQ.
		var m index.Matches
		for end := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
			post(t, url+"/reset_prefix_cache", nil)
			post(t, url+"/v1/chat/completions", q)
			if w.x.Match(keys, 2, &m); m.Tokens(int32(rank)) == whole(p, 16) {
				break
			}
			if time.Now().After(end) {
				t.Fatalf("rank %d: %d tokens; %+v", rank, m.Tokens(int32(rank)), w.s.Stats())
			}
		}
		w.has("the other rank", keys, int32(1-rank), 0)
	}
}
