package fire

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws/protocol/eventstream"
)

// exchange is one request at a provider, to be answered on its connection.
type exchange struct {
	*net.TCPConn
	p    *provider
	r    *received
	sent int // MiB
}

// stream says that the provider was asked for a stream.
func (x *exchange) stream() bool {
	if x.p.schema == "AWSBedrock" {
		return strings.HasSuffix(x.r.URL.Path, "/converse-stream")
	}
	var q struct{ Stream bool }
	_ = json.Unmarshal(x.r.body, &q)
	return q.Stream
}

// send writes bytes. That nobody reads them is no failure of a provider that misbehaves.
func (x *exchange) send(text string) bool {
	_, err := x.Write([]byte(text))
	return err == nil
}

// head writes a status line and headers.
func (x *exchange) head(status int, contentType string, more ...string) bool {
	text := fmt.Sprintf("HTTP/1.1 %d X\r\n", status)
	if contentType != "" {
		text += "content-type: " + contentType + "\r\n"
	}
	for _, h := range more {
		text += h + "\r\n"
	}
	return x.send(text + "\r\n")
}

// chunked begins an answer of unknown length.
func (x *exchange) chunked(status int, contentType string, more ...string) bool {
	return x.head(status, contentType, append(more, "transfer-encoding: chunked")...)
}

// chunk writes a part of it, and end its end.
func (x *exchange) chunk(b string) bool {
	return len(b) == 0 || x.send(fmt.Sprintf("%x\r\n%s\r\n", len(b), b))
}

func (x *exchange) end() bool { return x.send("0\r\n\r\n") }

// whole answers with a body of known length.
func (x *exchange) whole(status int, contentType, body string, more ...string) bool {
	return x.head(status, contentType, append(more, fmt.Sprint("content-length: ", len(body)))...) && x.send(body)
}

// reset breaks the connection off, as the death of a host's process does.
func (x *exchange) reset() {
	_ = x.SetLinger(0)
	_ = x.Close()
}

// hang waits until the other side leaves.
func (x *exchange) hang() { _, _ = x.Read(make([]byte, 1)) }

// answer is the provider's good answer: its content type and its events, or the one body.
func (x *exchange) answer() (contentType string, parts []string) {
	if !x.stream() {
		return "application/json", []string{map[string]string{
			"OpenAI":     `{"id":"c1","object":"chat.completion","created":1,"model":"their","choices":[{"index":0,"message":{"role":"assistant","content":"Hello"},"finish_reason":"stop"}],"usage":{"prompt_tokens":5,"completion_tokens":2,"total_tokens":7}}`,
			"Anthropic":  `{"id":"m1","type":"message","role":"assistant","model":"their","content":[{"type":"text","text":"Hello"}],"stop_reason":"end_turn","usage":{"input_tokens":5,"output_tokens":2}}`,
			"AWSBedrock": `{"output":{"message":{"role":"assistant","content":[{"text":"Hello"}]}},"stopReason":"end_turn","usage":{"inputTokens":5,"outputTokens":2,"totalTokens":7}}`,
		}[x.p.schema]}
	}
	switch x.p.schema {
	case "OpenAI":
		return contentSSE, openAIEvents(2)
	case "Anthropic":
		return contentSSE, anthropicEvents(2)
	}
	return "application/vnd.amazon.eventstream", bedrockFrames(2)
}

// openAIEvents are a stream with n pieces of text among others.
func openAIEvents(n int) (all []string) {
	event := func(choices, more string) {
		all = append(all, `data: {"id":"c1","object":"chat.completion.chunk","created":1,"model":"their","choices":[`+choices+`]`+more+"}\n\n")
	}
	event(`{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}`, "")
	for i := range n {
		event(fmt.Sprintf(`{"index":0,"delta":{"content":"piece %d "},"finish_reason":null}`, i), "")
	}
	event(`{"index":0,"delta":{},"finish_reason":"stop"}`, "")
	event("", `,"usage":{"prompt_tokens":5,"completion_tokens":2,"total_tokens":7}`)
	return append(all, "data: [DONE]\n\n")
}

func anthropicEvents(n int) (all []string) {
	event := func(kind, rest string) {
		all = append(all, "event: "+kind+"\ndata: {\"type\":\""+kind+`"`+rest+"}\n\n")
	}
	event("message_start", `,"message":{"id":"m1","type":"message","role":"assistant","model":"their","content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":5,"output_tokens":1}}`)
	event("content_block_start", `,"index":0,"content_block":{"type":"text","text":""}`)
	for i := range n {
		event("content_block_delta", fmt.Sprintf(`,"index":0,"delta":{"type":"text_delta","text":"piece %d "}`, i))
	}
	event("content_block_stop", `,"index":0`)
	event("message_delta", `,"delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"output_tokens":2}`)
	event("message_stop", "")
	return all
}

func bedrockFrames(n int) (all []string) {
	add := func(name, payload string) { all = append(all, frame("event", name, payload)) }
	add("messageStart", `{"role":"assistant"}`)
	for i := range n {
		add("contentBlockDelta", fmt.Sprintf(`{"contentBlockIndex":0,"delta":{"text":"piece %d "}}`, i))
	}
	add("contentBlockStop", `{"contentBlockIndex":0}`)
	add("messageStop", `{"stopReason":"end_turn"}`)
	add("metadata", `{"usage":{"inputTokens":5,"outputTokens":2,"totalTokens":7},"metrics":{"latencyMs":1}}`)
	return all
}

// frame is a frame of AWS's event streams.
func frame(kind, name, payload string) string {
	var h eventstream.Headers
	h.Set(":message-type", eventstream.StringValue(kind))
	h.Set(":"+kind+"-type", eventstream.StringValue(name))
	h.Set(":content-type", eventstream.StringValue("application/json"))
	var b bytes.Buffer
	if err := eventstream.NewEncoder().Encode(&b, eventstream.Message{Headers: h, Payload: []byte(payload)}); err != nil {
		panic(err) // a buffer takes it
	}
	return b.String()
}
