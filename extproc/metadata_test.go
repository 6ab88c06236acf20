package extproc

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/fairway-ai/fairway/extproc/observe"
)

// teller tells the tokens whenever it is asked.
type teller struct {
	*fakeObserver
	asked int
}

func (t *teller) ResponseMetadata(u observe.Usage) []byte {
	t.check("ResponseMetadata")
	t.asked++
	if !u.Known {
		return nil
	}
	ns, err := structpb.NewStruct(map[string]any{"ns": map[string]any{"in": float64(u.PromptTokens), "out": float64(u.CompletionTokens)}})
	if err != nil {
		panic(err)
	}
	b, err := proto.Marshal(ns)
	if err != nil {
		panic(err)
	}
	return b
}

func TestMetadataOfTheResponse(t *testing.T) {
	const (
		token = "data: {\"choices\":[{\"delta\":{\"content\":\"x\"}}]}\n\n"
		start = "data: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":7,\"output_tokens\":1}}}\n\n"
		end   = "data: {\"type\":\"message_delta\",\"usage\":{\"output_tokens\":9}}" // the line does not end
	)
	h := newHarness(t, Options{})
	o := &teller{fakeObserver: newObserver(t)}
	h.picker.pick = func(_ context.Context, _ *Request) (Pick, error) {
		return Pick{Destinations: "10.0.0.1:8000", Observer: o}, nil
	}
	c := h.open()
	c.ask(post(chat, buffered, streamed))
	c.ask(reqBody(chatBody, true))
	c.ask(respHeaders(":status", "200", "content-type", "text/event-stream"))
	for i, x := range []struct {
		part string
		last bool
		want string
	}{{token, false, ""}, {start, false, "7 1"}, {token, false, "7 1"}, {end, true, "7 9"}} {
		m := c.ask(respBody(x.part, x.last))
		if got := inOut(m); got != x.want || m.GetResponseBody() == nil {
			t.Errorf("message %d: told %q, want %q: %v", i, got, x.want, m)
		}
	}
	out := o.wait()
	c.finish()
	if o.asked != 4 || o.first != 1 || out.Chunks != 2 || out.Usage.CompletionTokens != 9 {
		t.Errorf("asked %d times, %d first tokens, %+v", o.asked, o.first, out)
	}

}

// inOut is what a teller told with an answer, "" for nothing.
func inOut(m *resp) string {
	f := m.GetDynamicMetadata().GetFields()["ns"].GetStructValue().GetFields()
	if f == nil {
		return ""
	}
	return fmt.Sprint(f["in"].GetNumberValue(), f["out"].GetNumberValue())
}

// Full duplex bodies carry metadata in the last chunk of each part, and nothing answers
// an empty one. What ends with trailers is told with those.
func TestMetadataOfAFullDuplexResponse(t *testing.T) {
	h := newHarness(t, Options{})
	var o *teller
	h.picker.pick = func(context.Context, *Request) (Pick, error) {
		return Pick{Destinations: "10.0.0.1:8000", Observer: o}, nil
	}
	begin := func() *call {
		o = &teller{fakeObserver: newObserver(t)}
		c := h.open()
		c.send(post(chat, duplex, duplex), reqBody(chatBody, true))
		c.recv()
		c.recv()
		c.ask(respHeaders(":status", "200", "content-type", "text/event-stream"))
		return c
	}
	const (
		start = "data: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":7,\"output_tokens\":1}}}\n\n"
		end   = "data: {\"type\":\"message_delta\",\"usage\":{\"output_tokens\":9}}" // the line does not end
	)
	for _, size := range []int{10, maxChunk - len(start) - len(": \n\n"), maxChunk, 2*maxChunk + 1} {
		c := begin()
		// A comment, and the usage at the end of the part.
		part := ": " + strings.Repeat("x", size) + "\n\n" + start
		c.send(respBody(part, false))
		got, chunks := "", 0
		for len(got) < len(part) {
			m := c.recv()
			body := m.GetResponseBody().GetResponse().GetBodyMutation().GetStreamedResponse().GetBody()
			got += string(body)
			chunks++
			if told := inOut(m); (told == "7 1") != (len(got) == len(part)) {
				t.Errorf("%d bytes: told %q after %d", len(part), told, len(got))
			}
			if n := proto.Size(m.GetDynamicMetadata()); n+len(body) > maxChunk || len(body) == 0 {
				t.Errorf("%d bytes: a chunk of %d and %d of metadata", len(part), len(body), n)
			}
		}
		c.send(respBody("", false)) // not answered, nobody is asked
		m := c.ask(respBody(end, true))
		if told := inOut(m); got != part || told != "7 9" || o.asked != 2 {
			t.Errorf("%d bytes in %d chunks: told %q in the end, asked %d times", len(part), chunks, told, o.asked)
		}
		if out := o.wait(); out.Usage.CompletionTokens != 9 {
			t.Errorf("%+v", out)
		}
		c.finish()
	}

	c := begin()
	if told := inOut(c.ask(respBody(start+end, false))); told != "7 1" {
		t.Errorf("told %q before the trailers", told)
	}
	if m := c.ask(respTrailers()); inOut(m) != "7 9" || m.GetResponseTrailers() == nil {
		t.Errorf("the trailers are answered with %v", m)
	}
	o.wait()
	c.finish()
}

// consulted is a foreign picker's exchange that sees the response, or not.
type consulted struct {
	abandoned
	wants bool
}

func (c consulted) WantsResponse() (headers, body bool) { return c.wants, c.wants }

func (c consulted) ResponseBody(part mem.BufferSlice, _, _ bool, _ func(time.Duration) error) Change {
	theirs, err := structpb.NewStruct(map[string]any{"theirs": map[string]any{"a": "b"}})
	if err != nil {
		panic(err)
	}
	b, err := proto.Marshal(theirs)
	if err != nil {
		panic(err)
	}
	return Change{BodyChanged: true, Body: part, Metadata: b}
}

// A foreign picker's metadata and ours are both told.
func TestMetadataBesideAForeignPicker(t *testing.T) {
	for _, wants := range []bool{false, true} {
		h := newHarness(t, Options{})
		o := &teller{fakeObserver: newObserver(t)}
		h.picker.pick = func(context.Context, *Request) (Pick, error) {
			return Pick{Destinations: "10.0.0.1:8000", Observer: o, Exchange: consulted{wants: wants}}, nil
		}
		c := h.open()
		c.ask(post(chat, buffered, streamed))
		c.ask(reqBody(chatBody, true))
		c.ask(respHeaders(":status", "200", "content-type", "application/json"))
		m := c.ask(respBody(`{"usage":{"prompt_tokens":7,"completion_tokens":2}}`, true))
		f := m.GetDynamicMetadata().GetFields()
		if f["ns"].GetStructValue().GetFields()["in"].GetNumberValue() != 7 || (f["theirs"] != nil) != wants {
			t.Errorf("wants %v: told %v", wants, f)
		}
		o.wait()
		c.finish()
	}
}
