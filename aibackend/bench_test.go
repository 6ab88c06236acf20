package aibackend_test

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/fairway-ai/fairway/aibackend"
	"github.com/fairway-ai/fairway/aibackend/internal/transcript"
)

// conversation is a request of about n bytes with many turns.
func conversation(n int) []byte {
	var b bytes.Buffer
	b.WriteString(`{"model":"m","max_tokens":100,"stream":true,"messages":[`)
	turn := strings.Repeat(`Why is the sky \"blue\"? `, 40)
	for i := 0; b.Len() < n; i++ {
		if i > 0 {
			b.WriteByte(',')
		}
		role := [...]string{"user", "assistant"}[i%2]
		if i%2 == 1 && b.Len()+2*len(turn) > n {
			break
		}
		fmt.Fprintf(&b, `{"role":%q,"content":"%s"}`, role, turn)
	}
	out := bytes.TrimSuffix(b.Bytes(), []byte(","))
	return append(out, `,{"role":"user","content":"Go on."}]}`...)
}

var benched = []struct {
	path   string
	schema aibackend.Schema
}{
	{"/v1/chat/completions", aibackend.OpenAI},
	{"/v1/chat/completions", aibackend.Anthropic},
	{"/v1/chat/completions", aibackend.AWSBedrock},
	{"/v1/chat/completions", aibackend.GCPVertexAI},
	{"/v1/messages", aibackend.Anthropic},
	{"/v1/messages", aibackend.OpenAI},
	{"/v1/messages", aibackend.AWSBedrock},
	{"/v1/messages", aibackend.GCPVertexAI},
}

// BenchmarkRequest translates requests. The throughput is of the client's bytes.
func BenchmarkRequest(b *testing.B) {
	for _, size := range []int{1 << 10, 220 << 10} {
		for _, c := range benched {
			b.Run(fmt.Sprintf("%s-%s-%dK", strings.ReplaceAll(strings.Trim(c.path, "/"), "/", "."), c.schema, size>>10), func(b *testing.B) {
				body := conversation(size)
				b.SetBytes(int64(len(body)))
				b.ReportAllocs()
				for b.Loop() {
					if _, err := aibackend.NewExchange(c.path, http.Header{}, body, aibackend.Backend{Schema: c.schema, Model: "x"}); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// delta is one event with a piece of text, as each provider sends it.
func delta(tb testing.TB, s aibackend.Schema) (begin, event []byte) {
	switch s {
	case aibackend.OpenAI:
		line := "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\" word\"},\"finish_reason\":null}]}\n\n"
		return []byte(line), []byte(line)
	case aibackend.Anthropic:
		return []byte("event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"a\",\"model\":\"m\",\"usage\":{\"input_tokens\":7}}}\n\n"),
			[]byte("event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\" word\"}}\n\n")
	case aibackend.GCPVertexAI:
		line := "data: {\"candidates\":[{\"content\":{\"role\":\"model\",\"parts\":[{\"text\":\" word\"}]}}],\"usageMetadata\":{\"trafficType\":\"ON_DEMAND\"},\"modelVersion\":\"m\",\"responseId\":\"r\"}\r\n\r\n"
		return []byte(line), []byte(line)
	}
	frame := func(line string) []byte {
		return transcript.Frames(tb, line)
	}
	return frame(`event messageStart {"role":"assistant"}`), frame(`event contentBlockDelta {"contentBlockIndex":0,"delta":{"text":" word"},"p":"abcdef"}`)
}

func streaming(tb testing.TB, path string, s aibackend.Schema) (x aibackend.Exchange, event []byte) {
	x, err := aibackend.NewExchange(path, http.Header{}, []byte(`{"model":"m","max_tokens":9,"stream":true,"messages":[{"role":"user","content":"x"}]}`), aibackend.Backend{Schema: s})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(x.Close)
	x.Response(200, http.Header{"Content-Type": {streamType(s)}})
	begin, event := delta(tb, s)
	if _, err := x.Body(begin, false); err != nil {
		tb.Fatal(err)
	}
	return x, event
}

// BenchmarkEvent translates one event with a piece of text.
func BenchmarkEvent(b *testing.B) {
	for _, c := range benched {
		b.Run(fmt.Sprintf("%s-%s", strings.ReplaceAll(strings.Trim(c.path, "/"), "/", "."), c.schema), func(b *testing.B) {
			x, event := streaming(b, c.path, c.schema)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := x.Body(event, false); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// TestEventsAllocateLittle: the translation of a piece of text allocates nothing,
// but for Gemini, whose events are decoded.
func TestEventsAllocateLittle(t *testing.T) {
	if raceDetector {
		t.Skip("the race detector allocates")
	}
	for _, c := range benched {
		x, event := streaming(t, c.path, c.schema)
		want := 0.0
		if c.schema == aibackend.GCPVertexAI {
			want = 20
		}
		got := testing.AllocsPerRun(200, func() {
			if out, err := x.Body(event, false); err != nil || len(out) == 0 {
				t.Fatal(err)
			}
		})
		if got > want {
			t.Errorf("%s to %s: %v allocations for an event, want at most %v", c.path, c.schema, got, want)
		}
	}
}
