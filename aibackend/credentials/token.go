package credentials

import (
	"context"
	"crypto/sha256"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fairway-ai/fairway/aibackend/credentials/refresh"
)

// maker is one kind of credential: how its token is made and put on a request.
// Its errors are [*Error]s.
type maker[T any] interface {
	// inputs are the Values it is made from.
	inputs() []input
	// fetch makes a token from the inputs' values, in their order.
	fetch(ctx context.Context, values []string) (T, time.Time, error)
	// put puts it on a request without any credential.
	put(r *Request, token T) error
	carries() []string
	// local says that fetch does not use the network.
	local() bool
}

// managed is a Credential around a maker: it watches the inputs and keeps the
// token fresh.
type managed[T any] struct {
	opaque
	d     Deps
	m     maker[T]
	read  reader
	cache *refresh.Cache[T]
	// values are the inputs as last read; nil before that, and after Close.
	values atomic.Pointer[[]Secret]

	mu      sync.Mutex // guards the following
	digest  [sha256.Size]byte
	have    bool   // values were read, and are in digest
	problem string // what reading them failed with last
	closed  bool

	logMu  sync.Mutex
	logged Reason
}

func newManaged[T any](ctx context.Context, m maker[T], d Deps) (Credential, *Error) {
	for _, in := range m.inputs() {
		if wrong := in.value.problem(); wrong != "" {
			return nil, failf(ReasonInvalidConfig, "%s %s", in.what, wrong)
		}
	}
	c := &managed[T]{d: d, m: m, read: reader{d.Getenv, d.Secrets}, logged: ReasonPending}
	c.cache = refresh.New(refresh.Options[T]{
		Fetch: c.fetch, Now: d.Now, Rand: d.Rand, Timeout: d.FetchTimeout, Changed: c.log,
	})
	c.poll()
	if m.local() {
		// So that its status is known from the start.
		_, _ = c.cache.Get(ctx)
	}
	return c, nil
}

func (c *managed[T]) fetch(ctx context.Context) (T, time.Time, error) {
	hidden := c.values.Load()
	if hidden == nil {
		var none T
		return none, time.Time{}, refresh.ErrClosed
	}
	values := make([]string, len(*hidden))
	for i, v := range *hidden {
		values[i] = v.Reveal()
	}
	token, expires, err := c.m.fetch(ctx, values)
	if err != nil {
		return token, expires, asError(err)
	}
	return token, expires, nil
}

// poll reads the inputs and has the token replaced if they changed, or dropped if
// they are gone.
func (c *managed[T]) poll() (changed bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return true
	}
	inputs := c.m.inputs()
	values := make([]Secret, len(inputs))
	hash := sha256.New()
	for i, in := range inputs {
		s, err := c.read.read(in)
		if err != nil {
			if c.have || c.problem != err.Message {
				c.have, c.problem = false, err.Message
				c.cache.Drop(err)
			}
			return true
		}
		values[i] = NewSecret(s)
		sum := sha256.Sum256([]byte(s))
		hash.Write(sum[:])
	}
	digest := [sha256.Size]byte(hash.Sum(nil))
	if c.have && digest == c.digest {
		return false
	}
	first := c.values.Load() == nil
	c.values.Store(&values)
	c.digest, c.have, c.problem = digest, true, ""
	if !first || c.cache.State().Err != nil {
		c.cache.Refresh()
	}
	return true
}

// Sign implements [Signer].
func (c *managed[T]) Sign(ctx context.Context, r *Request) error {
	Strip(r.Headers, c.m.carries()...)
	token, err := c.cache.Get(ctx)
	if err != nil {
		return asError(err)
	}
	return c.m.put(r, token)
}

// Carries implements [Signer].
func (c *managed[T]) Carries() []string { return c.m.carries() }

// Run implements [Credential].
func (c *managed[T]) Run(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.cache.Run(ctx)
		cancel()
	}()
	tick := time.NewTicker(c.d.ReloadEvery)
	defer tick.Stop()
	for ctx.Err() == nil {
		c.poll()
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
	<-done
}

// Reload implements [Credential].
func (c *managed[T]) Reload() {
	if c.poll() {
		return
	}
	if s := c.cache.State(); s.Err != nil {
		c.cache.Refresh()
	}
}

// Close implements [Credential].
func (c *managed[T]) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	c.cache.Close()
	c.values.Store(nil)
}

// Status implements [Credential].
func (c *managed[T]) Status() Status {
	s := c.cache.State()
	out := Status{Ready: s.Valid, Expires: s.Expires}
	switch {
	case s.Err == nil && s.Valid:
		out.Reason = ReasonReady
	case s.Err == nil:
		out.Reason, out.Message = ReasonPending, "the first token was not fetched yet"
	default:
		e := asError(s.Err)
		out.Reason, out.Message = e.Reason, e.Message
		if s.Valid {
			out.Reason, out.Message = ReasonRefreshFailing, "the token in use could not be replaced so far: "+e.Error()
		}
	}
	return out
}

// log tells that the status may have changed, and writes a line when its reason has.
func (c *managed[T]) log() {
	defer c.d.Changed()
	c.logMu.Lock()
	defer c.logMu.Unlock()
	s := c.Status()
	if s.Reason == c.logged || s.Reason == ReasonClosed {
		return
	}
	c.logged = s.Reason
	if s.Reason == ReasonReady {
		args := []any{"credential", c.d.Name}
		if !s.Expires.IsZero() {
			args = append(args, "expires", s.Expires)
		}
		c.d.Log.Info("credential is ready", args...)
		return
	}
	c.d.Log.Warn("credential has a problem", "credential", c.d.Name, "ready", s.Ready, "reason", string(s.Reason), "message", s.Message)
}

// asError makes an *Error of any error, without its text.
func asError(err error) *Error {
	var e *Error
	switch {
	case errors.As(err, &e):
		return e
	case errors.Is(err, refresh.ErrClosed):
		return failf(ReasonClosed, closedMessage)
	case errors.Is(err, refresh.ErrWait):
		return failf(ReasonTokenRequestFailed, "the identity provider did not answer before the request's time was up")
	case errors.Is(err, refresh.ErrExpired):
		return failf(ReasonTokenRequestFailed, "%s; check the clocks of this machine and of the identity provider", refresh.ErrExpired)
	}
	return failf(ReasonTokenRequestFailed, "%s", transportTrouble(err))
}
