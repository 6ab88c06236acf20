package fire

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fairway-ai/fairway/sim/server"
)

// modelServer is a model server that can be killed and started again.
type modelServer struct {
	t       *testing.T
	addr    string
	handler http.Handler
	posts   atomic.Int64 // requests other than GET

	mu   sync.Mutex
	http *http.Server // nil while it is down
}

// simulated starts a simulated vLLM server, at the given multiple of its speed.
func simulated(t *testing.T, name string, speed float64) *modelServer {
	t.Helper()
	s, err := server.New(server.Config{Name: name, Speed: speed})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return serve(t, s)
}

// simulatedFleet starts n of them.
func simulatedFleet(t *testing.T, n int) (all []*modelServer) {
	t.Helper()
	for i := range n {
		all = append(all, simulated(t, fmt.Sprintf("sim-%d", i), 10))
	}
	return all
}

func addresses(all ...*modelServer) (out []string) {
	for _, s := range all {
		out = append(out, s.addr)
	}
	return out
}

// answering starts a server with a handler of its own. It has an empty page of
// metrics.
func answering(t *testing.T, f http.HandlerFunc) *modelServer {
	t.Helper()
	return serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet {
			f(w, r)
		}
	}))
}

// serve starts a server on a port that it can take again.
func serve(t *testing.T, h http.Handler) *modelServer {
	t.Helper()
	s := &modelServer{t: t, addr: "127.0.0.1:" + freePort(t), handler: h}
	s.start()
	t.Cleanup(s.kill)
	return s
}

func (s *modelServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet {
		s.posts.Add(1)
	}
	w.Header().Set("x-server", s.addr)
	s.handler.ServeHTTP(w, r)
}

// start listens.
func (s *modelServer) start() {
	s.t.Helper()
	l, err := net.Listen("tcp", s.addr)
	if err != nil {
		s.t.Error(err) // not Fatal: flap calls from a goroutine of its own
		return
	}
	h := &http.Server{Handler: s, ReadHeaderTimeout: patience, Protocols: new(http.Protocols)}
	h.Protocols.SetHTTP1(true)
	h.Protocols.SetUnencryptedHTTP2(true)
	h.HTTP2 = &http.HTTP2Config{MaxConcurrentStreams: 20_000}
	s.mu.Lock()
	s.http = h
	s.mu.Unlock()
	go func() {
		if err := h.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			s.t.Error(err)
		}
	}()
}

// kill closes the listener and every connection, as the death of a process does.
func (s *modelServer) kill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.http != nil {
		_ = s.http.Close() // the listener's error tells nothing
		s.http = nil
	}
}

const contentSSE = "text/event-stream"

// short answers a stream of five tokens.
func short(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("content-type", contentSSE)
	_, _ = io.WriteString(w, strings.Repeat(event("word "), 5)+"data: [DONE]\n\n")
}

// event is one token of a stream.
func event(text string) string {
	return `data: {"choices":[{"index":0,"delta":{"content":"` + text + `"}}]}` + "\n\n"
}

// held answers with a first token, and with the rest when released.
func held(release <-chan struct{}, opened func()) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("content-type", contentSSE)
		_, _ = io.WriteString(w, event("first")) // a client that left is no error
		_ = http.NewResponseController(w).Flush()
		if opened != nil {
			opened()
		}
		select {
		case <-release:
		case <-r.Context().Done():
			return
		}
		_, _ = io.WriteString(w, event("second")+"data: [DONE]\n\n")
	}
}

// refusing answers every request with a status.
func refusing(status int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("content-type", "application/json")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, `{"error":{"message":"full","type":"rate_limit_error","code":"full"}}`)
	}
}

// silent accepts requests and never answers them.
func silent(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	<-r.Context().Done()
}

// flap closes and opens the server until the returned function is called, which
// leaves it open.
func (s *modelServer) flap() (stop func()) {
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		up := true
		tick := time.NewTicker(40 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-done:
				if !up {
					s.start()
				}
				return
			case <-tick.C:
			}
			if up {
				s.kill()
			} else {
				s.start()
			}
			up = !up
		}
	}()
	return sync.OnceFunc(func() { close(done); <-ended })
}

// metricsPage streams a page of metrics of n MiB.
func metricsPage(w http.ResponseWriter, n int) {
	mib := strings.Repeat("# "+strings.Repeat("x", 1021)+"\n", 1024)
	for range n {
		if _, err := io.WriteString(w, mib); err != nil {
			return
		}
	}
}
