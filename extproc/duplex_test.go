package extproc

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// echoed reads streamed_response chunks up to the end of the stream or trailers
// and returns their bytes.
func echoed(t *testing.T, c *call, request, trailers bool) string {
	t.Helper()
	var got strings.Builder
	for {
		m := c.recv()
		if m.GetRequestTrailers() != nil || m.GetResponseTrailers() != nil {
			if !trailers {
				t.Fatal("trailers out of nowhere")
			}
			return got.String()
		}
		body := m.GetRequestBody()
		if !request {
			body = m.GetResponseBody()
		}
		chunk := body.GetResponse().GetBodyMutation().GetStreamedResponse()
		if chunk == nil {
			t.Fatalf("got %v, want a chunk", m)
		}
		if len(chunk.GetBody()) > maxChunk {
			t.Errorf("a chunk of %d bytes", len(chunk.GetBody()))
		}
		if len(chunk.GetBody()) == 0 && !chunk.GetEndOfStream() {
			t.Error("a chunk that says nothing")
		}
		got.Write(chunk.GetBody())
		if chunk.GetEndOfStream() {
			if trailers {
				t.Error("end_of_stream before trailers")
			}
			return got.String()
		}
	}
}

// sendChunked sends body in random chunks.
func sendChunked(c *call, rnd *rand.Rand, body string, how string, message func(string, bool) *req) {
	sizes := []int{1, 300, 3000, 16384, 65536, 1 << 20}
	for rest := body; ; {
		n := min(len(rest), 1+rnd.IntN(sizes[rnd.IntN(len(sizes))]))
		last := n == len(rest)
		c.send(message(rest[:n], last && how == "last"))
		if rest = rest[n:]; last {
			break
		}
	}
	if how == "empty" {
		c.send(message("", true))
	}
}

// TestDuplexEcho sends bodies of many lengths in random chunks and wants them
// back byte for byte, with one end of stream.
func TestDuplexEcho(t *testing.T) {
	h := newHarness(t, Options{})
	rnd := rand.New(rand.NewPCG(1, 2))
	for _, size := range []int{0, 1, len(chatBody), 61999, 62000, 62001, 64 << 10, 124000, 1<<20 + 1} {
		// The end is told in the last chunk, in an empty one, or by trailers.
		for _, how := range []string{"last", "empty", "trailers"} {
			t.Run(fmt.Sprintf("%d/%s", size, how), func(t *testing.T) {
				body := make([]byte, size)
				for i := range body {
					body[i] = 'a' + byte(rnd.IntN(26))
				}
				path := chat
				const frame = `{"prompt":""}`
				if size >= len(frame) {
					copy(body, frame[:len(frame)-2])
					copy(body[size-2:], `"}`)
				} else {
					path = "/upload"
				}
				c := h.open()
				c.send(post(path, duplex, duplex))
				sendChunked(c, rnd, string(body), how, reqBody)
				if how == "trailers" {
					c.send(reqTrailers())
				}
				m := c.recv()
				wantPick(t, m, m.GetRequestHeaders().GetResponse())
				if got := echoed(t, c, true, how == "trailers"); got != string(body) {
					t.Errorf("the request body of %d bytes came back changed, %d bytes long", len(body), len(got))
				}
				c.ask(respHeaders(":status", "200"))
				sendChunked(c, rnd, string(body), how, respBody)
				if how == "trailers" {
					c.send(respTrailers())
				}
				if got := echoed(t, c, false, how == "trailers"); got != string(body) {
					t.Errorf("the response body of %d bytes came back changed, %d bytes long", len(body), len(got))
				}
				c.finish()
			})
		}
	}
}

// TestDuplexEarlyEcho is a response that must not wait for its end.
func TestDuplexEarlyEcho(t *testing.T) {
	h := newHarness(t, Options{})
	c := h.open()
	c.send(post("/grpc", duplex, duplex))
	if c.recv().GetRequestHeaders() == nil {
		t.Fatal("a call in both directions waits for its end")
	}
	for i := range 3 {
		want := fmt.Sprint(i)
		if got := c.ask(reqBody(want, false)).GetRequestBody().GetResponse().GetBodyMutation().GetStreamedResponse(); string(got.GetBody()) != want || got.GetEndOfStream() {
			t.Errorf("got %v", got)
		}
		if i == 0 {
			c.ask(respHeaders(":status", "200"))
		}
		if got := c.ask(respBody(want, false)).GetResponseBody().GetResponse().GetBodyMutation().GetStreamedResponse(); string(got.GetBody()) != want || got.GetEndOfStream() {
			t.Errorf("got %v", got)
		}
	}
	c.finish()
}
