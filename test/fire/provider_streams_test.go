package fire

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// Over HTTP/2, an answer may end with trailers, after a last part that says of itself
// that it is not the end.
func TestTrailersOverHTTP2(t *testing.T) {
	f := newAIFile()
	for _, schema := range schemas {
		x := &exchange{p: &provider{schema: schema}}
		s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			e := *x
			e.r = &received{Request: r, body: body}
			contentType, parts := e.answer()
			w.Header().Set("content-type", contentType)
			w.Header().Set("trailer", "x-checksum")
			for _, p := range parts {
				_, _ = io.WriteString(w, p) // a client that left is no error
				_ = http.NewResponseController(w).Flush()
			}
			w.Header().Set("x-checksum", "abc")
		}))
		s.EnableHTTP2 = true
		s.TLS = &tls.Config{}
		s.StartTLS()
		t.Cleanup(func() { s.CloseClientConnections(); s.Close() })
		name := strings.ToLower(schema)
		f.backend(name, schema, s.Listener.Addr().String(), "tls: {mode: Insecure}")
		f.rule(name, "", name)
	}
	p := f.run(t)
	var wg sync.WaitGroup
	for _, schema := range schemas {
		for _, path := range []string{chat, messages} {
			for _, stream := range []bool{false, true} {
				q := asked{path: path, model: strings.ToLower(schema), stream: stream, act: "trailers"}
				wg.Go(func() { p.hear(t.Context(), q).want(t, q, answered) })
			}
		}
	}
	wg.Wait()
}

// Streams that are held open cost little, each of them, and nothing once their clients
// have left.
func TestThousandsOfTranslatedStreams(t *testing.T) {
	const streams, perStream = 1000, 350 // KiB of both processes
	f := newAIFile()
	var open atomic.Int64
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		open.Add(1)
		defer open.Add(-1)
		w.Header().Set("content-type", contentSSE)
		_, _ = io.WriteString(w, strings.Join(anthropicEvents(1)[:3], ""))
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = s.Serve(l) }() // ends with Close
	t.Cleanup(func() { _ = s.Close() })
	f.backend("anthropic", "Anthropic", l.Addr().String())
	f.rule("anthropic", "", "anthropic")
	p := f.run(t)
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: streams}}
	ask := func(ctx context.Context) error {
		body := strings.Replace(question("hello", true, 50), `"sim"`, `"anthropic"`, 1)
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url+chat, strings.NewReader(body))
		if err != nil {
			return err
		}
		resp, err := client.Do(req)
		if err != nil {
			return err
		}
		context.AfterFunc(ctx, func() { _ = resp.Body.Close() })
		some := make([]byte, 4096)
		for text := ""; !strings.Contains(text, "piece 0"); {
			n, err := resp.Body.Read(some)
			if text += string(some[:n]); err != nil {
				return fmt.Errorf("%w after %q", err, text)
			}
		}
		return nil
	}
	begin := func(n int) (leave func()) {
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		slots := make(chan struct{}, 64)
		for range n {
			wg.Go(func() {
				slots <- struct{}{}
				defer func() { <-slots }()
				if err := ask(ctx); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		return cancel
	}
	begin(64)() // what there is once
	idleAt(t, p.admin)
	before := p.goroutines()
	fairway, envoy := p.cmd.Process.Pid, p.envoy()
	had := memory(t, fairway, "VmRSS") + memory(t, envoy, "VmRSS")
	leave := begin(streams)
	if n := open.Load(); n != streams {
		t.Errorf("%d streams are open", n)
	}
	have := memory(t, fairway, "VmRSS") + memory(t, envoy, "VmRSS")
	t.Logf("%d KiB for each of %d streams", (have-had)<<10/streams, streams)
	if (have-had)<<10 > streams*perStream {
		t.Errorf("%d streams took %d MiB", streams, have-had)
	}
	leave()
	p.rest(before, nil)
	eventually(t, "the provider is told", func() error {
		if n := open.Load(); n > 0 {
			return fmt.Errorf("%d streams are open", n)
		}
		return nil
	})
}
