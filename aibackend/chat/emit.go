package chat

import (
	"strconv"

	"github.com/fairway-ai/fairway/aibackend/internal/jsonx"
)

// FormatTool is the name of the tool that stands for structured output where a
// provider has none: the model must call it, and its arguments are the answer.
const FormatTool = "json_answer"

// Emitter gives the events of a stream to a Sink in their proper order, for a reader
// of a provider's stream. Parts that are left open are closed.
type Emitter struct {
	Sink Sink
	// Provider is named in errors.
	Provider string
	// Name is used where the provider gives the answer or a call no ID. It should be
	// different for every answer of a conversation.
	Name string
	// UnwrapFormat turns calls of FormatTool into text.
	UnwrapFormat bool

	ev      Event
	open    bool
	kind    Kind
	as      Kind
	calls   int
	wrote   bool
	started bool
	ended   bool
	done    bool
}

// Started reports whether Begin was called.
func (e *Emitter) Started() bool { return e.started }

// Done reports whether the stream is over, for better or worse.
func (e *Emitter) Done() bool { return e.done }

func (e *Emitter) send(ev Event) {
	if e.done {
		return
	}
	e.ev = ev
	e.Sink(&e.ev)
}

// Begin starts the stream, once. Usage is what is known already.
func (e *Emitter) Begin(id, model string, u Usage) {
	if e.started {
		return
	}
	e.started = true
	if id == "" {
		id = e.Name
	}
	e.send(Event{Kind: Start, ID: id, Model: model, Usage: u})
}

// Open starts a part. id and name are a call's, data is that of Redacted.
func (e *Emitter) Open(kind Kind, id, name string, data []byte) {
	e.Shut()
	e.open, e.kind, e.as, e.wrote = true, kind, kind, false
	if kind == ToolUse {
		if e.UnwrapFormat && name == FormatTool {
			e.as = Text
		} else {
			e.calls++
		}
		if id == "" {
			id = callID(e.Name, e.calls)
		}
	}
	e.send(Event{Kind: PartStart, Part: e.as, CallID: id, Name: name, Text: data})
}

// Write adds to the part of this kind, and opens one if another or none is open.
// text is a JSON string with its quotes; an empty one is skipped.
func (e *Emitter) Write(kind Kind, text []byte) {
	if len(text) <= 2 {
		return
	}
	if !e.open || e.kind != kind {
		if kind == ToolUse {
			e.Fail(Malformed(e.Provider, "arguments came without a call"))
			return
		}
		e.Open(kind, "", "", nil)
	}
	e.wrote = true
	e.send(Event{Kind: Delta, Part: e.as, Text: text})
}

// Sign adds the signature to the part of this kind, and opens one if another or none
// is open. text is a JSON string with its quotes.
func (e *Emitter) Sign(kind Kind, text []byte) {
	if len(text) <= 2 {
		return
	}
	if !e.open || e.kind != kind {
		e.Open(kind, "", "", nil)
	}
	if e.as == kind {
		e.send(Event{Kind: Signature, Part: kind, Text: text})
	}
}

var noArgs = []byte(`"{}"`)

// Shut ends the open part, if one is. A call always has arguments then: clients parse
// them.
func (e *Emitter) Shut() {
	if e.open {
		if e.kind == ToolUse && !e.wrote {
			e.Write(ToolUse, noArgs)
		}
		e.open = false
		e.send(Event{Kind: PartStop, Part: e.as})
	}
}

// Finish says why the answer ended, once.
func (e *Emitter) Finish(f Finish, sequence, why string) {
	if e.ended {
		return
	}
	e.Shut()
	e.ended = true
	e.send(Event{Kind: Ended, Finish: e.finish(f), StopSequence: sequence, Why: why})
}

// finish corrects the reason by what was said: servers differ in it, and clients
// decide by it whether to run tools.
func (e *Emitter) finish(f Finish) Finish {
	switch {
	case f == FinishStop && e.calls > 0:
		return FinishToolUse
	case f == FinishToolUse && e.calls == 0:
		return FinishStop
	}
	return f
}

// Count tells the usage so far.
func (e *Emitter) Count(u Usage) { e.send(Event{Kind: Counts, Usage: u}) }

// Close ends the stream: well if Finish was called, else with an error, because the
// provider's stream was cut.
func (e *Emitter) Close() {
	if e.done {
		return
	}
	if !e.ended {
		e.Fail(Malformed(e.Provider, "the stream ended before the answer did"))
		return
	}
	e.send(Event{Kind: End})
	e.done = true
}

// Fail ends the stream with an error.
func (e *Emitter) Fail(err *Error) {
	e.send(Event{Kind: Failed, Err: err})
	e.done = true
}

func callID(name string, n int) string { return "call_" + name + "_" + strconv.Itoa(n) }

// Settle brings a whole answer into the form a stream has after an Emitter: calls of
// FormatTool become text if unwrap is set, and the reasons for the end agree with
// what was said, and everything has an ID. name is as in Emitter.
func (r *Response) Settle(name string, unwrap bool) {
	if r.ID == "" {
		r.ID = name
	}
	for i := range r.Choices {
		c := &r.Choices[i]
		calls := 0
		for k := range c.Parts {
			p := &c.Parts[k]
			switch {
			case p.Kind != ToolUse:
			case unwrap && p.Name == FormatTool:
				c.Parts[k] = Part{Kind: Text, Text: string(jsonx.AppendCompact(nil, p.Args))}
			default:
				calls++
				if p.ID == "" {
					p.ID = callID(name, calls)
				}
			}
		}
		e := Emitter{calls: calls}
		c.Finish = e.finish(c.Finish)
	}
}
