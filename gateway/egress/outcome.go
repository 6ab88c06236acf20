package egress

import (
	"cmp"
	"strings"

	"github.com/fairway-ai/fairway/extproc"
)

// traceParent is the header of W3C trace contexts.
const traceParent = "traceparent"

// maxTold bounds what a client or a provider says of itself, where it is kept or told.
const maxTold = 512

// clip bounds a string and makes it one that can be told anybody.
func clip(s string) string { return strings.ToValidUTF8(s[:min(len(s), maxTold)], "") }

// id is what the request is known by to Tries.
func (t *try) id() string { return cmp.Or(t.original.ID, t.header(extproc.RequestIDHeader)) }

// outcome is how the try went so far.
func (t *try) outcome() Outcome {
	o := Outcome{
		ID: t.original.ID, RequestID: clip(t.header(extproc.RequestIDHeader)), TraceParent: clip(t.header(traceParent)), Rule: t.original.Rule, Backend: t.name,
		Operation: operationOf(t.original.Path), Model: clip(t.original.Asked), SentModel: clip(t.sentModel), Stream: t.stream,
		Status: t.status, ErrorCode: t.errorCode, Complete: t.complete,
		Began: t.began, Sent: t.sent, FirstByte: t.firstByte, Ended: t.of.now(),
	}
	if b := t.backend; b != nil {
		o.Schema, o.Host = b.Provider.Schema, b.Host
		if o.Model == "" && b.Provider.Model == "" && t.original.Model == "" {
			o.Model = o.SentModel
		}
	}
	if t.exchange != nil {
		o.Usage, o.AnsweredModel = t.exchange.Usage(), t.exchange.AnsweredModel()
	}
	return o
}

// operations are APIs by the ends of their paths; the first one counts.
var operations = [...]struct {
	path string
	is   Operation
}{
	{"/chat/completions", OperationChat},
	{"/messages", OperationChat},
	{"/messages/count_tokens", OperationCountTokens},
	{"/completions", OperationCompletion},
	{"/embeddings", OperationEmbeddings},
	{"/responses", OperationResponses},
	{"/images/generations", OperationImage},
	{"/images/edits", OperationImage},
	{"/images/variations", OperationImage},
	{"/audio/speech", OperationSpeech},
	{"/audio/transcriptions", OperationTranscription},
	{"/audio/translations", OperationTranscription},
	{"/moderations", OperationModeration},
	{"/rerank", OperationRerank},
}

func operationOf(path string) Operation {
	path, _, _ = strings.Cut(path, "?")
	for _, o := range operations {
		if strings.HasSuffix(path, o.path) {
			return o.is
		}
	}
	return OperationOther
}

// tell is dynamic metadata about the answer on its way; nil when there is nothing new.
func (t *try) tell() []byte {
	return t.ledger.tell(t.exchange.Usage(), func() *Outcome { o := t.outcome(); return &o }, t.of.Costs)
}
