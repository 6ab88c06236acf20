package tokens

import (
	"context"
	"errors"

	"github.com/fairway-ai/fairway/extproc/scan"
)

// Estimate is a [Source] that guesses the number of tokens from the size of the
// request: 4 bytes are a token. It knows no ids and never fails.
type Estimate struct{}

// Tokens implements [Source].
func (Estimate) Tokens(_ context.Context, r Request) (Tokens, error) {
	return Tokens{Model: r.Model, Count: (len(r.Body) + scan.BytesPerToken - 1) / scan.BytesPerToken}, nil
}

// Fallback is a [Source] that asks each source until one knows. Each gets the whole
// budget, so at most one of them should be able to wait.
type Fallback []Source

// Tokens implements [Source]. Its error is of all sources.
func (f Fallback) Tokens(ctx context.Context, r Request) (Tokens, error) {
	var errs []error
	for _, s := range f {
		t, err := s.Tokens(ctx, r)
		if err == nil {
			return t, nil
		}
		errs = append(errs, err)
	}
	if len(errs) == 0 {
		return Tokens{}, ErrUnsupported
	}
	return Tokens{}, errors.Join(errs...)
}
