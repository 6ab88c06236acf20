package kvcache

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"github.com/fairway-ai/fairway/epp/tokens"
	"github.com/fairway-ai/fairway/epp/tokens/bpe"
	"github.com/fairway-ai/fairway/pool/kvevents"
	"github.com/fairway-ai/fairway/pool/kvevents/index"
	"github.com/fairway-ai/fairway/scheduler/prefix"
)

// Options are the settings of a [Set]. The zero value dials every endpoint, and knows
// the tokens of no request but those that bring them.
type Options struct {
	// Events are where engines publish. Sink, Logger and Now are filled in.
	Events kvevents.Options
	// Index are the settings of the indexes. Prefix and Now are filled in.
	Index index.Options
	// Tokens says where requests' tokens come from.
	Tokens Tokens
	// Log gets what an operator must know; nil discards it.
	Log *slog.Logger
	// Clock is the time; nil is the real one.
	Clock tokens.Clock
}

// MaxBody is the longest request, in bytes, whose tokens are worth asking for: no source
// takes a longer one.
const MaxBody = tokens.DefaultMaxRequest

// Tokens says where the token ids of requests come from.
type Tokens struct {
	// Engines asks engines for them: at URL, or without one the pool's own endpoints.
	Engines bool
	URL     string
	// Model is the model that URL is asked for; "" is the request's.
	Model string
	// Budget is how long a request waits for its tokens; 0 means
	// tokens.DefaultBudget.
	Budget time.Duration
	// Timeout and ImagesTimeout are as in tokens.Options.
	Timeout, ImagesTimeout time.Duration
	// Local returns the tokenizer of a model or adapter, nil where there is none. It
	// serves completions of that model before any engine is asked. It must not wait;
	// nil knows none.
	Local func(model string) *bpe.Tokenizer
	// Transport carries the questions; nil is one of the Set's own.
	Transport http.RoundTripper
}

// normalise fills in defaults. An error names the field that is out of range.
func (o Options) normalise() (Options, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Clock == nil {
		o.Clock = systemClock{}
	}
	if o.Events.After == nil {
		o.Events.After = time.After
	}
	o.Events.Logger, o.Events.Now, o.Index.Now = o.Log, o.Clock.Now, o.Clock.Now
	t := &o.Tokens
	if t.Budget < 0 {
		return o, errors.New("KV cache: the budget for tokens must not be negative")
	}
	if t.Budget == 0 {
		t.Budget = tokens.DefaultBudget
	}
	if t.URL != "" {
		u, err := url.Parse(t.URL)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
			return o, fmt.Errorf("KV cache: tokens: %q is no http or https URL", t.URL)
		}
	}
	o.Index.Prefix = prefix.New(prefix.Options{Shards: 1})
	if _, err := index.New(o.Index); err != nil {
		return o, err
	}
	e, err := tokens.NewEngine(o.engine(func() []string { return nil }))
	if err != nil {
		return o, err
	}
	e.Close()
	return o, nil
}

// engine are the options of an Engine that asks the given endpoints.
func (o *Options) engine(endpoints func() []string) tokens.Options {
	t := &o.Tokens
	return tokens.Options{
		Endpoints: endpoints, Budget: t.Budget, Timeout: t.Timeout, ImagesTimeout: t.ImagesTimeout,
		Transport: t.Transport, Clock: o.Clock,
	}
}

// systemClock is the real time.
type systemClock struct{}

func (systemClock) Now() time.Time { return time.Now() }

func (systemClock) AfterFunc(d time.Duration, f func()) func() bool {
	return time.AfterFunc(d, f).Stop
}
