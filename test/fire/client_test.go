package fire

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const (
	chat     = "/v1/chat/completions"
	messages = "/v1/messages"
)

// question is a chat request.
func question(text string, stream bool, tokens int) string {
	return fmt.Sprintf(`{"model":"sim","stream":%t,"max_tokens":%d,"messages":[{"role":"user","content":%q}]}`, stream, tokens, text)
}

// answer is a response read to its end.
type answer struct {
	status int
	header http.Header
	body   string
}

// post sends a request and reads the answer.
func post(ctx context.Context, client *http.Client, url, body string, headers ...string) (*answer, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("content-type", "application/json")
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	a := &answer{resp.StatusCode, resp.Header, string(text)}
	if err != nil {
		return a, fmt.Errorf("after %d bytes: %w", len(text), err)
	}
	return a, nil
}

// post is post for a test that cannot go on without an answer.
func (r *rig) post(path, body string, headers ...string) *answer {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), patience)
	defer cancel()
	a, err := post(ctx, http.DefaultClient, r.url+path, body, headers...)
	if err != nil {
		r.t.Fatal(err)
	}
	return a
}

// ask asks for a stream of tokens and returns what is wrong with the answer, which is
// nil when there was none.
func ask(client *http.Client, url, text string, tokens int, headers ...string) (*answer, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	a, err := post(ctx, client, url+chat, question(text, true, tokens), headers...)
	if err == nil {
		err = a.complete(tokens)
	}
	return a, err
}

// complete is nil for a whole stream of that many tokens.
func (a *answer) complete(tokens int) error {
	switch n := strings.Count(a.body, `"delta":{"content":`); {
	case a.status != http.StatusOK:
		return fmt.Errorf("status %d: %.200s", a.status, a.body)
	case !strings.HasSuffix(a.body, "data: [DONE]\n\n"):
		return fmt.Errorf("the stream was cut after %d bytes", len(a.body))
	case n < tokens:
		return fmt.Errorf("%d of %d tokens came", n, tokens)
	}
	return nil
}

// load is clients that ask for streams without pause until stop.
type load struct {
	wg       sync.WaitGroup
	over     atomic.Bool
	answered atomic.Int64
	mu       sync.Mutex
	failed   []failure // guarded by mu
}

// failure is a request that did not go well.
type failure struct {
	status int    // 0 when there was no answer
	id     string // the request's
	err    error
}

func (f failure) String() string {
	return fmt.Sprintf("request %q, status %d: %v", f.id, f.status, f.err)
}

// load starts clients of the rig's.
func (r *rig) load(clients, tokens int) *load { return newLoad(r.t, r.url, clients, tokens) }

func newLoad(t *testing.T, url string, clients, tokens int) *load {
	l := new(load)
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: clients}}
	t.Cleanup(client.CloseIdleConnections)
	t.Cleanup(func() { l.stop() })
	for c := range clients {
		l.wg.Go(func() {
			for i := 0; !l.over.Load(); i++ {
				text := fmt.Sprintf("%d of client %d: %s", i, c, strings.Repeat("why is that so? ", 20+i%50))
				a, err := ask(client, url, text, tokens)
				l.answered.Add(1)
				if err != nil {
					f := failure{err: err}
					if a != nil {
						f.status, f.id = a.status, a.header.Get("x-request-id")
					}
					l.mu.Lock()
					l.failed = append(l.failed, f)
					l.mu.Unlock()
					time.Sleep(10 * time.Millisecond) // not to spin on errors
				}
			}
		})
	}
	return l
}

// more waits until n further requests have been answered.
func (l *load) more(t *testing.T, n int64) {
	t.Helper()
	target := l.answered.Load() + n
	eventually(t, "requests are answered", func() error {
		if have := l.answered.Load(); have < target {
			return fmt.Errorf("%d short", target-have)
		}
		return nil
	})
}

// failures are those so far.
func (l *load) failures() []failure {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.failed)
}

// stop lets the last requests end and returns what failed.
func (l *load) stop() []failure {
	l.over.Store(true)
	l.wg.Wait()
	return l.failures()
}

// allWell stops the load and fails the test when a request did not go well.
func (l *load) allWell(t *testing.T) {
	t.Helper()
	if fs := l.stop(); len(fs) > 0 {
		t.Errorf("%d of %d requests were lost or cut, such as: %v", len(fs), l.answered.Load(), fs[0])
	}
}

// stream is a response that is read as it comes.
type stream struct {
	resp   *http.Response
	buf    bytes.Buffer
	cancel context.CancelFunc
}

// open asks for a long answer and waits for its first token.
func open(t *testing.T, url, body string) *stream {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url+chat, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("content-type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = resp.Body.Close() })
	s := &stream{resp: resp, cancel: cancel}
	for !strings.Contains(s.buf.String(), "data: ") {
		if _, err := io.CopyN(&s.buf, resp.Body, 1); err != nil {
			t.Fatalf("%s: %v after %q", resp.Status, err, s.buf.String())
		}
	}
	return s
}

// rest reads on to the end.
func (s *stream) rest() (*answer, error) {
	_, err := s.buf.ReadFrom(s.resp.Body)
	return &answer{s.resp.StatusCode, s.resp.Header, s.buf.String()}, err
}

// soon waits for a value, with patience.
func soon[T any](t *testing.T, what string, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		t.Fatalf("%s: it did not happen", what)
		panic("unreachable")
	}
}
