package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

// withModel gives bodies another model.
func withModel(bodies []body, model string) []body {
	const old = `"model":"sim"`
	out := make([]body, len(bodies))
	for i, b := range bodies {
		text := bytes.Replace(b.bytes, []byte(old), []byte(`"model":"`+model+`"`), 1)
		out[i] = body{text, b.nonce + len(text) - len(b.bytes)}
	}
	return out
}

// timed sends a request and returns when the first bytes of the answer's body were there,
// and all of them.
func (w *httpWorker) timed() (first, total time.Duration, err error) {
	n := w.l.nonce.Add(1)
	i := int(n % uint64(len(w.l.bodies)))
	b := &w.l.bodies[i]
	var nonce [nonceBytes]byte
	putNonce(nonce[:], n)
	start := time.Now()
	if err := w.conn.SetDeadline(start.Add(exchangeTimeout)); err != nil {
		return 0, 0, fmt.Errorf("load: %w", err)
	}
	parts := net.Buffers{w.l.heads[i], b.bytes[:b.nonce], nonce[:], b.bytes[b.nonce+nonceBytes:]}
	if _, err := parts.WriteTo(w.conn); err != nil {
		return 0, 0, fmt.Errorf("load: send: %w", err)
	}
	resp, err := http.ReadResponse(w.in, nil)
	if err != nil {
		return 0, 0, fmt.Errorf("load: receive: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	some, err := resp.Body.Read(w.buf)
	first = time.Since(start)
	if resp.StatusCode != http.StatusOK {
		return 0, 0, fmt.Errorf("load: %s: %.200s", resp.Status, w.buf[:some])
	}
	for err == nil {
		_, err = resp.Body.Read(w.buf)
	}
	if err != io.EOF {
		return 0, 0, fmt.Errorf("load: receive: %w", err)
	}
	return first, time.Since(start), nil
}

// StreamsRow is the memory of streams that are open at a time, translated from
// Anthropic's API to OpenAI's, in KiB for each.
type StreamsRow struct {
	Streams int     `json:"streams"`
	Fairway float64 `json:"fairway_kib"`
	Envoy   float64 `json:"envoy_kib"`
}

// hold opens streams through the gateway, and measures what they take.
func (g *runningGateway) hold(ctx context.Context, n int) (*StreamsRow, error) {
	before, before2, err := g.memory()
	if err != nil {
		return nil, err
	}
	// Over HTTP/2, since a process may not open as many connections as there are streams.
	tr := &http.Transport{Protocols: new(http.Protocols)}
	tr.Protocols.SetUnencryptedHTTP2(true)
	defer tr.CloseIdleConnections()
	held, leave := context.WithCancel(ctx)
	defer leave()
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(32)
	for range n {
		group.Go(func() error { return errors.Join(g.open(held, tr), ctx.Err()) })
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	after, after2, err := g.memory()
	if err != nil {
		return nil, err
	}
	return &StreamsRow{n, float64(after-before) / float64(n), float64(after2-before2) / float64(n)}, nil
}

// open opens a stream that stays until ctx ends, and waits for its first piece of text.
func (g *runningGateway) open(ctx context.Context, tr *http.Transport) error {
	body := strings.NewReader(`{"model":"anthropic","stream":true,"messages":[{"role":"user","content":"hello"}]}`)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+g.addr+"/v1/chat/completions", body)
	if err != nil {
		return fmt.Errorf("a stream: %w", err)
	}
	req.Header.Set("content-type", "application/json")
	req.Header.Set(holdHeader, "1")
	resp, err := tr.RoundTrip(req)
	if err != nil {
		return fmt.Errorf("a stream: %w", err)
	}
	context.AfterFunc(ctx, func() { _ = resp.Body.Close() }) // nobody waits for more
	some := make([]byte, 2048)
	for text := ""; !strings.Contains(text, `"content":" word"`); {
		k, err := resp.Body.Read(some)
		if text += string(some[:k]); err != nil {
			return fmt.Errorf("a stream: %s, %w after %.300q", resp.Status, err, text)
		}
	}
	return nil
}

// memory is what both processes hold, in KiB.
func (g *runningGateway) memory() (fairway, envoy int64, err error) {
	if fairway, err = resident(g.pid()); err == nil {
		envoy, err = resident(g.envoy)
	}
	return fairway, envoy, err
}

// resident is a process's resident memory, in KiB, where there is /proc.
func resident(pid int) (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, fmt.Errorf("memory of process %d: %w", pid, err)
	}
	_, rest, _ := strings.Cut(string(text), "VmRSS:")
	var kib int64
	if _, err := fmt.Sscan(rest, &kib); err != nil {
		return 0, fmt.Errorf("memory of process %d: %w", pid, err)
	}
	return kib, nil
}

// onlyChild is the process ID of a process's only child.
func onlyChild(pid int) (int, error) {
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		return 0, fmt.Errorf("children of process %d: %w", pid, err)
	}
	for _, task := range tasks {
		text, err := os.ReadFile(task)
		if err != nil {
			continue // a thread may end
		}
		if fields := strings.Fields(string(text)); len(fields) > 0 {
			return strconv.Atoi(fields[0])
		}
	}
	return 0, errors.New("the gateway has started no Envoy, or this system has no /proc")
}
