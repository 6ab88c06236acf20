package tokens

import (
	"context"
	"fmt"
	"time"

	"github.com/fairway-ai/fairway/epp/tokens/bpe"
)

// Local is a [Source] that tokenizes by itself. It serves completions; of a chat it
// knows no template, so that is [ErrUnsupported].
type Local struct {
	// Tokenizer returns the tokenizer of a model or adapter, nil if there is none.
	// It is called for each request and must not wait.
	Tokenizer func(model string) *bpe.Tokenizer
	// Budget is how long a request may take when it does not say; 0 means
	// [DefaultBudget].
	Budget time.Duration
	// MaxRequest bounds a request, in bytes; 0 means [DefaultMaxRequest].
	MaxRequest int
	// Clock is the time; nil means the real time.
	Clock Clock
}

// Tokens implements [Source].
func (l *Local) Tokens(ctx context.Context, r Request) (Tokens, error) {
	clock, budget, limit := l.Clock, l.Budget, l.MaxRequest
	if clock == nil {
		clock = systemClock{}
	}
	orDefault(&budget, DefaultBudget)
	orDefault(&limit, DefaultMaxRequest)
	if r.Budget > 0 {
		budget = r.Budget
	}
	end := clock.Now().Add(budget)
	p, err := readPrompt(r, limit)
	switch {
	case err != nil:
		return Tokens{}, err
	case p.known != nil:
		return p.tokens(answer{ids: p.known, images: p.images})
	case p.chat || !p.tokenizable:
		return Tokens{}, ErrUnsupported
	}
	t := l.Tokenizer(p.model)
	if t == nil {
		return Tokens{}, ErrUnsupported
	}
	var text string
	if err := unquote(p.raw, &text); err != nil {
		return Tokens{}, ErrMalformed
	}
	ids, err := t.Encode(text, p.special, func() bool { return ctx.Err() != nil || !clock.Now().Before(end) })
	switch {
	case err != nil && ctx.Err() != nil:
		return Tokens{}, fmt.Errorf("tokens: %w", ctx.Err())
	case err != nil: // it was stopped
		return Tokens{}, ErrLate
	}
	return p.tokens(answer{ids: ids})
}
