package kvcache

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fairway-ai/fairway/epp/tokens/bpe"
	"github.com/fairway-ai/fairway/pool/kvevents/index"
	"github.com/fairway-ai/fairway/scheduler"
)

func withBlock(n int) index.Options { return index.Options{BlockTokens: n} }

// clock is a time that moves only when told to, or by step whenever it is looked at.
type clock struct {
	mu     sync.Mutex
	now    time.Time
	step   time.Duration
	timers map[*alarm]struct{}
}

type alarm struct {
	at time.Time
	f  func()
}

func newClock() *clock { return &clock{now: time.Unix(1e9, 0), timers: map[*alarm]struct{}{}} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(c.step)
	return c.now
}

func (c *clock) AfterFunc(d time.Duration, f func()) func() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	a := &alarm{c.now.Add(d), f}
	c.timers[a] = struct{}{}
	return func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		_, was := c.timers[a]
		delete(c.timers, a)
		return was
	}
}

// due is the number of timers that end within d.
func (c *clock) due(d time.Duration) (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for a := range c.timers {
		if !a.at.After(c.now.Add(d)) {
			n++
		}
	}
	return n
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
	for a := range c.timers {
		if !a.at.After(c.now) {
			delete(c.timers, a)
			go a.f()
		}
	}
}

func wait(t *testing.T, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(15 * time.Second); !f(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never happened: %s", what)
		}
	}
}

// renderer answers every question with the ids 1 to 32, once release is closed.
func renderer(t *testing.T, release <-chan struct{}) (address string, asked *atomic.Int64, last *atomic.Value) {
	t.Helper()
	asked, last = new(atomic.Int64), new(atomic.Value)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		last.Store(string(b))
		asked.Add(1)
		if release != nil {
			select {
			case <-release:
			case <-r.Context().Done():
				return
			}
		}
		var list []string
		for i := range 32 {
			list = append(list, fmt.Sprint(i+1))
		}
		one := `{"token_ids":[` + strings.Join(list, ",") + `]}`
		if strings.HasSuffix(r.URL.Path, "/completions/render") && !strings.Contains(r.URL.Path, "chat") {
			one = "[" + one + "]"
		}
		fmt.Fprint(w, one)
	}))
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://"), asked, last
}

const (
	chatPath       = "/v1/chat/completions"
	completionPath = "/v1/completions"
	chatBody       = `{"model":"m","messages":[{"role":"user","content":"hi"}]}`
	textBody       = `{"model":"m","prompt":"hi"}`
)

// TestBudget: a tokenizer that never answers delays a request by the budget and no more,
// and what it answers after that serves the next request.
func TestBudget(t *testing.T) {
	release := make(chan struct{})
	address, _, _ := renderer(t, release)
	k := newClock()
	s := newSet(t, Options{Clock: k, Tokens: Tokens{Engines: true, Budget: 50 * time.Millisecond}})
	c := s.Open("ns/a", newFakePool(endpoint("ns/x", address, 0)))
	c.hears("m")
	found := make(chan bool)
	find := func() {
		_, ok := c.Find(context.Background(), Prompt{Path: chatPath, Model: "m", Body: []byte(chatBody)}, nil)
		found <- ok
	}
	go find()
	wait(t, "the budget's timer", func() bool { return k.due(50*time.Millisecond) == 1 })
	k.advance(49 * time.Millisecond)
	select {
	case <-found:
		t.Fatal("gave up early")
	default:
	}
	k.advance(time.Millisecond)
	if <-found {
		t.Fatal("found tokens that nobody told")
	}
	close(release)
	wait(t, "the answer is kept", func() bool { return s.Stats().Tokens.CacheEntries == 1 })
	go find()
	if !<-found {
		t.Error("what came late is not known")
	}
	if st := s.Stats().Tokens; st.Late != 1 || st.Misses != 1 || st.Hits != 1 {
		t.Errorf("%+v", st)
	}
	c.Close()
	if st := s.Stats().Tokens; st.Late != 1 || st.Hits != 1 || st.CacheEntries != 0 {
		t.Errorf("%+v after the pool's end", st)
	}
}

func tokenizer(t *testing.T) *bpe.Tokenizer {
	t.Helper()
	data, err := os.ReadFile("../tokens/bpe/testdata/llama3.json")
	if err != nil {
		t.Fatal(err)
	}
	out, err := bpe.Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestSources: which source tells a request's tokens, and how many engines are asked.
func TestSources(t *testing.T) {
	own := tokenizer(t)
	local := func(model string) *bpe.Tokenizer {
		if model == "m" {
			return own
		}
		return nil
	}
	long := `{"model":"m","prompt":"` + strings.Repeat("text ", 100_000) + `"}`
	for _, test := range []struct {
		name             string
		o                Tokens
		step             time.Duration
		path, model, in  string
		ok               bool
		tokens, keys     int // 0 for any
		asked            int64
		local, late, bad uint64
	}{
		{name: "an engine", o: Tokens{Engines: true}, path: chatPath, model: "m", in: chatBody, ok: true, tokens: 32, keys: 2, asked: 1},
		{name: "a tokenizer for completions", o: Tokens{Engines: true, Local: local}, path: completionPath, model: "m", in: textBody, ok: true, local: 1},
		{name: "none for this model", o: Tokens{Engines: true, Local: local}, path: completionPath, model: "other", in: textBody, ok: true, tokens: 32, keys: 2, asked: 1},
		{name: "a chat has a template", o: Tokens{Engines: true, Local: local}, path: chatPath, model: "m", in: chatBody, ok: true, tokens: 32, keys: 2, asked: 1},
		{name: "a chat without engines", o: Tokens{Local: local}, path: chatPath, model: "m", in: chatBody, bad: 1},
		{name: "ids without any source", path: completionPath, model: "m", in: `{"prompt":[` + strings.Repeat("1,", 15) + `2]}`, ok: true, tokens: 16, keys: 1, local: 1},
		{name: "several prompts", path: completionPath, model: "m", in: `{"prompt":[[` + strings.Repeat("1,", 15) + `2],[3]]}`, ok: true, keys: 1, local: 1},
		{name: "the tokenizer takes the whole budget", o: Tokens{Engines: true, Local: local}, step: time.Millisecond, path: completionPath, model: "m", in: long, late: 1},
		{name: "another API", o: Tokens{Engines: true}, path: "/v1/embeddings", model: "m", in: `{"input":"x"}`, bad: 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			address, asked, _ := renderer(t, nil)
			k := newClock()
			k.step = test.step
			s := newSet(t, Options{Clock: k, Tokens: test.o})
			c := s.Open("ns/a", newFakePool(endpoint("ns/x", address, 0)))
			c.hears("m", "other")
			f, ok := c.Find(context.Background(), Prompt{Path: test.path, Model: test.model, Body: []byte(test.in)}, nil)
			if ok != test.ok || test.tokens > 0 && int(f.Tokens) != test.tokens || test.keys > 0 && len(f.Keys) != test.keys {
				t.Errorf("%d tokens, %d keys, found: %v", f.Tokens, len(f.Keys), ok)
			}
			st := s.Stats()
			if asked.Load() != test.asked || st.Local != test.local || st.Tokens.Late != test.late || st.Tokens.Unusable != test.bad {
				t.Errorf("%d questions, %+v, %d here", asked.Load(), st.Tokens, st.Local)
			}
		})
	}
}

// TestURL: one service can answer for all pools, about a model of its own; a prompt's
// keys are those of the model that the engine gets.
func TestURL(t *testing.T) {
	address, asked, last := renderer(t, nil)
	s := newSet(t, Options{Tokens: Tokens{Engines: true, URL: "http://" + address + "/", Model: "base"}})
	var keys [2]uint64
	for i, model := range []string{"m", "adapter"} {
		c := s.Open("ns/"+model, newFakePool(scheduler.Endpoint{ID: "ns/x", Address: "127.0.0.1:1", Load: new(scheduler.Load)}))
		c.hears("m", "adapter")
		f, ok := c.Find(context.Background(), Prompt{Path: chatPath, Model: model, Body: []byte(chatBody)}, nil)
		if !ok || len(f.Keys) != 2 {
			t.Fatalf("%+v %v", f, ok)
		}
		keys[i] = f.Keys[0].Hash
		c.Close()
	}
	if keys[0] == keys[1] {
		t.Error("models share keys")
	}
	if asked.Load() != 1 || !strings.Contains(last.Load().(string), `"model":"base"`) {
		t.Errorf("%d questions, the last one %s", asked.Load(), last.Load())
	}
	if st := s.Stats().Tokens; st.Hits != 1 || st.Misses != 1 {
		t.Errorf("%+v", st)
	}
}
