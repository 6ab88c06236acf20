package aibackend_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws/protocol/eventstream"

	"github.com/fairway-ai/fairway/aibackend"
	"github.com/fairway-ai/fairway/aibackend/internal/transcript"
)

var allSchemas = []aibackend.Schema{aibackend.OpenAI, aibackend.AzureOpenAI, aibackend.Anthropic, aibackend.AWSBedrock, aibackend.AWSAnthropic, aibackend.GCPVertexAI, aibackend.GCPAnthropic, aibackend.Cohere}

func clientPath(anthropic bool) string {
	if anthropic {
		return "/v1/messages"
	}
	return "/v1/chat/completions"
}

// FuzzRequest sends any body to every provider. What is made of it is valid JSON, or
// the client is told in valid JSON why not; and the client's body stays as it was.
func FuzzRequest(f *testing.F) {
	for _, tr := range transcript.All(f, "testdata") {
		tr.Prepare(f)
		f.Add([]byte(tr.In.Body), strings.Contains(tr.In.Line, "/messages"))
	}
	f.Fuzz(func(t *testing.T, body []byte, anthropic bool) {
		before := bytes.Clone(body)
		for _, s := range allSchemas {
			b := aibackend.Backend{Schema: s, Project: "p", Region: "r"}
			for _, old := range []bool{false, true} {
				b.EffortAsBudget, b.FormatByTool = old, old
				x, err := aibackend.NewExchange(clientPath(anthropic), http.Header{}, body, b)
				if err != nil {
					if !json.Valid(err.Body) || err.Status < 400 || err.Status > 499 {
						t.Fatalf("%s: %d %s", s, err.Status, err.Body)
					}
					continue
				}
				q := x.Request()
				if !json.Valid(q.Body) {
					t.Fatalf("%s: sends %s", s, q.Body)
				}
				if strings.ContainsAny(q.Path, " \r\n\x00") {
					t.Fatalf("%s: path %q", s, q.Path)
				}
			}
		}
		if !bytes.Equal(body, before) {
			t.Fatal("the body was changed")
		}
	})
}

// FuzzResponse gives any bytes as the answer of every provider. A client that is not
// streamed to gets valid JSON; one that is gets the same wherever the bytes are cut,
// and an error or an end.
func FuzzResponse(f *testing.F) {
	for _, tr := range transcript.All(f, "testdata") {
		tr.Prepare(f)
		f.Add([]byte(tr.Out.Body), strings.Contains(tr.In.Line, "/messages"), strings.Contains(tr.In.Body, `"stream": true`), 200, 10)
	}
	f.Fuzz(func(t *testing.T, wire []byte, anthropic, stream bool, status, cut int) {
		body := `{"model":"m","max_tokens":5,"messages":[{"role":"user","content":"hi"}]}`
		if stream {
			body = `{"stream":true,` + body[1:]
		}
		given := wire
		for _, s := range allSchemas {
			wire := given
			if stream && streamType(s) != "text/event-stream" {
				wire = frames(t, given)
			}
			cut := min(max(cut, 0), len(wire))
			play := func(cut int) (out []byte, failed bool) {
				x, err := aibackend.NewExchange(clientPath(anthropic), http.Header{}, []byte(body), aibackend.Backend{Schema: s})
				if err != nil {
					t.Fatal(err)
				}
				defer x.Close()
				h := http.Header{"Content-Type": {"application/json"}}
				if stream {
					h.Set("content-type", streamType(s))
				}
				x.Response(status, h)
				first, e := x.Body(bytes.Clone(wire[:cut]), false)
				out = append(out, first...)
				failed = e != nil
				rest, e := x.Body(bytes.Clone(wire[cut:]), true)
				return append(out, rest...), failed || e != nil
			}
			out, failed := play(cut)
			whole, failed2 := play(0)
			if !bytes.Equal(out, whole) || failed != failed2 {
				t.Fatalf("%s: cut at %d:\n%s\nwhole:\n%s", s, cut, out, whole)
			}
			if passes(s, anthropic) && (s != aibackend.AWSAnthropic || !stream) {
				continue // passes as it is
			}
			switch {
			case status < 200 || status > 299 || !stream:
				if !json.Valid(out) {
					t.Fatalf("%s: %d %s", s, status, out)
				}
			case failed:
				if !bytes.Contains(out, []byte(`"error"`)) {
					t.Fatalf("%s: failed without an error in %s", s, out)
				}
			case anthropic && !bytes.Contains(out, []byte("message_stop")),
				!anthropic && !bytes.HasSuffix(out, []byte("data: [DONE]\n\n")):
				t.Fatalf("%s: no end in %s", s, out)
			}
			if stream && status == 200 {
				checkStream(t, out)
			}
		}
	})
}

func streamType(s aibackend.Schema) string {
	if s == aibackend.AWSBedrock || s == aibackend.AWSAnthropic {
		return "application/vnd.amazon.eventstream"
	}
	return "text/event-stream"
}

// frames makes an event stream of lines as transcripts have them, and of any others.
func frames(t *testing.T, lines []byte) []byte {
	var out bytes.Buffer
	for line := range bytes.Lines(lines) {
		kind, rest, _ := bytes.Cut(bytes.TrimSpace(line), []byte(" "))
		name, payload, _ := bytes.Cut(rest, []byte(" "))
		if string(kind) != "event" && string(kind) != "exception" {
			kind, name = []byte("event"), []byte("chunk")
			payload = []byte(`{"bytes":"` + base64.StdEncoding.EncodeToString(rest) + `"}`)
		}
		var h eventstream.Headers
		h.Set(":message-type", eventstream.StringValue(string(kind)))
		h.Set(":"+string(kind)+"-type", eventstream.StringValue(string(name)))
		if len(name) > 100 {
			continue
		}
		if err := eventstream.NewEncoder().Encode(&out, eventstream.Message{Headers: h, Payload: payload}); err != nil {
			t.Fatal(err)
		}
	}
	return out.Bytes()
}

// passes reports whether client and provider speak the same schema.
func passes(s aibackend.Schema, anthropic bool) bool {
	switch s {
	case aibackend.OpenAI, aibackend.AzureOpenAI, aibackend.Cohere:
		return !anthropic
	case aibackend.Anthropic, aibackend.AWSAnthropic, aibackend.GCPAnthropic:
		return anthropic
	}
	return false
}

// checkStream checks that a stream consists of events whose data is JSON.
func checkStream(t *testing.T, out []byte) {
	for _, event := range strings.Split(strings.TrimSuffix(string(out), "\n\n"), "\n\n") {
		_, data, ok := strings.Cut("\n"+event, "\ndata: ")
		if event == "" || ok && data == "[DONE]" {
			continue
		}
		if !ok || !json.Valid([]byte(data)) {
			t.Fatalf("the event %q in %s", event, out)
		}
	}
}
