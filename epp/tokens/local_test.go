package tokens

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fairway-ai/fairway/epp/tokens/bpe"
)

// running is a time that goes on by one millisecond whenever it is looked at.
type running struct {
	systemClock
	now time.Time
}

func (r *running) Now() time.Time {
	r.now = r.now.Add(time.Millisecond)
	return r.now
}

func TestLocal(t *testing.T) {
	data, err := os.ReadFile("bpe/testdata/llama3.json")
	if err != nil {
		t.Fatal(err)
	}
	tokenizer, err := bpe.Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	l := &Local{Tokenizer: func(model string) *bpe.Tokenizer {
		if model == "m" {
			return tokenizer
		}
		return nil
	}}
	ids := func(text string, special bool) []uint32 {
		out, err := tokenizer.Encode(text, special, nil)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	long := `{"model":"m","prompt":"` + strings.Repeat("text ", 100_000) + `"}`
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	tests := []struct {
		name, path, body string
		ctx              context.Context
		clock            Clock
		want             []uint32
		err              error
	}{
		{name: "text", path: completion, body: `{"model":"m","prompt":"A server's"}`, want: ids("A server's", true)},
		{name: "no special tokens", path: completion, body: `{"model":"m","prompt":"A server's","add_special_tokens":false}`, want: ids("A server's", false)},
		{name: "ids", path: completion, body: `{"model":"other","prompt":[5,6]}`, want: []uint32{5, 6}},
		{name: "truncated", path: completion, body: `{"model":"m","prompt":"x","truncate_prompt_tokens":1}`, err: ErrUnsupported},
		{name: "chat", path: chat, body: user(1), err: ErrUnsupported},
		{name: "no tokenizer", path: completion, body: `{"model":"other","prompt":"x"}`, err: ErrUnsupported},
		{name: "malformed", path: completion, body: `{"model":"m"}`, err: ErrMalformed},
		{name: "budget", path: completion, body: long, clock: &running{}, err: ErrLate},
		{name: "canceled", path: completion, body: long, ctx: canceled, err: context.Canceled},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			ctx := test.ctx
			if ctx == nil {
				ctx = t.Context()
			}
			l := *l
			l.Clock = test.clock
			if l.Clock == nil {
				l.Clock = newClock()
			}
			got, err := l.Tokens(ctx, Request{Path: test.path, Body: []byte(test.body)})
			if !errors.Is(err, test.err) || !slices.Equal(got.IDs, test.want) || got.Exact != (test.err == nil) {
				t.Fatalf("%+v, %v, want %v, %v", got, err, test.want, test.err)
			}
		})
	}
}
