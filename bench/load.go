package bench

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// streamHeader tells the backend to stream, so that it need not parse bodies.
const streamHeader = "X-Bench-Stream"

// httpLoad sends chat requests over HTTP/1.1 connections that are kept, each
// worker one after the other.
type httpLoad struct {
	bodies []body
	heads  [][]byte // request line and headers of each body
	stream bool
	nonce  *atomic.Uint64
}

func newHTTPLoad(bodies []body, stream bool, nonce *atomic.Uint64) *httpLoad {
	l := &httpLoad{bodies: bodies, stream: stream, nonce: nonce}
	for _, b := range bodies {
		head := "POST /v1/chat/completions HTTP/1.1\r\nhost: bench\r\nuser-agent: OpenAI/Python 1.99.1\r\n" +
			"accept: application/json\r\naccept-encoding: gzip, deflate\r\nx-stainless-lang: python\r\n" +
			"authorization: Bearer sk-0123456789abcdef0123456789abcdef\r\ncontent-type: application/json\r\n"
		if stream {
			head += streamHeader + ": 1\r\n"
		}
		l.heads = append(l.heads, []byte(head+"content-length: "+strconv.Itoa(len(b.bytes))+"\r\n\r\n"))
	}
	return l
}

// httpResult is what one run of a load found.
type httpResult struct {
	requests int
	elapsed  time.Duration
	// latencies are until the answer's end, or a stream's first event.
	latencies []time.Duration
}

// run sends requests until d has passed or, when count is above 0, until that many
// have been sent.
func (l *httpLoad) run(ctx context.Context, addr string, workers, count int, d time.Duration) (httpResult, error) {
	if count > 0 {
		d = time.Hour
	}
	var (
		sent   atomic.Int64
		mu     sync.Mutex
		result httpResult
		start  = time.Now()
	)
	group, ctx := errgroup.WithContext(ctx)
	for range workers {
		group.Go(func() error {
			w, err := l.dial(ctx, addr)
			if err != nil {
				return err
			}
			defer w.close()
			var latencies []time.Duration
			for time.Since(start) < d && ctx.Err() == nil && (sent.Add(1) <= int64(count) || count == 0) {
				latency, err := w.exchange()
				if err != nil {
					return errors.Join(err, context.Cause(ctx))
				}
				latencies = append(latencies, latency)
			}
			mu.Lock()
			defer mu.Unlock()
			result.latencies = append(result.latencies, latencies...)
			return ctx.Err()
		})
	}
	err := group.Wait()
	result.requests, result.elapsed = len(result.latencies), time.Since(start)
	return result, err
}

// httpWorker is one connection.
type httpWorker struct {
	l      *httpLoad
	conn   net.Conn
	in     *bufio.Reader
	buf    []byte
	cancel func() bool
}

func (l *httpLoad) dial(ctx context.Context, addr string) (*httpWorker, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("load: %w", err)
	}
	w := &httpWorker{l: l, conn: conn, in: bufio.NewReaderSize(conn, 16<<10), buf: make([]byte, 16<<10)}
	w.cancel = context.AfterFunc(ctx, func() { _ = conn.Close() })
	return w, nil
}

func (w *httpWorker) close() {
	w.cancel()
	_ = w.conn.Close() // nothing is under way
}

// exchangeTimeout bounds one request.
const exchangeTimeout = 60 * time.Second

func (w *httpWorker) exchange() (time.Duration, error) {
	n := w.l.nonce.Add(1)
	i := int(n % uint64(len(w.l.bodies)))
	b := &w.l.bodies[i]
	var nonce [nonceBytes]byte
	putNonce(nonce[:], n)
	start := time.Now()
	if err := w.conn.SetDeadline(start.Add(exchangeTimeout)); err != nil {
		return 0, fmt.Errorf("load: %w", err)
	}
	parts := net.Buffers{w.l.heads[i], b.bytes[:b.nonce], nonce[:], b.bytes[b.nonce+nonceBytes:]}
	if _, err := parts.WriteTo(w.conn); err != nil {
		return 0, fmt.Errorf("load: send: %w", err)
	}
	resp, err := http.ReadResponse(w.in, nil)
	if err != nil {
		return 0, fmt.Errorf("load: receive: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	first, err := resp.Body.Read(w.buf)
	latency := time.Since(start)
	if resp.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("load: %s: %.200s", resp.Status, w.buf[:first])
	}
	for err == nil {
		_, err = resp.Body.Read(w.buf)
	}
	if err != io.EOF {
		return 0, fmt.Errorf("load: receive: %w", err)
	}
	if !w.l.stream {
		latency = time.Since(start)
	}
	return latency, nil
}
