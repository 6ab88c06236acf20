package fire

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fairway-ai/fairway/gateway/xds"
)

// Streams whose clients leave are taken off the books, and off the servers.
func TestClientsLeaveMidStream(t *testing.T) {
	var atServers atomic.Int64
	handle := func(w http.ResponseWriter, r *http.Request) {
		atServers.Add(1)
		defer atServers.Add(-1)
		held(nil, nil)(w, r)
	}
	a, b := answering(t, handle), answering(t, handle)
	r := newRig(t, xds.Pool{FailOpen: true}, a.addr, b.addr)
	streams := r.openHeld(20)
	if v := r.metric("llm_d_epp_inflight_requests"); v != 20 {
		t.Errorf("%v requests are in flight, want 20", v)
	}
	for _, s := range streams {
		s.cancel()
	}
	r.idle()
	eventually(t, "the servers are told", func() error {
		if n := atServers.Load(); n > 0 {
			return fmt.Errorf("%d requests are there", n)
		}
		return nil
	})
}

// Requests whose clients leave while they wait in the picker are taken off its books,
// and never reach a server.
func TestClientsLeaveWhileHeld(t *testing.T) {
	a, b := answering(t, silent), answering(t, silent)
	r := newRig(t, xds.Pool{FailOpen: true}, a.addr, b.addr)
	ctx, leave := context.WithCancel(context.Background())
	defer leave()
	var wg sync.WaitGroup
	const requests = 24
	for i := range requests {
		wg.Go(func() {
			if _, err := post(ctx, http.DefaultClient, r.url+chat, longQuestion(i)); err == nil {
				t.Error("a request was answered")
			}
		})
	}
	r.holds(requests, a, b)
	sent := a.posts.Load() + b.posts.Load()
	leave()
	wg.Wait()
	r.idle()
	// What is set free by those that left must not be sent: their clients have, too.
	if now := a.posts.Load() + b.posts.Load(); now > sent+2 {
		t.Errorf("%d held requests were sent after their clients had left", now-sent)
	}
}

// longQuestion has a prompt of some 8,000 tokens: a server is given two of them, and
// the next are held in the picker until one of those has begun to be answered.
func longQuestion(i int) string {
	return question(fmt.Sprint(i, strings.Repeat("and then? ", 3000)), true, 5)
}

// holds waits until n requests are under way, each held or at a server, and some held.
func (r *rig) holds(n int, servers ...*modelServer) {
	r.t.Helper()
	r.streams(n)
	eventually(r.t, "every request is held or sent", func() error {
		var sent int64
		for _, s := range servers {
			sent += s.posts.Load()
		}
		if held := r.metric("llm_d_epp_flow_control_queue_size"); held == 0 || int64(held)+sent != int64(n) {
			return fmt.Errorf("%v are held and %d sent", held, sent)
		}
		return nil
	})
}

// dial connects to Envoy without any HTTP client's help.
func (r *rig) dial() net.Conn {
	r.t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(r.url, "http://"))
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = c.Close() })
	return c
}

// dribble writes text over and over, a byte at a time, until the connection ends.
func dribble(c net.Conn, text string) {
	for i := 0; ; i++ {
		if _, err := c.Write([]byte{text[i%len(text)]}); err != nil {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// hose answers with tokens as fast as they are taken, without end.
func hose(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("content-type", contentSSE)
	for some := strings.Repeat(event("and more "), 500); ; {
		if _, err := io.WriteString(w, some); err != nil {
			return
		}
	}
}

// Clients that stop reading, and clients that send a byte at a time, harm nobody else,
// and leave nothing behind when they leave.
func TestClientsThatStall(t *testing.T) {
	var hosed atomic.Int64
	handle := func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("x-hose") == "" {
			short(w, r)
			return
		}
		hosed.Add(1)
		defer hosed.Add(-1)
		hose(w, r)
	}
	a, b := answering(t, handle), answering(t, handle)
	r := newRig(t, xds.Pool{FailOpen: true}, a.addr, b.addr)
	const each = 8
	head := "POST " + chat + " HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
	body := question("go on", true, 100_000)
	var stalled []net.Conn
	var dribbling sync.WaitGroup
	for range each {
		never := r.dial() // reads nothing
		if _, err := fmt.Fprintf(never, "%sx-hose: 1\r\ncontent-length: %d\r\n\r\n%s", head, len(body), body); err != nil {
			t.Fatal(err)
		}
		headers := r.dial()
		if _, err := io.WriteString(headers, head); err != nil {
			t.Fatal(err)
		}
		dribbling.Go(func() { dribble(headers, "x-slow: very\r\n") })
		bodies := r.dial()
		if _, err := fmt.Fprintf(bodies, "%scontent-length: 1000000\r\n\r\n{\"x\":\"", head); err != nil {
			t.Fatal(err)
		}
		dribbling.Go(func() { dribble(bodies, "slowly ") })
		stalled = append(stalled, never, headers, bodies)
	}
	// One that does not read one of the streams on its connection.
	tr := &http.Transport{Protocols: new(http.Protocols)}
	tr.Protocols.SetUnencryptedHTTP2(true)
	t.Cleanup(tr.CloseIdleConnections)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, r.url+chat, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("x-hose", "1")
	unread, err := tr.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer unread.Body.Close()
	eventually(t, "the streams nobody reads are there", func() error {
		if n := hosed.Load(); n != each+1 {
			return fmt.Errorf("%d of %d are", n, each+1)
		}
		return nil
	})

	l := r.load(8, 5)
	l.more(t, 300)
	for i := range 20 {
		if _, err := ask(&http.Client{Transport: tr}, r.url, fmt.Sprint("beside it ", i), 5); err != nil {
			t.Errorf("on the connection with the unread stream: %v", err)
		}
	}
	l.allWell(t)
	t.Logf("picker %d MiB, Envoy %d MiB", r.memoryPeak(), memory(t, r.gateway.EnvoyPID(), "VmHWM"))
	if used := r.memoryPeak(); used > 200 {
		t.Errorf("the picker took %d MiB", used)
	}
	if used := memory(t, r.gateway.EnvoyPID(), "VmHWM"); used > 400 {
		t.Errorf("Envoy took %d MiB", used)
	}
	if v := r.metric("llm_d_epp_extproc_streams_inflight"); v < each+1 {
		t.Errorf("%v requests are under way, want those %d that nobody reads", v, each+1)
	}
	for _, c := range stalled {
		_ = c.Close() // that it is open is all that matters
	}
	_ = unread.Body.Close()
	dribbling.Wait()
	r.idle()
	eventually(t, "the servers are told", func() error {
		if n := hosed.Load(); n > 0 {
			return fmt.Errorf("%d streams go on", n)
		}
		return nil
	})
}

// Ten thousand streams are open at once, on ten connections, and all of them complete.
func TestTenThousandStreams(t *testing.T) {
	const streams, perConnection, atOnce = 10_000, 1000, 100
	release := make(chan struct{})
	var opened atomic.Int64
	handle := held(release, func() { opened.Add(1) })
	var servers []string
	for range 4 {
		servers = append(servers, answering(t, handle).addr)
	}
	r := newRig(t, xds.Pool{FailOpen: true, HTTP2: true}, servers...)
	var wg sync.WaitGroup
	var lost atomic.Int64
	var client *http.Client
	for i := range streams {
		if i%perConnection == 0 {
			tr := &http.Transport{Protocols: new(http.Protocols)}
			tr.Protocols.SetUnencryptedHTTP2(true)
			t.Cleanup(tr.CloseIdleConnections)
			client = &http.Client{Transport: tr}
		}
		by := client
		wg.Go(func() {
			if _, err := ask(by, r.url, fmt.Sprint("question ", i), 2); err != nil && lost.Add(1) < 5 {
				t.Error(err)
			}
		})
		if (i+1)%atOnce > 0 {
			continue
		}
		// How many requests this machine takes in a second is not the question: more
		// at once, and the picker of a slow one is too late, and not waited for.
		eventually(t, "the streams open", func() error {
			if n := opened.Load() + lost.Load(); n <= int64(i) {
				return fmt.Errorf("%d of %d are", n, i+1)
			}
			return nil
		})
	}
	r.streams(streams)
	if v := r.metric("llm_d_epp_inflight_requests"); v != streams {
		t.Errorf("%v requests are in flight, want %d", v, streams)
	}
	t.Logf("with %d streams: picker %d MiB, Envoy %d MiB", streams, memory(t, r.picker.Process.Pid, "VmRSS"), memory(t, r.gateway.EnvoyPID(), "VmRSS"))
	close(release)
	wg.Wait()
	if n := lost.Load(); n > 0 {
		t.Errorf("%d streams were lost or cut", n)
	}
	r.idle()
}
