package scheduler

import (
	"time"

	"github.com/fairway-ai/fairway/scheduler/prefix"
)

// Request is what a decision needs to know of a request.
type Request struct {
	// ID is the request id, for explanations.
	ID string
	// Model is the model (or LoRA adapter) the request is for.
	Model string
	// PromptTokens is the estimated prompt length.
	PromptTokens int64
	// MaxOutputTokens is the client's bound on the answer; 0 when it set none.
	MaxOutputTokens int64
	// Images counts the parts of the prompt that are not text: images, audio, documents.
	Images int
	// Media identify those parts: the same part has the same number in every request.
	// Not all of many need to be there.
	Media []uint64
	// Now is the time of the decision.
	Now time.Time
	// Blocks is the prompt as chained block hashes, first block first. A last
	// partial block is not part of it.
	Blocks []prefix.Block
	// Keys is the prompt as chained hashes of its token ids, which [Holdings] are looked
	// up by. They count with KeysKnown only: a short prompt has none.
	Keys      []prefix.Block
	KeysKnown bool
	// Session is the endpoint ID a session token names, or "".
	Session string
	// Header returns a request header by lower-case name, "" when absent. It may
	// be nil.
	Header func(name string) string
	// Subset restricts the choice to these addresses ("ip:port", or "ip" for any
	// port of it) when HasSubset is set; an empty subset then admits nothing.
	Subset    []string
	HasSubset bool
	// Priority and FairnessID are for admission and flow control; higher is more
	// important.
	Priority   int
	FairnessID string
	// Seed makes ties and sampling random; the same seed gives the same decision.
	Seed uint64
}
