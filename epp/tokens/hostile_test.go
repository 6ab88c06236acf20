package tokens

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// hostile is a server that does with each connection whatever it likes, once it has read
// a request.
type hostile struct {
	l   net.Listener
	mu  sync.Mutex
	all []net.Conn
	wg  sync.WaitGroup
}

func newHostile(t *testing.T, act func(net.Conn)) *hostile {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h := &hostile{l: l}
	h.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			h.mu.Lock()
			h.all = append(h.all, c)
			h.mu.Unlock()
			h.wg.Go(func() {
				defer c.Close()
				r := bufio.NewReader(c)
				for {
					req, err := http.ReadRequest(r)
					if err != nil {
						return
					}
					_, _ = io.Copy(io.Discard, req.Body) // what is missing shows at the next one
					act(c)
				}
			})
		}
	})
	t.Cleanup(h.close)
	return h
}

func (h *hostile) close() {
	_ = h.l.Close()
	h.mu.Lock()
	for _, c := range h.all {
		_ = c.Close()
	}
	h.mu.Unlock()
	h.wg.Wait()
}

// say writes, and leaves the connection to its reader.
func say(text string) func(net.Conn) {
	return func(c net.Conn) { _, _ = io.WriteString(c, text) }
}

// endless writes text over and over until the reader has had enough.
func endless(head, text string) func(net.Conn) {
	b := bytes.Repeat([]byte(text), 1+(64<<10)/len(text))
	return func(c net.Conn) {
		_, err := io.WriteString(c, head)
		for err == nil {
			_, err = c.Write(b)
		}
	}
}

// slowly writes a byte at a time.
func slowly(text string) func(net.Conn) {
	return func(c net.Conn) {
		for i := range len(text) {
			if _, err := c.Write([]byte{text[i]}); err != nil {
				return
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
}

func ok(body string) string {
	return fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
}

func zipped(t *testing.T, n int) string {
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		t.Fatal(err)
	}
	chunk := bytes.Repeat([]byte("1,"), 1<<19)
	_, _ = io.WriteString(z, `{"token_ids":[`) // memory does not fail
	for range n {
		_, _ = z.Write(chunk)
	}
	_, _ = io.WriteString(z, `1]}`)
	_ = z.Close()
	return b.String()
}

// TestHostileServers: whatever a server does, each call ends by its budget with nothing,
// memory is bounded, the server is soon left alone, and nothing is left behind.
func TestHostileServers(t *testing.T) {
	const (
		budget, timeout = 100 * time.Millisecond, 400 * time.Millisecond
		maxAnswer       = 1 << 20
		// patience is far beyond both: it tells late from never.
		patience = 15 * time.Second
		maxHeap  = 64 << 20
	)
	const good = `{"token_ids":[7,8,9]}`
	chunked := "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
	bomb := zipped(t, 100)
	tests := map[string]func(net.Conn){
		"never answers":                 func(c net.Conn) { _, _ = c.Read(make([]byte, 1)) },
		"a byte at a time":              slowly(ok(good) + strings.Repeat(" ", 1000)),
		"headers a byte at a time":      slowly("HTTP/1.1 200 OK\r\n" + strings.Repeat("X-A: b\r\n", 1000)),
		"headers without end":           endless("HTTP/1.1 200 OK\r\n", "X-A: bcdefghijklmnopqrstuvwxyz\r\n"),
		"a header without end":          endless("HTTP/1.1 200 OK\r\nX-A: ", "b"),
		"a status without end":          endless("HTTP/1.1 200 ", "O"),
		"informational without end":     endless("", "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"),
		"100 MB":                        endless("HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n{\"token_ids\":[", "1,"),
		"a body without end":            endless("HTTP/1.1 200 OK\r\n\r\n{\"token_ids\":[", "1,"),
		"blanks without end":            endless("HTTP/1.1 200 OK\r\n\r\n", " "),
		"chunks without end":            endless(chunked, "2\r\n1,\r\n"),
		"a chunk beyond all bounds":     say(chunked + "ffffffffffffffff\r\n{"),
		"a chunk that is no chunk":      say(chunked + "zz\r\n{"),
		"chunk extensions without end":  endless(chunked+"2;", "a=b;"),
		"trailers without end":          endless(chunked+"2\r\n{}\r\n0\r\n", "X-A: b\r\n"),
		"a length beyond all bounds":    say("HTTP/1.1 200 OK\r\nContent-Length: 9223372036854775807\r\n\r\n{"),
		"a length below 0":              say("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n{}"),
		"two lengths":                   say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}x"),
		"garbage":                       say("\x00\xff\x16\x03\x01 hello\r\n\r\n"),
		"a bomb":                        say(fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%s", len(bomb), bomb)),
		"ids below 0":                   say(ok(`{"token_ids":[-1]}`)),
		"ids beyond 32 bits":            say(ok(`{"token_ids":[4294967296]}`)),
		"ids beyond all bounds":         say(ok(`{"token_ids":[` + strings.Repeat("9", 100_000) + `]}`)),
		"ids of fractions":              say(ok(`{"token_ids":[1.5,1e9]}`)),
		"ids within ids":                say(ok(`{"token_ids":` + strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000) + `}`)),
		"a redirect to itself":          say("HTTP/1.1 307 Temporary Redirect\r\nLocation: /v1/chat/completions/render\r\nContent-Length: 0\r\n\r\n"),
		"another protocol":              say("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n"),
		"another version":               say("HTTP/2.0 200 OK\r\n\r\n" + good),
		"it resets":                     func(c net.Conn) { _ = c.(*net.TCPConn).SetLinger(0); _ = c.Close() },
		"it resets within the answer":   func(c net.Conn) { say(ok(good)[:70])(c); _ = c.(*net.TCPConn).SetLinger(0); _ = c.Close() },
		"it closes within the answer":   func(c net.Conn) { say(ok(good)[:70])(c); _ = c.Close() },
		"it answers what nobody asked":  say(ok(`{"token_ids":null}`) + ok(good) + ok(good)),
		"it denies the model for ever":  say("HTTP/1.1 404 Not Found\r\nContent-Length: 39\r\n\r\n{\"error\":{\"type\":\"NotFoundError\"}}      "),
		"a status of four digits":       say("HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n"),
		"an answer before the question": say(strings.Repeat(ok(`{}`), 100)),
	}
	for name, act := range tests {
		t.Run(name, func(t *testing.T) {
			goroutines := runtime.NumGoroutine()
			bad := newHostile(t, act)
			fine := newHostile(t, say(ok(good)))
			var endpoints atomic.Value
			endpoints.Store([]string{bad.l.Addr().String()})
			e, err := NewEngine(Options{
				Endpoints: func() []string { return endpoints.Load().([]string) },
				Budget:    budget, Timeout: timeout, MaxAnswer: maxAnswer, Concurrent: 4, FailingWait: time.Hour,
			})
			if err != nil {
				t.Fatal(err)
			}
			before := heapNow()
			call := func(i int, budget time.Duration) (Tokens, error) {
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				defer cancel()
				got, err := e.Tokens(ctx, Request{Path: chat, Body: []byte(user(i)), Budget: budget})
				if ctx.Err() != nil {
					t.Error("a call did not end by its budget")
				}
				return got, err
			}
			var calls sync.WaitGroup
			for i := range 12 {
				calls.Go(func() {
					if got, err := call(i, 0); err == nil {
						t.Errorf("believed: %v", got)
					}
				})
			}
			calls.Wait()
			if grown := int64(heapNow()) - int64(before); grown > maxHeap {
				t.Errorf("the heap has grown by %d MiB", grown>>20)
			}
			// With a good one beside it, no more than a few questions still meet the bad one.
			endpoints.Store([]string{bad.l.Addr().String(), fine.l.Addr().String()})
			failed := 0
			for i := range 20 {
				got, err := call(100+i, patience)
				if err != nil {
					failed++
				} else if !slices.Equal(got.IDs, []uint32{7, 8, 9}) || !got.Exact {
					t.Fatalf("%+v", got)
				}
			}
			if failed > maxStrikes {
				t.Errorf("%d of 20 questions failed with a good endpoint there", failed)
			}
			e.Close()
			bad.close()
			fine.close()
			eventually(t, "all goroutines end", func() bool { return runtime.NumGoroutine() <= goroutines })
		})
	}
}

func heapNow() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
