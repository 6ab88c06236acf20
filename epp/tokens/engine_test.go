package tokens

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fairway-ai/fairway/sim/server"
)

// fakeClock is a time that moves only when told to.
type fakeClock struct {
	mu     sync.Mutex
	now    time.Time
	timers map[*fakeTimer]bool
}

type fakeTimer struct {
	at time.Time
	f  func()
}

func newClock() *fakeClock {
	return &fakeClock{now: time.Unix(1e9, 0), timers: map[*fakeTimer]bool{}}
}

func (c *fakeClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *fakeClock) AfterFunc(d time.Duration, f func()) func() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := &fakeTimer{c.now.Add(d), f}
	c.timers[t] = true
	return func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		was := c.timers[t]
		delete(c.timers, t)
		return was
	}
}

func (c *fakeClock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
	for t := range c.timers {
		if !t.at.After(c.now) {
			delete(c.timers, t)
			go t.f()
		}
	}
}

// waiting is the number of timers that are set.
func (c *fakeClock) waiting() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.timers)
}

// eventually waits until f is true.
func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !f(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never happened: %s", what)
		}
	}
}

// bed is an Engine in a time of its own.
type bed struct {
	t     *testing.T
	clock *fakeClock
	e     *Engine
}

func newBed(t *testing.T, o Options, endpoints ...string) *bed {
	t.Helper()
	b := &bed{t: t, clock: newClock()}
	o.Clock = b.clock
	o.Endpoints = func() []string { return endpoints }
	var err error
	if b.e, err = NewEngine(o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.e.Close)
	return b
}

// tokens must succeed.
func (b *bed) tokens(path, body string) Tokens {
	b.t.Helper()
	got, err := b.e.Tokens(b.t.Context(), Request{Path: path, Body: []byte(body)})
	if err != nil {
		b.t.Fatalf("%s %s: %v", path, body, err)
	}
	return got
}

// fails must fail with want.
func (b *bed) fails(path, body string, want error) {
	b.t.Helper()
	if got, err := b.e.Tokens(b.t.Context(), Request{Path: path, Body: []byte(body)}); !errors.Is(err, want) {
		b.t.Fatalf("%s %s: %v, %v, want %v", path, body, got, err, want)
	}
}

// serve starts an HTTP server and returns its host and port.
func serve(t testing.TB, h http.Handler) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://")
}

func sim(t *testing.T, c server.Config) (*server.Server, string) {
	t.Helper()
	s, err := server.New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s, serve(t, s)
}

const (
	chat       = "/v1/chat/completions"
	completion = "/v1/completions"
	hello      = `{"model": "m", "messages": [{"role": "user", "content": "hello, world"}]}`
)

// simIDs are the simulator's ids of text.
func simIDs(text string) []uint32 {
	var ids []uint32
	for i := 0; i < len(text); i += 4 {
		var b [4]byte
		copy(b[:], text[i:])
		ids = append(ids, uint32(b[0])|uint32(b[1])<<8|uint32(b[2])<<16|uint32(b[3])<<24)
	}
	return ids
}

func TestEngineAgreesWithTheSimulator(t *testing.T) {
	_, at := sim(t, server.Config{Model: "m", Adapters: []string{"sql"}})
	b := newBed(t, Options{}, at)

	text := `{"model":"m","prompt":"abcdefghij","cache_salt":"pepper","max_tokens":3}`
	got := b.tokens(completion, text)
	if want := simIDs("abcdefghij"); !slices.Equal(got.IDs, want) || got.Count != 3 || !got.Exact || got.Model != "m" || got.Salt != "pepper" {
		t.Fatalf("completion: %+v, want ids %v", got, want)
	}
	if other := b.tokens(completion, `{"model":"m","prompt":["abcdefghij","another"]}`); !slices.Equal(other.IDs, got.IDs) || other.Salt != "" {
		t.Fatalf("several prompts: %+v", other)
	}
	long := b.tokens("/gateway"+chat+"?x=1", hello)
	if long.Count < 3 || !long.Exact {
		t.Fatalf("chat: %+v", long)
	}
	adapted, err := b.e.Tokens(t.Context(), Request{Path: chat, Model: "sql", Body: []byte(hello)})
	if err != nil || adapted.Model != "sql" || !slices.Equal(adapted.IDs, long.IDs) {
		t.Fatalf("adapter: %+v, %v", adapted, err)
	}
	if s := b.e.Stats(); s.Misses != 3 || s.Hits != 1 || s.Answers != 3 || s.CacheEntries != 3 {
		t.Fatalf("stats: %+v", s)
	}
	b.fails(chat, `{"model":"unknown","messages":[{"role":"user","content":"x"}]}`, ErrNoEndpoint)
	b.fails(chat, `{"model":"m","messages":[]}`, ErrRefused)
}

// TestCacheKey says which requests have the same prompt.
func TestCacheKey(t *testing.T) {
	var asked atomic.Int64
	at := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		fmt.Fprint(w, `{"token_ids":[1]}`)
	}))
	b := newBed(t, Options{}, at)
	steps := []struct {
		body string
		same bool
	}{
		{`{"model":"m","messages":[{"content":"1"}]}`, false},
		{` {"messages": [{"content":"1"}], "model": "m", "temperature": 2, "stream": true, "max_tokens": 7, "cache_salt": "s"}`, true},
		{`{"model":"m","messages":[{"content":"1"}],"tools":null}`, true},
		{`{"model":"m","messages":[{"content":"2"}]}`, false},
		{`{"model":"n","messages":[{"content":"1"}]}`, false},
		{`{"model":"m","messages":[{"content":"1"}],"tools":[]}`, false},
		{`{"model":"m","messages":[{"content":"1"}],"tools":[{}]}`, false},
		{`{"model":"m","messages":[{"content":"1"}],"chat_template_kwargs":{"enable_thinking":false}}`, false},
		{`{"model":"m","messages":[{"content":"1"}],"something_new":true}`, false},
		{`{"model":"m","messages":[{"content":"1"}],"something_new":true}`, true},
	}
	for _, s := range steps {
		before := asked.Load()
		b.tokens(chat, s.body)
		if same := asked.Load() == before; same != s.same {
			t.Errorf("%s: answered from the cache: %v, want %v", s.body, same, s.same)
		}
	}
	b.clock.advance(DefaultMaxAge)
	before := asked.Load()
	if b.tokens(chat, steps[0].body); asked.Load() == before {
		t.Error("an answer was used after its age")
	}
}

func TestPromptOfIDsNeedsNoEngine(t *testing.T) {
	b := newBed(t, Options{})
	for _, body := range []string{`{"prompt":[1, 2,3]}`, `{"prompt":[[1,2,3],[4]]}`} {
		if got := b.tokens(completion, body); !slices.Equal(got.IDs, []uint32{1, 2, 3}) || !got.Exact {
			t.Errorf("%s: %+v", body, got)
		}
	}
	b.fails(completion, `{"prompt":[1],"truncate_prompt_tokens":1}`, ErrNoEndpoint)
}

func TestLateAnswerFillsTheCache(t *testing.T) {
	answer := make(chan struct{})
	var asked atomic.Int64
	at := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		<-answer
		fmt.Fprint(w, `{"token_ids":[7]}`)
	}))
	b := newBed(t, Options{}, at)
	failed := make(chan error)
	call := func(ctx context.Context, budget time.Duration) {
		_, err := b.e.Tokens(ctx, Request{Path: chat, Body: []byte(hello), Budget: budget})
		failed <- err
	}
	go call(t.Context(), 0)
	eventually(t, "a question and a waiting caller", func() bool { return asked.Load() == 1 && b.clock.waiting() == 2 })
	b.clock.advance(DefaultBudget - 1)
	select {
	case err := <-failed:
		t.Fatalf("before the budget's end: %v", err)
	default:
	}
	b.clock.advance(1)
	if err := <-failed; !errors.Is(err, ErrLate) {
		t.Fatal(err)
	}
	// A client that leaves does not end the question either.
	ctx, leave := context.WithCancel(t.Context())
	go call(ctx, time.Hour)
	eventually(t, "a caller waits", func() bool { return b.e.Stats().Joined == 1 })
	leave()
	if err := <-failed; !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	close(answer)
	eventually(t, "the answer is kept", func() bool { return b.e.Stats().CacheEntries == 1 })
	if got := b.tokens(chat, hello); got.IDs[0] != 7 {
		t.Fatal(got)
	}
	if s := b.e.Stats(); s.Late != 1 || s.Hits != 1 || s.Misses != 1 || asked.Load() != 1 {
		t.Fatalf("%+v, asked %d times", s, asked.Load())
	}
}

func TestEqualRequestsAskOnce(t *testing.T) {
	const callers = 50
	answer := make(chan struct{})
	var asked atomic.Int64
	at := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		<-answer
		fmt.Fprint(w, `{"token_ids":[7]}`)
	}))
	b := newBed(t, Options{}, at)
	var all sync.WaitGroup
	for i := range callers {
		all.Go(func() {
			salt := fmt.Sprintf(`{"messages":[{"content":"1"}],"cache_salt":"%d"}`, i)
			got, err := b.e.Tokens(t.Context(), Request{Path: chat, Body: []byte(salt)})
			if err != nil || got.Salt != fmt.Sprint(i) {
				t.Errorf("caller %d: %+v, %v", i, got, err)
			}
		})
	}
	eventually(t, "all wait", func() bool { return b.e.Stats().Joined == callers-1 })
	close(answer)
	all.Wait()
	if asked.Load() != 1 {
		t.Fatalf("asked %d times", asked.Load())
	}
}

func TestBusy(t *testing.T) {
	answer := make(chan struct{})
	var asked atomic.Int64
	at := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		<-answer
		fmt.Fprint(w, `{"token_ids":[7]}`)
	}))
	b := newBed(t, Options{Concurrent: 1}, at)
	failed := make(chan error, 20)
	for i := range 1 + waitingPerSlot {
		go func() {
			_, err := b.e.Tokens(t.Context(), Request{Path: chat, Body: fmt.Appendf(nil, `{"messages":[{"content":"%d"}]}`, i)})
			failed <- err
		}()
	}
	eventually(t, "all are on their way", func() bool { return b.e.Stats().Misses == 1+waitingPerSlot && asked.Load() == 1 })
	b.fails(chat, hello, ErrBusy)
	// Two timers for each that waits for the slot, and two of the one that has it.
	eventually(t, "all wait", func() bool { return b.clock.waiting() == 2*(1+waitingPerSlot) })
	b.clock.advance(DefaultBudget)
	for range 1 + waitingPerSlot {
		if err := <-failed; !errors.Is(err, ErrLate) && !errors.Is(err, ErrBusy) {
			t.Fatal(err)
		}
	}
	eventually(t, "those without a slot give up", func() bool { return b.e.Stats().Busy == 1+waitingPerSlot })
	close(answer)
	eventually(t, "the one is answered", func() bool { return b.e.Stats().Answers == 1 })
	if asked.Load() != 1 {
		t.Fatalf("asked %d times: those who gave up waiting were asked for", asked.Load())
	}
}

func TestPendingBytesAreBounded(t *testing.T) {
	s, at := sim(t, server.Config{Model: "m", Failures: server.Failures{Hang: true}})
	b := newBed(t, Options{MaxPending: int64(len(user(1))) + 10}, at)
	failed := make(chan error)
	go func() {
		_, err := b.e.Tokens(t.Context(), Request{Path: chat, Body: []byte(user(1))})
		failed <- err
	}()
	eventually(t, "the question is asked", func() bool { return b.clock.waiting() == 2 })
	b.fails(chat, user(2), ErrBusy)
	b.clock.advance(DefaultTimeout)
	if err := <-failed; !errors.Is(err, ErrLate) && !errors.Is(err, ErrAnswer) {
		t.Fatal(err)
	}
	eventually(t, "the question ends", func() bool { return b.e.Stats().Errors == 1 && b.clock.waiting() == 0 })
	if err := s.SetFailures(server.Failures{}); err != nil {
		t.Fatal(err)
	}
	b.tokens(chat, user(2))
}

func TestTimeoutEndsAQuestion(t *testing.T) {
	s, at := sim(t, server.Config{Model: "m", Failures: server.Failures{Hang: true}})
	b := newBed(t, Options{}, at)
	ended := make(chan error)
	go func() {
		_, err := b.e.Tokens(t.Context(), Request{Path: chat, Body: []byte(hello), Budget: time.Hour})
		ended <- err
	}()
	eventually(t, "the question is asked", func() bool { return b.clock.waiting() == 2 })
	b.clock.advance(DefaultTimeout)
	if err := <-ended; !errors.Is(err, ErrAnswer) {
		t.Fatal(err)
	}
	if err := s.SetFailures(server.Failures{}); err != nil {
		t.Fatal(err)
	}
	b.tokens(chat, hello)
}

func TestCloseEndsQuestions(t *testing.T) {
	_, at := sim(t, server.Config{Model: "m", Failures: server.Failures{Hang: true}})
	b := newBed(t, Options{}, at)
	ended := make(chan error)
	go func() {
		_, err := b.e.Tokens(t.Context(), Request{Path: chat, Body: []byte(hello)})
		ended <- err
	}()
	eventually(t, "the question is asked", func() bool { return b.clock.waiting() == 2 })
	b.e.Close()
	if err := <-ended; !errors.Is(err, ErrClosed) {
		t.Fatal(err)
	}
	b.fails(chat, hello, ErrClosed)
}
