package egress

import (
	"time"

	"github.com/fairway-ai/fairway/aibackend"
	"github.com/fairway-ai/fairway/aibackend/chat"
)

// Observer is told how tries went. Its methods are called concurrently, and the next
// try waits for them: they must not block.
type Observer interface {
	// Answered reports the end of a try that was let go to its backend, whether the
	// backend answered or not.
	Answered(Outcome)
	// Refused reports a request that was answered here instead. Status is what the
	// client was told, and there is no usage.
	Refused(Outcome)
}

// Outcome is how a try went. It is safe to keep: it has no part of a body and no header
// but what is named here.
type Outcome struct {
	// RequestID is the request's x-request-id, which the client may have chosen.
	RequestID string
	// ID names the request among all others, and no client can know it; "" where nobody
	// asked for that.
	ID string
	// TraceParent is the W3C trace context that the request came here with, "" without
	// one. A client may have chosen it.
	TraceParent string
	// Rule is the name of the rule that led here, "namespace/route/rule"; "" where it
	// is not known.
	Rule string
	// Backend is the backend's label, or its name where it is not known any more.
	Backend string
	// Schema is what the backend speaks.
	Schema aibackend.Schema
	// Host is what the request named as its host, with a port unless that is the
	// scheme's own; "" for a pool that keeps the client's.
	Host string
	// Operation is the API that the client called.
	Operation Operation
	// Model is the one that the client named, SentModel the one that the backend was
	// asked for, and AnsweredModel the one that it says has answered. Each is "" where
	// it is not known, and up to 512 bytes long. Clients and providers chose them.
	Model, SentModel, AnsweredModel string
	// Stream says that the client asked for a stream.
	Stream bool

	// Status is the backend's; 0 when it gave none before the try ended.
	Status int
	// ErrorCode says in one word why an answer was an error: the provider's code or
	// type, or ours; "" when it was none. A provider chose it.
	ErrorCode string
	// Usage is what the backend counted; Known is false when it told nothing.
	Usage chat.Usage
	// Complete says that the answer ended in good order.
	Complete bool

	// Began is when Envoy asked about the try, Sent when it was told what to send; zero
	// where that was never.
	Began, Sent time.Time
	// FirstByte is when the first part of the answer's body came, Ended when the try
	// ended. FirstByte is zero for an answer without a body.
	FirstByte, Ended time.Time
}

// Duration is how long the backend took: from sending the request to the answer's end.
func (o *Outcome) Duration() time.Duration {
	if o.Sent.IsZero() {
		return 0
	}
	return o.Ended.Sub(o.Sent)
}

// TimeToFirstByte is how long the answer's body was waited for; 0 where there was none.
func (o *Outcome) TimeToFirstByte() time.Duration {
	if o.FirstByte.IsZero() || o.Sent.IsZero() {
		return 0
	}
	return o.FirstByte.Sub(o.Sent)
}

// Failed says that a backend did not do what it was asked: no answer, or one with an
// error.
func (o *Outcome) Failed() bool { return o.Status < 200 || o.Status > 299 || o.ErrorCode != "" }

// Operation is an API as metrics and traces call it.
type Operation string

// The operations.
const (
	OperationChat          Operation = "chat"
	OperationCompletion    Operation = "text_completion"
	OperationEmbeddings    Operation = "embeddings"
	OperationResponses     Operation = "responses"
	OperationImage         Operation = "image_generation"
	OperationSpeech        Operation = "speech"
	OperationTranscription Operation = "transcription"
	OperationModeration    Operation = "moderation"
	OperationCountTokens   Operation = "count_tokens"
	OperationRerank        Operation = "rerank"
	OperationOther         Operation = "other"
)

// Observers tells each of several observers, in order. Nil ones are left out.
type Observers []Observer

// Answered implements Observer.
func (all Observers) Answered(o Outcome) {
	for _, x := range all {
		if x != nil {
			x.Answered(o)
		}
	}
}

// Refused implements Observer.
func (all Observers) Refused(o Outcome) {
	for _, x := range all {
		if x != nil {
			x.Refused(o)
		}
	}
}
