package chat

// Response is a whole answer.
type Response struct {
	ID      string
	Model   string
	Choices []Choice
	Usage   Usage
}

// Choice is one answer of those asked for with N.
type Choice struct {
	Parts  []Part
	Finish Finish
	// StopSequence is what ended the text, for FinishStopSequence, where the provider
	// says it.
	StopSequence string
	// Why explains a FinishRefusal or FinishFilter, where the provider does.
	Why string
}

// Finish is why an answer ended.
type Finish uint8

// The reasons.
const (
	FinishNone Finish = iota // not yet
	FinishStop
	FinishStopSequence
	FinishLength
	FinishContext // the model's context window is full
	FinishToolUse
	FinishRefusal // the model declined
	FinishFilter  // the provider's filter or guardrail stepped in
	FinishPause   // a long turn was paused; the client may send it back to go on
)

// Usage counts tokens. Input contains Cached and CacheWrite; Output contains
// Reasoning.
type Usage struct {
	Input  int64
	Output int64
	// Cached were read from the prompt cache.
	Cached int64
	// CacheWrite were written to the prompt cache; CacheWriteHour of them to be kept
	// for an hour.
	CacheWrite     int64
	CacheWriteHour int64
	Reasoning      int64
	// SearchUnits are what Cohere bills for ranking documents.
	SearchUnits int64 `json:",omitempty"`
	// Known is false until a provider told any count.
	Known bool
}

// Total is input and output.
func (u Usage) Total() int64 { return u.Input + u.Output }

// Error is a refusal of ours or a provider's failure, in no schema.
type Error struct {
	// Status is the HTTP status for the client, 400 to 599.
	Status int
	// Type is the provider's name for the kind of error, "" when it gave none.
	Type string
	// Code is ours or the provider's finer name, "" when there is none.
	Code string
	// Param names the field at fault, in the client's words.
	Param   string
	Message string
	// RequestID is the provider's.
	RequestID string
}

func (e *Error) Error() string { return e.Message }
