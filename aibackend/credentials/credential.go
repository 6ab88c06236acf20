package credentials

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"time"
)

// Credential signs requests, keeps what it needs fresh, and says how it is doing.
// All its methods are safe for concurrent use.
type Credential interface {
	Signer
	// Status returns how it is doing now.
	Status() Status
	// Run reads sources again when they may have changed and refreshes tokens before
	// they end, until ctx is done or Close is called. Without Run, tokens are
	// fetched when a request finds none that is fresh.
	Run(ctx context.Context)
	// Reload reads the sources now, for callers that learn of a change. If anything
	// changed, or the last refresh failed, a refresh starts at once.
	Reload()
	// Close ends Run, and any request to an identity provider, and forgets the
	// secrets. Sign then returns ReasonClosed.
	Close()
}

// Status is how a credential is doing.
type Status struct {
	// Ready says whether a request can be signed now.
	Ready  bool
	Reason Reason
	// Message is for people; empty when there is nothing to say.
	Message string
	// Expires is when the token in use ends; zero for what does not end.
	Expires time.Time
}

// SecretReader gives the entries of a Secret from a cache; it does not wait for
// the network. A Secret that does not exist is (nil, nil). The error's text is
// shown in the status, and must hold no secret.
type SecretReader interface {
	ReadSecret(namespace, name string) (map[string][]byte, error)
}

// Deps are what a credential uses of the world. All have defaults but Secrets,
// which is needed for configurations with a SecretRef.
type Deps struct {
	// Now is the clock.
	Now func() time.Time
	// Rand returns a number in [0, 1), for jitter.
	Rand func() float64
	// HTTPClient talks to identity providers. Its answers are read up to a bound.
	HTTPClient *http.Client
	// Guarded talks to issuers under a Guard; the default keeps to it.
	Guarded *http.Client
	Secrets SecretReader
	// Getenv reads an environment variable for Value.Env. The SDKs' default chains
	// read the process's environment whatever this says.
	Getenv func(string) string
	// Log gets a line when a credential becomes ready or stops being it.
	Log *slog.Logger
	// Name says in log lines whose credential this is.
	Name string
	// Changed is called whenever the status may have changed. It must not block, and
	// not call the credential. nil is not called.
	Changed func()
	// ReloadEvery is the interval at which Run reads files, variables and Secrets
	// again; 0 means 10 seconds.
	ReloadEvery time.Duration
	// FetchTimeout bounds one fetch of a token; 0 means 30 seconds.
	FetchTimeout time.Duration
}

func (d Deps) withDefaults() Deps {
	if d.Now == nil {
		d.Now = time.Now
	}
	if d.Rand == nil {
		d.Rand = rand.Float64
	}
	if d.HTTPClient == nil {
		d.HTTPClient = http.DefaultClient
	}
	if d.Getenv == nil {
		d.Getenv = os.Getenv
	}
	if d.Log == nil {
		d.Log = slog.New(slog.DiscardHandler)
	}
	if d.Changed == nil {
		d.Changed = func() {}
	}
	if d.ReloadEvery <= 0 {
		d.ReloadEvery = 10 * time.Second
	}
	if d.FetchTimeout <= 0 {
		d.FetchTimeout = 30 * time.Second
	}
	if d.Guarded == nil {
		d.Guarded = newGuarded()
	}
	d.HTTPClient, d.Guarded = bounded(d.HTTPClient), bounded(d.Guarded)
	return d
}
