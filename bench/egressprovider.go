package bench

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws/protocol/eventstream"

	"github.com/fairway-ai/fairway/aibackend"
)

// egressSchemas are the APIs of the providers: what passes, and two that are translated.
var egressSchemas = [...]string{"OpenAI", "Anthropic", "AWSBedrock"}

// holdHeader has a provider hold its answer after the first piece of text.
const holdHeader = "X-Bench-Hold"

// canned is what a provider of a schema answers: whole, and as a stream whose begin and
// event and end are sent one after the other.
type canned struct {
	whole, streamType string
	begin, event, end string
}

func cannedFor(schema string) (canned, error) {
	switch schema {
	case "OpenAI":
		return canned{
			whole: answer, streamType: "text/event-stream",
			event: event(`{"index":0,"delta":{"content":" word"},"logprobs":null,"finish_reason":null}`, ""),
			end:   event(`{"index":0,"delta":{},"finish_reason":"stop"}`, "") + event("", `,"usage":{"prompt_tokens":200,"total_tokens":400,"completion_tokens":200}`) + "data: [DONE]\n\n",
		}, nil
	case "Anthropic":
		line := func(kind, rest string) string {
			return "event: " + kind + "\ndata: {\"type\":\"" + kind + `"` + rest + "}\n\n"
		}
		return canned{
			whole: `{"id":"msg_1","type":"message","role":"assistant","model":"m","content":[{"type":"text","text":"It depends."}],` +
				`"stop_reason":"end_turn","stop_sequence":null,"usage":{"input_tokens":200,"output_tokens":3}}`,
			streamType: "text/event-stream",
			begin: line("message_start", `,"message":{"id":"msg_1","type":"message","role":"assistant","model":"m","content":[],"stop_reason":null,"usage":{"input_tokens":200,"output_tokens":1}}`) +
				line("content_block_start", `,"index":0,"content_block":{"type":"text","text":""}`),
			event: line("content_block_delta", `,"index":0,"delta":{"type":"text_delta","text":" word"}`),
			end:   line("content_block_stop", `,"index":0`) + line("message_delta", `,"delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"output_tokens":200}`) + line("message_stop", ""),
		}, nil
	}
	var failed error
	frame := func(name, payload string) string {
		var h eventstream.Headers
		h.Set(":message-type", eventstream.StringValue("event"))
		h.Set(":event-type", eventstream.StringValue(name))
		h.Set(":content-type", eventstream.StringValue("application/json"))
		var b bytes.Buffer
		if err := eventstream.NewEncoder().Encode(&b, eventstream.Message{Headers: h, Payload: []byte(payload)}); err != nil {
			failed = fmt.Errorf("a frame: %w", err)
		}
		return b.String()
	}
	return canned{
		whole: `{"output":{"message":{"role":"assistant","content":[{"text":"It depends."}]}},"stopReason":"end_turn",` +
			`"usage":{"inputTokens":200,"outputTokens":3,"totalTokens":203},"metrics":{"latencyMs":1}}`,
		streamType: "application/vnd.amazon.eventstream",
		begin:      frame("messageStart", `{"role":"assistant"}`),
		event:      frame("contentBlockDelta", `{"contentBlockIndex":0,"delta":{"text":" word"},"p":"abcdefgh"}`),
		end: frame("contentBlockStop", `{"contentBlockIndex":0}`) + frame("messageStop", `{"stopReason":"end_turn"}`) +
			frame("metadata", `{"usage":{"inputTokens":200,"outputTokens":200,"totalTokens":400},"metrics":{"latencyMs":1}}`),
	}, failed
}

// providerHandlers are the providers of egressSchemas. Answers that are held go on when
// release is closed.
func providerHandlers(release <-chan struct{}) func(i int) http.Handler {
	return func(i int) http.Handler {
		c, err := cannedFor(egressSchemas[i])
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if _, e := io.Copy(io.Discard, r.Body); e != nil || err != nil {
				return // the client is gone
			}
			hold := r.Header.Get(holdHeader) != ""
			if r.Header.Get(streamHeader) == "" && !hold {
				w.Header().Set("Content-Type", "application/json")
				_, _ = io.WriteString(w, c.whole) // an error means that nobody reads it
				return
			}
			w.Header().Set("Content-Type", c.streamType)
			out := http.NewResponseController(w)
			_, _ = io.WriteString(w, c.begin) // as above
			for n := range egressEvents {
				_, _ = io.WriteString(w, c.event)
				_ = out.Flush()
				if hold && n == 0 {
					select {
					case <-release:
					case <-r.Context().Done():
						return
					}
				}
			}
			_, _ = io.WriteString(w, c.end)
		})
	}
}

// TranslationRow is what translation costs in this process, without signing, Envoy and
// gRPC: reading and writing a request, and an event of a stream.
type TranslationRow struct {
	Provider string `json:"provider"`
	// RequestKB is nanoseconds per KB of a request of 220 KB, RequestAllocs allocations
	// for all of it.
	RequestKB     float64 `json:"request_ns_per_kb"`
	RequestAllocs float64 `json:"request_allocs"`
	// Event is nanoseconds for an event with a piece of text.
	Event       float64 `json:"event_ns"`
	EventAllocs float64 `json:"event_allocs"`
}

// translations measures package aibackend.
func translations() (rows []TranslationRow, err error) {
	const path = "/v1/chat/completions"
	long := `{"model":"m","max_tokens":9,"stream":true,"messages":[` + strings.Repeat(`{"role":"user","content":"`+strings.Repeat(`Why is the sky \"blue\"? `, 40)+`"},`, 220) + `{"role":"user","content":"x"}]}`
	short := `{"model":"m","max_tokens":9,"stream":true,"messages":[{"role":"user","content":"x"}]}`
	for _, schema := range egressSchemas {
		b := aibackend.Backend{Schema: aibackend.Schema(schema), Model: "x"}
		c, err := cannedFor(schema)
		if err != nil {
			return nil, err
		}
		row := TranslationRow{Provider: schema}
		ask := func(body string) (x aibackend.Exchange, err error) {
			x, refused := aibackend.NewExchange(path, http.Header{}, []byte(body), b)
			if refused != nil {
				return nil, refused
			}
			return x, nil
		}
		var failed error
		ns, allocs := repeated(func() {
			if _, e := ask(long); e != nil {
				failed = e
			}
		})
		row.RequestKB, row.RequestAllocs = ns/float64(len(long))*1024, allocs
		x, err := ask(short)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", schema, err)
		}
		x.Response(200, http.Header{"Content-Type": {c.streamType}})
		event := []byte(c.event)
		if _, e := x.Body([]byte(c.begin+c.event), false); e != nil {
			return nil, fmt.Errorf("%s: %w", schema, e)
		}
		row.Event, row.EventAllocs = repeated(func() {
			if _, e := x.Body(event, false); e != nil {
				failed = e
			}
		})
		x.Close()
		if failed != nil {
			return nil, fmt.Errorf("%s: %w", schema, failed)
		}
		rows = append(rows, row)
	}
	return rows, nil
}

// repeated is the time and the allocations of one call, of the best of five short runs:
// on a machine that is shared, what is slower is somebody else's doing.
func repeated(f func()) (ns, allocs float64) {
	f()
	for range 5 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		n, start := 0, time.Now()
		for time.Since(start) < 40*time.Millisecond {
			f()
			n++
		}
		took := float64(time.Since(start)) / float64(n)
		runtime.ReadMemStats(&after)
		allocs = float64(after.Mallocs-before.Mallocs) / float64(n)
		if ns == 0 || took < ns {
			ns = took
		}
	}
	return ns, allocs
}
