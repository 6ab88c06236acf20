package bench

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/fairway-ai/fairway/sim/server"
)

const answer = `{"id":"chatcmpl-1","object":"chat.completion","created":1700000000,"model":"sim","choices":[{"index":0,` +
	`"message":{"role":"assistant","content":"It depends."},"finish_reason":"stop"}],` +
	`"usage":{"prompt_tokens":200,"total_tokens":203,"completion_tokens":3,"prompt_tokens_details":{"cached_tokens":0}}}`

// streamedTokens is the number of events with a token in a streamed answer.
const streamedTokens = 16

func event(choices, usage string) string {
	return `data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1700000000,"model":"sim","choices":[` + choices + `]` + usage + "}\n\n"
}

// backend is the fastest model server there can be: it reads a request, and answers
// at once, always the same. Its metrics page is a simulated server's.
type backend struct {
	metrics http.Handler
	token   string
	last    string
}

func newBackend() (*backend, error) {
	sim, err := server.New(server.Config{})
	if err != nil {
		return nil, fmt.Errorf("backend: %w", err)
	}
	return &backend{
		metrics: sim,
		token:   event(`{"index":0,"delta":{"content":" word"},"logprobs":null,"finish_reason":null}`, ""),
		last: event(`{"index":0,"delta":{"content":""},"logprobs":null,"finish_reason":"stop"}`, "") +
			event("", `,"usage":{"prompt_tokens":200,"total_tokens":216,"completion_tokens":16}`) + "data: [DONE]\n\n",
	}, nil
}

func (b *backend) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		b.metrics.ServeHTTP(w, r)
		return
	}
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		return // the client is gone
	}
	if r.Header.Get(streamHeader) == "" {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, answer) // an error means that nobody reads it
		return
	}
	w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
	out := http.NewResponseController(w)
	for range streamedTokens {
		_, _ = io.WriteString(w, b.token) // as above
		_ = out.Flush()
	}
	_, _ = io.WriteString(w, b.last)
}

// serveHTTP serves handlers on free ports until stop is called, and returns their
// addresses.
func serveHTTP(n int, handler func(i int) http.Handler) (addrs []string, stop func(), err error) {
	var servers []*http.Server
	stop = func() {
		for _, s := range servers {
			_ = s.Close() // clients are gone, or do not matter
		}
	}
	for i := range n {
		l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
		if err != nil {
			stop()
			return nil, nil, fmt.Errorf("backend %d: %w", i, err)
		}
		s := &http.Server{Handler: handler(i), ReadHeaderTimeout: 10 * time.Second}
		servers = append(servers, s)
		addrs = append(addrs, l.Addr().String())
		go func() { _ = s.Serve(l) }() // ends with Close
	}
	return addrs, stop, nil
}

// unreachable are n addresses that nobody is asked at.
func unreachable(n int) []string {
	addrs := make([]string, n)
	for i := range addrs {
		addrs[i] = fmt.Sprintf("10.%d.%d.%d:8000", i>>16&255, i>>8&255, i&255)
	}
	return addrs
}
