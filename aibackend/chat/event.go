package chat

// EventKind says what an Event is.
type EventKind uint8

// The kinds of events, in the order they come. A stream is Start, then parts that
// do not overlap (PartStart, any number of Delta and Signature, PartStop), then
// Finish, Counts and End. Counts may also come earlier and more than once, each
// replacing the one before. Error may come anywhere and is the last.
const (
	Start EventKind = iota
	PartStart
	Delta
	Signature
	PartStop
	Ended  // Finish, StopSequence and Why are set
	Counts // Usage is set
	End
	Failed // Err is set
)

// Event is one step of a streamed answer. It and what it points to are valid only
// until the function it was passed to returns.
type Event struct {
	Kind EventKind

	// ID and Model are set in Start.
	ID    string
	Model string

	// Part is the kind of the part in PartStart, Delta, Signature and PartStop.
	Part Kind
	// CallID and Name are a tool call's, in PartStart.
	CallID string
	Name   string
	// Text is a JSON string with its quotes. In Delta: more text, reasoning, refusal
	// or a piece of the arguments' JSON. In Signature: the signature of reasoning or
	// of a call. In PartStart of Redacted: the data.
	Text []byte

	Finish       Finish
	StopSequence string
	Why          string

	Usage Usage
	Err   *Error
}

// Sink takes events.
type Sink func(*Event)
