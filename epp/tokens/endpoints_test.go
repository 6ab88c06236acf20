package tokens

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/fairway-ai/fairway/sim/server"
)

// counted counts the requests that go to h, by path.
type counted struct {
	h                      http.Handler
	all, rendered, tokened atomic.Int64
}

func (c *counted) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.all.Add(1)
	if strings.HasSuffix(r.URL.Path, "/render") {
		c.rendered.Add(1)
	} else {
		c.tokened.Add(1)
	}
	c.h.ServeHTTP(w, r)
}

func status(code int, body string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(code)
		fmt.Fprint(w, body)
	})
}

func user(i int) string {
	return fmt.Sprintf(`{"model":"m","messages":[{"role":"user","content":"question %d"}]}`, i)
}

func TestEndpointsTakeTurns(t *testing.T) {
	var servers [3]*counted
	var at []string
	for i := range servers {
		servers[i] = &counted{h: status(200, `{"token_ids":[1]}`)}
		at = append(at, serve(t, servers[i]))
	}
	b := newBed(t, Options{}, at...)
	for i := range 9 {
		b.tokens(chat, user(i))
	}
	for i, s := range servers {
		if s.all.Load() != 3 {
			t.Errorf("endpoint %d was asked %d times of 9", i, s.all.Load())
		}
	}
}

func TestUnreachableEndpointIsSkipped(t *testing.T) {
	dead := httptest.NewServer(http.NotFoundHandler())
	dead.Close()
	good := &counted{h: status(200, `{"token_ids":[1]}`)}
	var dials atomic.Int64
	b := newBed(t, Options{Transport: transportFunc(func(r *http.Request) (*http.Response, error) {
		if "http://"+r.URL.Host == dead.URL {
			dials.Add(1)
		}
		return http.DefaultTransport.RoundTrip(r)
	})}, dead.URL, serve(t, good))
	for i := range 10 {
		b.tokens(chat, user(i))
	}
	if dials.Load() != 1 || good.all.Load() != 10 {
		t.Fatalf("the dead endpoint was dialled %d times, the good one asked %d times", dials.Load(), good.all.Load())
	}
	b.clock.advance(DefaultFailingWait)
	for i := range 10 {
		b.tokens(chat, user(10+i))
	}
	if dials.Load() != 2 {
		t.Fatalf("dialled %d times after the wait", dials.Load())
	}
}

type transportFunc func(*http.Request) (*http.Response, error)

func (f transportFunc) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// TestFailuresInARow: one bad answer does not keep an endpoint from being asked.
func TestFailuresInARow(t *testing.T) {
	s, at := sim(t, server.Config{Model: "m"})
	c := &counted{h: s}
	b := newBed(t, Options{}, serve(t, c))
	_ = at
	fail := func(rate float64) {
		if err := s.SetFailures(server.Failures{ErrorRate: rate}); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 3 * maxStrikes {
		fail(1)
		b.fails(chat, user(i), ErrAnswer)
		fail(0)
		b.tokens(chat, user(i))
	}
	fail(1)
	for i := range maxStrikes {
		b.fails(chat, user(100+i), ErrAnswer)
	}
	before := c.all.Load()
	b.fails(chat, user(200), ErrNoEndpoint)
	if c.all.Load() != before {
		t.Error("it was asked although it fails")
	}
}

func TestWithoutRender(t *testing.T) {
	s, _ := sim(t, server.Config{Model: "m"})
	old := &counted{h: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/render") {
			r.URL.Path = "/unknown"
		}
		s.ServeHTTP(w, r)
	})}
	b := newBed(t, Options{}, serve(t, old))
	want := simIDs("abcdefgh")
	if got := b.tokens(completion, `{"model":"m","prompt":"abcdefgh"}`); fmt.Sprint(got.IDs) != fmt.Sprint(want) {
		t.Fatalf("%+v", got)
	}
	for i := range 5 {
		b.tokens(chat, user(i))
	}
	if r, k := old.rendered.Load(), old.tokened.Load(); r != 2 || k != 6 {
		t.Fatalf("render was tried %d times and /tokenize asked %d times", r, k)
	}
	b.clock.advance(DefaultMissingWait)
	b.tokens(chat, user(100))
	if old.rendered.Load() != 3 {
		t.Fatal("render is not tried again")
	}
	// What /tokenize would do differently is not asked of it.
	for _, body := range []string{
		`{"model":"m","messages":[{"content":"x"}],"reasoning_effort":"low"}`,
		`{"model":"m","messages":[{"content":"x"}],"tool_choice":"none"}`,
		`{"model":"m","messages":[{"content":[{"type":"image_url"}]}]}`,
	} {
		b.fails(chat, body, ErrNoEndpoint)
	}
	if old.tokened.Load() != 7 {
		t.Error("/tokenize was asked what it cannot know")
	}
	b.tokens(chat, `{"model":"m","messages":[{"role":"user","content":[{"type":"text","text":"x"}]}],"tool_choice":"auto"}`)
}

// TestMissingModelIsNotAMissingRoute: an adapter may be loaded elsewhere only.
func TestMissingModelIsNotAMissingRoute(t *testing.T) {
	without, _ := sim(t, server.Config{Model: "m"})
	with, _ := sim(t, server.Config{Model: "m", Adapters: []string{"sql"}})
	c := &counted{h: without}
	b := newBed(t, Options{}, serve(t, c), serve(t, with))
	for i := range 6 {
		if _, err := b.e.Tokens(t.Context(), Request{Path: chat, Model: "sql", Body: []byte(user(i))}); err != nil {
			t.Fatal(err)
		}
	}
	if c.tokened.Load() != 0 || c.rendered.Load() != 3 {
		t.Fatalf("asked %d times at render, %d at tokenize", c.rendered.Load(), c.tokened.Load())
	}
}

func TestRefusalIsRemembered(t *testing.T) {
	s, _ := sim(t, server.Config{Model: "m"})
	c := &counted{h: s}
	b := newBed(t, Options{}, serve(t, c))
	for range 3 {
		b.fails(chat, `{"model":"m","messages":[]}`, ErrRefused)
	}
	if c.all.Load() != 1 {
		t.Fatalf("asked %d times", c.all.Load())
	}
	b.clock.advance(DefaultRefusedAge)
	b.fails(chat, `{"model":"m","messages":[]}`, ErrRefused)
	if c.all.Load() != 2 {
		t.Fatal("a refusal is remembered for ever")
	}
}

func TestHostileAnswers(t *testing.T) {
	far := serve(t, status(200, `{"token_ids":[66]}`))
	tests := map[string]struct {
		h    http.Handler
		want error
	}{
		"not JSON":        {status(200, "<html>"), ErrAnswer},
		"empty":           {status(200, ""), ErrAnswer},
		"no ids":          {status(200, `{}`), ErrAnswer},
		"two prompts":     {status(200, `[{"token_ids":[1]},{"token_ids":[2]}]`), ErrAnswer},
		"too long":        {status(200, `{"token_ids":[`+strings.Repeat("1,", 1000)+`1]}`), ErrAnswer},
		"unauthorized":    {status(401, `{}`), ErrDenied},
		"overloaded":      {status(503, ``), ErrAnswer},
		"short body":      {http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Content-Length", "99") }), ErrAnswer},
		"redirect":        {http.RedirectHandler("http://"+far+"/x", http.StatusTemporaryRedirect), ErrAnswer},
		"both missing":    {http.NotFoundHandler(), ErrNoEndpoint},
		"connection ends": {http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }), ErrNoEndpoint},
		"image not told":  {status(200, `{"token_ids":[1]}`), ErrImages},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			body := user(1)
			if test.want == ErrImages {
				body = `{"messages":[{"content":[{"type":"image_url"}]}]}`
			}
			b := newBed(t, Options{MaxAnswer: 1000}, serve(t, test.h))
			b.fails(chat, body, test.want)
		})
	}
	b := newBed(t, Options{}, "not an address\x00", "://", "http://%zz")
	b.fails(chat, user(1), ErrNoEndpoint)
}

func TestHeaderIsSent(t *testing.T) {
	var body atomic.Value
	at := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		sent, _ := io.ReadAll(r.Body)
		body.Store(string(sent))
		if r.Header.Get("Authorization") != "Bearer k" || r.Header.Get("Content-Type") != "application/json" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		fmt.Fprint(w, `{"token_ids":[1]}`)
	}))
	b := newBed(t, Options{Header: http.Header{"Authorization": {"Bearer k"}}}, "http://"+at)
	b.tokens(chat, `{"max_tokens":1,"messages":[{"content":"ü\u0041"}],"cache_salt":"s","model":"m","tools":null}`)
	if want := `{"messages":[{"content":"ü\u0041"}],"model":"m"}`; body.Load() != want {
		t.Fatalf("sent %s, want %s", body.Load(), want)
	}
}
