package tokens

import (
	"context"
	"errors"
	"time"

	"github.com/fairway-ai/fairway/pool/kvevents/index"
)

// Why there are no tokens. None says anything of the prompt.
var (
	// ErrUnsupported: the source does not know the request's API or members.
	ErrUnsupported = errors.New("tokens: the request is of a kind this source cannot tokenize")
	// ErrMalformed: the request is not what its API asks for.
	ErrMalformed = errors.New("tokens: the request is malformed")
	// ErrTooLarge: the request is larger than the source may take.
	ErrTooLarge = errors.New("tokens: the request is too large to be tokenized")
	// ErrLate: there was no answer within the budget.
	ErrLate = errors.New("tokens: no answer within the budget")
	// ErrBusy: too many questions are on their way.
	ErrBusy = errors.New("tokens: too many questions are on their way")
	// ErrNoEndpoint: no endpoint can be asked now.
	ErrNoEndpoint = errors.New("tokens: no endpoint can be asked")
	// ErrDenied: an endpoint wants other credentials.
	ErrDenied = errors.New("tokens: the endpoint wants other credentials")
	// ErrRefused: an endpoint does not accept the request.
	ErrRefused = errors.New("tokens: the endpoint refused the request")
	// ErrAnswer: an endpoint failed, or its answer is not one.
	ErrAnswer = errors.New("tokens: the endpoint's answer is unusable")
	// ErrImages: the prompt has images and the endpoint does not say where.
	ErrImages = errors.New("tokens: the endpoint does not tell the prompt's images")
	// ErrClosed: the source has been closed.
	ErrClosed = errors.New("tokens: closed")
)

// Request is what a source reads of a request.
type Request struct {
	// Path is the request's path; its end tells the API.
	Path string
	// Model is the model or LoRA adapter that the endpoint will be asked for. If it
	// is not "", it replaces the body's.
	Model string
	// Body is the request's JSON. It is read during the call only.
	Body []byte
	// Authorization is the header of that name that the question is asked with, "" for
	// none. It goes to Options.Endpoints alone, and is not kept longer than the question
	// is on its way.
	Authorization string
	// Budget is how long the call may take; 0 means the source's own.
	Budget time.Duration
}

// Source finds the tokens of requests. Its methods are safe for concurrent use.
type Source interface {
	// Tokens returns the tokens of r, or an error when they are not known within
	// the budget or before ctx ends.
	Tokens(ctx context.Context, r Request) (Tokens, error)
}

// Tokens are a prompt as the engine sees it.
type Tokens struct {
	// IDs are the token ids, nil when only their number is known. They are shared:
	// read only.
	IDs []uint32
	// Count is the number of tokens.
	Count int
	// Partial is true if the request has further prompts, which are not counted.
	Partial bool
	// Exact is true if the ids are those that the engine will compute.
	Exact bool
	// Model is the model or LoRA adapter, which the KV cache's blocks are kept apart by.
	Model string
	// Salt is the request's cache_salt, "" when it has none.
	Salt string
	// Images are the prompt's images and other items that are not text, in the
	// order of their place. They are shared: read only.
	Images []Image
}

// Image is an item of a prompt that is not text.
type Image struct {
	// Hash is the engine's identifier of it.
	Hash string
	// At is its first token, Length the number of its tokens.
	At, Length int
}

// Extras returns what a block's identity has besides the tokens, for
// [index.Index.Keys]. blockTokens is the size of the engine's blocks in tokens: an
// image counts from the start of each of them that has a part of it.
func (t *Tokens) Extras(blockTokens int) []index.Extra {
	if t.Salt == "" && len(t.Images) == 0 || blockTokens < 1 {
		return nil
	}
	var out []index.Extra
	salted := t.Salt == ""
	for i, first := 0, 0; ; {
		// The next block that an image is in, from the block first on.
		for i < len(t.Images) && t.Images[i].At+t.Images[i].Length <= first*blockTokens {
			i++
		}
		next := -1
		if i < len(t.Images) {
			next = max(first, t.Images[i].At/blockTokens)
		}
		if !salted && next != 0 {
			out, salted = append(out, index.Extra{Key: t.Salt}), true
		}
		if next < 0 {
			return out
		}
		start, end := next*blockTokens, (next+1)*blockTokens
		for k := i; k < len(t.Images) && t.Images[k].At < end; k++ {
			if t.Images[k].At+t.Images[k].Length > start {
				out = append(out, index.Extra{At: start, Key: t.Images[k].Hash})
			}
		}
		if !salted { // behind the first block's images, as in the engine
			out, salted = append(out, index.Extra{Key: t.Salt}), true
		}
		first = next + 1
	}
}
