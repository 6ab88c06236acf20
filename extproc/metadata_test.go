package extproc

import (
	"context"
	"fmt"
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
		got := ""
		if f := m.GetDynamicMetadata().GetFields()["ns"].GetStructValue().GetFields(); f != nil {
			got = fmt.Sprint(f["in"].GetNumberValue(), f["out"].GetNumberValue())
		}
		if got != x.want || m.GetResponseBody() == nil {
			t.Errorf("message %d: told %q, want %q: %v", i, got, x.want, m)
		}
	}
	out := o.wait()
	c.finish()
	if o.asked != 4 || o.first != 1 || out.Chunks != 2 || out.Usage.CompletionTokens != 9 {
		t.Errorf("asked %d times, %d first tokens, %+v", o.asked, o.first, out)
	}

	// Full duplex bodies carry no metadata, and are observed all the same.
	o = &teller{fakeObserver: newObserver(t)}
	c = h.open()
	c.send(post(chat, duplex, duplex), reqBody(chatBody, true))
	c.recv()
	c.recv()
	c.ask(respHeaders(":status", "200", "content-type", "text/event-stream"))
	if m := c.ask(respBody(start, true)); m.DynamicMetadata != nil || o.asked != 0 {
		t.Errorf("asked %d times: %v", o.asked, m)
	}
	if out := o.wait(); out.Usage.PromptTokens != 7 {
		t.Errorf("%+v", out)
	}
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
