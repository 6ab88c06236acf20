package openai

import (
	"strconv"

	"github.com/fairway-ai/fairway/aibackend/chat"
	"github.com/fairway-ai/fairway/aibackend/internal/jsonx"
)

// StreamReader reads a provider's streamed answer, event by event.
type StreamReader struct {
	out     chat.Emitter
	call    int64
	refused bool
	// bare says that the last event held nothing but usage.
	bare bool
	// watch leaves out what is said: only the usage and the end count.
	watch bool
}

// NewStreamReader makes a reader that gives its events to sink. name is used where
// the provider gives no IDs, see chat.Emitter.
func NewStreamReader(sink chat.Sink, name string) *StreamReader {
	return &StreamReader{out: chat.Emitter{Sink: sink, Provider: provider, Name: name}, call: -1}
}

// NewWatcher makes a reader for a stream that is passed on unchanged. Its events
// tell the usage, the end and failures only.
func NewWatcher(sink chat.Sink) *StreamReader {
	return &StreamReader{out: chat.Emitter{Sink: sink, Provider: provider}, watch: true}
}

// Bare reports whether the last event held nothing but usage.
func (s *StreamReader) Bare() bool { return s.bare }

// chunk is what counts of one event. All of it is parts of the event.
type chunk struct {
	id, model, usage, failure []byte

	choices                     int
	content, reasoning, refusal []byte
	calls, finish, stop         []byte
}

// Event reads the data of one event.
func (s *StreamReader) Event(data []byte) {
	s.bare = false
	if len(data) == 0 || s.out.Done() {
		return
	}
	if string(data) == "[DONE]" {
		s.out.Close()
		return
	}
	if err := jsonx.Valid(data); err != nil {
		s.out.Fail(chat.Malformed(provider, "%v", err))
		return
	}
	var c chunk
	if ok, _ := jsonx.Each(data, c.member); !ok {
		s.out.Fail(chat.Malformed(provider, "an event is no JSON object"))
		return
	}
	if c.failure != nil {
		e := ParseError(0, data)
		if e == nil {
			e = &chat.Error{Message: "the provider failed without saying why"}
		}
		e.Status = StatusOf(e)
		s.out.Fail(e)
		return
	}
	s.bare = c.choices == 0 && jsonx.KindOf(c.usage) == jsonx.Object
	s.emit(&c)
}

func (c *chunk) member(key, v []byte) error {
	switch string(key) {
	case "id":
		c.id = v
	case "model":
		c.model = v
	case "usage":
		c.usage = v
	case "error":
		if string(v) != "null" {
			c.failure = v
		}
	case "choices":
		_, _ = jsonx.Items(v, c.choice)
	}
	return nil
}

func (c *chunk) choice(i int, v []byte) error {
	c.choices++
	if i > 0 { // several are only asked for by clients of the same schema
		return nil
	}
	_, err := jsonx.Each(v, c.choiceMember)
	return err
}

func (c *chunk) choiceMember(key, v []byte) error {
	switch string(key) {
	case "delta":
		_, _ = jsonx.Each(v, c.delta)
	case "finish_reason":
		c.finish = v
	case "stop_reason":
		c.stop = v
	}
	return nil
}

func (c *chunk) delta(key, v []byte) error {
	switch k := string(key); {
	case k == "tool_calls":
		c.calls = v
	case jsonx.KindOf(v) != jsonx.String:
	case k == "content":
		c.content = v
	case k == "reasoning_content", k == "reasoning":
		c.reasoning = v
	case k == "refusal":
		c.refusal = v
	}
	return nil
}

func (s *StreamReader) emit(c *chunk) {
	if !s.out.Started() && c.choices > 0 {
		id, _ := jsonx.Unquote(c.id)
		model, _ := jsonx.Unquote(c.model)
		s.out.Begin(id, model, chat.Usage{})
	}
	if !s.watch {
		s.parts(c)
	}
	if reason, ok := jsonx.Unquote(c.finish); ok {
		f, sequence := finishOf(reason, c.stop)
		if s.refused && f == chat.FinishStop {
			f = chat.FinishRefusal
		}
		s.out.Finish(f, sequence, "")
	}
	if jsonx.KindOf(c.usage) == jsonx.Object {
		s.out.Count(ParseUsage(c.usage))
	}
}

func (s *StreamReader) parts(c *chunk) {
	s.out.Write(chat.Thinks, c.reasoning)
	s.out.Write(chat.Text, c.content)
	if len(c.refusal) > 2 {
		s.refused = true
		s.out.Write(chat.Refusal, c.refusal)
	}
	_, _ = jsonx.Items(c.calls, s.toolCall)
}

// toolCall reads a piece of a call. A call's pieces follow each other.
func (s *StreamReader) toolCall(i int, v []byte) error {
	var index, id, name, args []byte
	_, _ = jsonx.Each(v, func(key, v []byte) error {
		switch string(key) {
		case "index":
			index = v
		case "id":
			id = v
		case "function":
			_, _ = jsonx.Each(v, func(key, v []byte) error {
				switch string(key) {
				case "name":
					name = v
				case "arguments":
					args = v
				}
				return nil
			})
		}
		return nil
	})
	n, err := strconv.ParseInt(string(index), 10, 64)
	if err != nil {
		n = int64(i) // some servers leave it out and send whole calls
		if len(id) > 2 {
			n = s.call + 1
		}
	}
	switch {
	case n > s.call:
		s.call = n
		callID, _ := jsonx.Unquote(id)
		callName, _ := jsonx.Unquote(name)
		if callName == "" {
			s.out.Fail(chat.Malformed(provider, "a call has no name"))
			return nil
		}
		s.out.Open(chat.ToolUse, callID, callName, nil)
	case n < s.call:
		s.out.Fail(chat.Malformed(provider, "the pieces of two calls are mixed"))
		return nil
	}
	if jsonx.KindOf(args) == jsonx.String {
		s.out.Write(chat.ToolUse, args)
	}
	return nil
}

// Close tells that the provider's stream has ended. Without a [DONE], a reason to
// end must have been told.
func (s *StreamReader) Close() { s.out.Close() }
