package observe

import (
	"bytes"

	"github.com/fairway-ai/fairway/extproc/internal/jsonlex"
)

// event is what was found in one event, or in a body that is not streamed.
type event struct {
	content bool // choices[] carried something
	delta   bool // the top-level delta is, or has, something not empty
	// What the top-level type says.
	blockDelta, responseDelta, last bool
	usage                           counts
}

func (e *event) carriesToken() bool {
	return e.content || e.delta && (e.blockDelta || e.responseDelta)
}

func (e *event) setType(t []byte) {
	e.blockDelta = string(t) == "content_block_delta"
	e.responseDelta = bytes.HasPrefix(t, []byte("response.")) && bytes.HasSuffix(t, []byte(".delta"))
	switch string(t) {
	case "message_stop", "response.completed", "response.incomplete", "response.failed":
		e.last = true
	default:
		e.last = false
	}
}

// node is a place in the JSON of a response.
type node uint8

const (
	nodeOther node = iota
	nodeRoot
	nodeChoices // choices
	nodeChoice  // choices[]
	nodeDelta   // choices[].delta
	nodeContent // what is a token when it is not empty
	nodeType    // type
	nodeEvent   // delta
	nodeChange  // delta.*, a token of some types when it is not empty
	nodeParent  // message and response
	nodeUsage
	nodeDetails
	nodePrompt // the counts, as counts has them
	nodeCompletion
	nodeCached
	nodeCacheRead
	nodeCacheCreation
	nodeReasoning
)

// maxNodes is the deepest place of interest: response.usage.*_details, plus one
// since depths count from 1.
const maxNodes = 5

// child is the place of the value behind key in an object at n.
func (n node) child(key []byte) node {
	switch n {
	case nodeRoot:
		switch string(key) {
		case "choices":
			return nodeChoices
		case "type":
			return nodeType
		case "delta":
			return nodeEvent
		case "usage":
			return nodeUsage
		case "message", "response":
			return nodeParent
		}
	case nodeParent:
		if string(key) == "usage" {
			return nodeUsage
		}
	case nodeChoice:
		switch string(key) {
		case "delta":
			return nodeDelta
		case "text":
			return nodeContent
		}
	case nodeDelta:
		switch string(key) {
		case "content", "reasoning", "reasoning_content", "refusal", "tool_calls", "function_call", "audio":
			return nodeContent
		}
	case nodeEvent:
		if string(key) != "type" {
			return nodeChange
		}
	case nodeUsage:
		switch string(key) {
		case "prompt_tokens", "input_tokens":
			return nodePrompt
		case "completion_tokens", "output_tokens":
			return nodeCompletion
		case "prompt_tokens_details", "input_tokens_details", "completion_tokens_details", "output_tokens_details":
			return nodeDetails
		case "cache_read_input_tokens":
			return nodeCacheRead
		case "cache_creation_input_tokens":
			return nodeCacheCreation
		}
	case nodeDetails:
		switch string(key) {
		case "cached_tokens":
			return nodeCached
		case "reasoning_tokens":
			return nodeReasoning
		}
	}
	return nodeOther
}

// The methods below make Observer its lexer's Handler; see jsonlex.Handler. They
// are no use to anyone else.

// place is the place of the value that begins now.
func (o *Observer) place() node {
	if o.skipped > 0 {
		return nodeOther
	}
	return o.next
}

// notEmpty notes that there is something at n.
func (o *Observer) notEmpty(n node) {
	switch n {
	case nodeContent:
		o.event.content = true
	case nodeEvent, nodeChange:
		o.event.delta = true
	}
}

// member notes that a container at the current depth has something in it.
func (o *Observer) member() {
	depth := o.lex.Depth()
	if depth == 0 {
		return
	}
	if at := o.skipped; at > 0 && at == depth {
		o.notEmpty(o.nodes[0]) // the place of the container skipped
	}
}

// Open implements jsonlex.Handler.
func (o *Observer) Open(object bool) {
	o.member()
	if o.skipped > 0 {
		return
	}
	depth := o.lex.Depth() + 1
	n := o.next
	switch {
	case n == nodeChoices && !object && depth < maxNodes:
		o.nodes[depth], o.next = nodeChoices, nodeChoice
		return
	case object && depth < maxNodes && (n == nodeRoot || n == nodeChoice || n == nodeDelta || n == nodeEvent || n == nodeParent || n == nodeUsage || n == nodeDetails):
		o.nodes[depth] = n
		return
	}
	o.skipped, o.nodes[0] = depth, n
}

// Close implements jsonlex.Handler.
func (o *Observer) Close(bool) {
	depth := o.lex.Depth() // of what contains the container closed
	if o.skipped > 0 {
		if depth+1 > o.skipped {
			return
		}
		o.skipped = 0
	}
	o.next = nodeOther
	if depth > 0 && o.nodes[depth] == nodeChoices {
		o.next = nodeChoice
	}
}

// Literal implements jsonlex.Handler.
func (o *Observer) Literal(byte) { o.member() }

// Begin implements jsonlex.Handler.
func (o *Observer) Begin(k jsonlex.Kind, _ int64) {
	if k == jsonlex.Key {
		if o.skipped == 0 {
			o.lex.Out, o.lex.N = o.text[:], 0
		}
		return
	}
	o.member()
	switch n := o.place(); {
	case k == jsonlex.Number && n >= nodePrompt, k == jsonlex.String && n == nodeType:
		o.lex.Out = o.text[:]
	case k == jsonlex.String && (n == nodeContent || n == nodeEvent || n == nodeChange):
		// One byte tells that it is not empty.
		o.lex.Out = o.text[:1]
	}
}

// Full implements jsonlex.Handler. A key, type or number this long is none of
// those looked for.
func (o *Observer) Full() {
	if len(o.lex.Out) == 1 {
		o.notEmpty(o.next)
	} else {
		o.next = nodeOther
	}
	o.lex.Out = nil
}

// End implements jsonlex.Handler.
func (o *Observer) End(k jsonlex.Kind, _ int64) {
	if o.skipped > 0 {
		return
	}
	text := o.lex.Out
	if text != nil {
		text = text[:o.lex.N]
	}
	switch {
	case k == jsonlex.Key && text == nil:
		// Too long. Behind delta it still stands for a change.
		o.next = o.nodes[o.lex.Depth()].child(nil)
	case k == jsonlex.Key:
		o.next = o.nodes[o.lex.Depth()].child(text)
	case k == jsonlex.Number && text != nil:
		o.event.usage.set(o.next, text)
	case k == jsonlex.String && text != nil && o.next == nodeType:
		o.event.setType(text)
	}
}
