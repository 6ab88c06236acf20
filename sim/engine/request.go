package engine

import (
	"errors"
	"time"
)

// Errors of [Engine.Submit].
var (
	// ErrFull means that [Config.MaxWaiting] requests wait already.
	ErrFull = errors.New("the queue is full")
	// ErrTooLong means that prompt and output exceed the whole KV cache.
	ErrTooLong = errors.New("the request does not fit into the KV cache")
	// ErrSubmitted means that the request is in an engine already.
	ErrSubmitted = errors.New("the request was submitted before")
)

// Request is one prompt to answer. The caller fills in the first group of fields
// and must not change them, or copy the request, after Submit.
type Request struct {
	// ID is for the caller.
	ID string
	// Adapter is the LoRA adapter; empty means the base model.
	Adapter string
	// Hashes are the chained hashes of the prompt's full blocks: equal hashes mean
	// equal prompts up to and including that block. The last one may cover a
	// partial block.
	Hashes []uint64
	// PromptTokens and OutputTokens are lengths; less than 1 counts as 1.
	PromptTokens, OutputTokens int
	// Remote is how many of the prompt's tokens another server has computed, and holds
	// for this one to fetch.
	Remote int
	// Hold keeps the request's blocks after its end, for another server to fetch, until
	// [Engine.Release].
	Hold bool
	// Encode is the images, sounds and films that are to be encoded first.
	Encode int
	// Payload is for the caller.
	Payload any

	// Cached is the prompt tokens found in the prefix cache when the request was
	// first admitted.
	Cached int
	// Transferred is the prompt tokens that came from elsewhere when it was: from
	// another server, or from the CPU's memory.
	Transferred int
	// Submitted and Admitted are when it arrived and when it first left the queue,
	// which is before anything is transferred.
	Submitted, Admitted time.Duration
	// Generated is the output tokens so far.
	Generated int
	// Preemptions counts how often it lost its place.
	Preemptions int

	phase     phase
	cancelled bool
	blocks    []*block      // leading prompt blocks in the prefix cache, referenced
	private   int           // blocks held that are not in the prefix cache
	computed  int           // context tokens whose KV is computed
	target    int           // context tokens to compute before the next token
	chunk     int           // prefill tokens in the running step
	ready     time.Duration // when the transfer has ended
	fetched   bool          // Remote counts no more
	holding   bool          // it has ended and has its blocks
}

type phase uint8

const (
	phaseNew phase = iota
	phaseWaiting
	phaseTransfer // has its blocks, and waits for what is in them
	phasePrefill
	phaseDecode
	phaseEnding // has its last token, but its events are not sent
	phaseDone
)

// prompt and output are the lengths with their lower bound.
func (r *Request) prompt() int { return max(1, r.PromptTokens) }
func (r *Request) output() int { return max(1, r.OutputTokens) }

// held is the KV blocks the request occupies.
func (r *Request) held() int { return len(r.blocks) + r.private }

// Events are told what happens. The engine may be called back from them with
// Submit, Cancel and Stats, but not with Start or Finish.
type Events interface {
	// FirstToken is the end of the prefill.
	FirstToken(r *Request, now time.Duration)
	// Finished is the last token; a request that is cancelled never finishes.
	Finished(r *Request, now time.Duration)
	// Stored says that a block of the given tokens entered the prefix cache.
	Stored(hash uint64, tokens int)
	// Evicted says that it left.
	Evicted(hash uint64)
	// Preempted says that the request lost its blocks and waits again.
	Preempted(r *Request, now time.Duration)
}

// TokenEvents are Events that also want every output token after the first.
type TokenEvents interface {
	// Token is the n-th output token, n >= 2.
	Token(r *Request, n int, now time.Duration)
}

// StepEvents are Events that also want the size of every step.
type StepEvents interface {
	// Step is called at a step's end, before its other events, with its prefill
	// tokens and decoding sequences.
	Step(prefill, decode int, now time.Duration)
}
