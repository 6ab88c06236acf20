package egress

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fairway-ai/fairway/aibackend"
	"github.com/fairway-ai/fairway/aibackend/credentials"
	"github.com/fairway-ai/fairway/extproc"
	"github.com/fairway-ai/fairway/gateway/airoute"
)

// BackendsOptions say what Backends use of the world. All may be left out, but for
// Secrets where a backend's credential is in one.
type BackendsOptions struct {
	Secrets credentials.SecretReader
	// Credentials are what else credentials use; Secrets, Log, Name and Changed in it
	// do not count.
	Credentials credentials.Deps
	// Strict makes Update change nothing when anything is wrong with any backend.
	Strict bool
	// Next is asked for names that are no backends'.
	Next extproc.Foreign
	// Observer is told how tries went, and Costs says what they cost, as it does of
	// Translators.
	Observer Observer
	Costs    func(*Outcome) map[string]uint64
	Log      *slog.Logger
	// Now is the clock; nil means time.Now.
	Now func() time.Time
	// MaxBuffered bounds what all tries together hold of answers that are longer than
	// 1 MiB and have to be read whole, in bytes; 0 means DefaultMaxBuffered.
	MaxBuffered int64
}

// DefaultMaxBuffered is the room for four answers as large as one may be.
const DefaultMaxBuffered = 4 * aibackend.MaxBuffered

// Backends are the backends in use and their credentials. Each one stands for itself: a
// credential that cannot be had is felt by requests to its own backend, and by no other.
// It is safe for concurrent use.
type Backends struct {
	o           BackendsOptions
	translators Translators
	cooling     *Cooling
	tries       *Tries
	wake        chan struct{} // a state may have changed
	// until is until when requests can be signed, by label; see Ready.
	until atomic.Pointer[map[string]time.Time]

	mu      sync.Mutex      // guards the following
	running context.Context // of Run; nil outside of it
	runners sync.WaitGroup
	inUse   map[string]*used // by name
	tell    []func(label string)
}

// used is a backend in use.
type used struct {
	config  airoute.Backend
	account *account
	err     error // why it cannot be asked, other than the account's
}

// NewBackends returns an empty set.
func NewBackends(o BackendsOptions) *Backends {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	b := &Backends{o: o, cooling: NewCooling(o.Now), wake: make(chan struct{}, 1), inUse: map[string]*used{}}
	b.tries = NewTries(b.cooling.Failed, o.Now)
	t := &b.translators
	t.Next, t.Observer, t.Costs, t.Log, t.Now = o.Next, o.Observer, o.Costs, o.Log, o.Now
	t.Cooling, t.Tries = b.cooling, b.tries
	t.Budget = aibackend.NewBudget(cmp.Or(o.MaxBuffered, DefaultMaxBuffered))
	return b
}

// Foreign is what Envoy's questions about tries go to.
func (b *Backends) Foreign() extproc.Foreign { return &b.translators }

// Cooling knows which backends are better left alone.
func (b *Backends) Cooling() *Cooling { return b.cooling }

// Tries remembers how tries failed.
func (b *Backends) Tries() *Tries { return b.tries }

// Update makes the backends of c known, so that Envoy may send requests to them. What is
// unchanged stays as it is, its credential included, and what c does not have stays
// until Keep. The error joins what is wrong with single backends: those are there and
// refuse their requests, unless Options.Strict, with which nothing has changed then. It
// does not wait for any identity provider.
func (b *Backends) Update(ctx context.Context, c *airoute.Config) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	next, err := b.prepareLocked(ctx, c)
	if err != nil && b.o.Strict {
		before := b.accountsLocked()
		for _, u := range next {
			if !before[u.account] {
				u.account.close()
			}
		}
		return err
	}
	before := b.accountsLocked()
	for name, u := range next {
		old := b.inUse[name]
		b.inUse[name] = u
		if old != nil && old.account == u.account && reflect.DeepEqual(old.config, u.config) {
			continue
		}
		if b.translators.Set(ForBackend(&u.config, u.account.signer())) != nil {
			b.translators.Delete(name) // u.err says why; its requests are refused
		}
	}
	b.closeUnusedLocked(before)
	b.startLocked()
	b.noteLocked()
	b.changed()
	return err
}

// prepareLocked makes what c has and is not there, and changes nothing.
func (b *Backends) prepareLocked(ctx context.Context, c *airoute.Config) (map[string]*used, error) {
	accounts := map[string]*account{}
	for _, u := range b.inUse {
		accounts[u.account.key] = u.account
	}
	next := make(map[string]*used, len(c.Backends))
	fresh := map[string]bool{} // keys of this configuration
	var errs []error
	for i := range c.Backends {
		x := &c.Backends[i]
		// The backends of an AIBackend share its credential, whatever their models.
		key := cmp.Or(x.Label, x.Name)
		a := accounts[key]
		if fresh[key] && !reflect.DeepEqual(a.config, x.Credentials) {
			key = "\x00" + x.Name
			a = accounts[key]
		}
		if a == nil || !fresh[key] && (a.err != nil || !reflect.DeepEqual(a.config, x.Credentials)) {
			a = b.account(ctx, key, x)
			accounts[key] = a
			if a.err != nil {
				errs = append(errs, a.err)
			}
		}
		fresh[key] = true
		u := &used{config: *x, account: a}
		made := ForBackend(x, nil)
		if u.err = made.check(); u.err != nil {
			errs = append(errs, u.err)
		}
		next[x.Name] = u
	}
	return next, errors.Join(errs...)
}

func (b *Backends) account(ctx context.Context, key string, x *airoute.Backend) *account {
	a := &account{key: key, config: x.Credentials}
	d := b.o.Credentials
	d.Name, d.Log, d.Changed = cmp.Or(x.Label, x.Name), b.o.Log, b.changed
	if a.secrets.from = b.o.Secrets; a.secrets.from != nil {
		d.Secrets = &a.secrets
	}
	// It outlives this call, and ends when it is replaced.
	made, err := credentials.New(context.WithoutCancel(ctx), x.Credentials, d)
	if err != nil {
		a.err = fmt.Errorf("backend %q: credentials: %w", d.Name, err)
		return a
	}
	a.credential = made
	return a
}

// Keep forgets the backends that c does not have, when Envoy does not send to them any
// more.
func (b *Backends) Keep(c *airoute.Config) {
	b.mu.Lock()
	defer b.mu.Unlock()
	before := b.accountsLocked()
	labels := map[string]bool{}
	for name, u := range b.inUse {
		if c.Backend(name) == nil {
			b.translators.Delete(name)
			delete(b.inUse, name)
		}
		labels[u.label()] = labels[u.label()] || c.Backend(name) != nil
	}
	for label, stays := range labels {
		if !stays {
			b.cooling.Forget(label)
		}
	}
	b.closeUnusedLocked(before)
	b.noteLocked()
	b.changed()
}

func (u *used) label() string { return cmp.Or(u.config.Label, u.config.Name) }

func (b *Backends) accountsLocked() map[*account]bool {
	all := map[*account]bool{}
	for _, u := range b.inUse {
		all[u.account] = true
	}
	return all
}

func (b *Backends) closeUnusedLocked(before map[*account]bool) {
	now := b.accountsLocked()
	for a := range before {
		if !now[a] {
			a.close()
		}
	}
}

// SecretChanged has the credentials that read a Secret read it again, at once. It does
// not wait for what they do then.
func (b *Backends) SecretChanged(namespace, name string) {
	b.reload(func(a *account) bool { return a.secrets.has(namespace, name) })
}

// Reload has all credentials read their sources again.
func (b *Backends) Reload() { b.reload(func(*account) bool { return true }) }

func (b *Backends) reload(which func(*account) bool) {
	b.mu.Lock()
	all := b.accountsLocked()
	b.mu.Unlock()
	for a := range all {
		if a.credential != nil && which(a) {
			a.credential.Reload()
		}
	}
	b.changed()
}

// Run keeps credentials fresh, and tells of states that changed, until ctx ends. Then
// nothing can be signed any more.
func (b *Backends) Run(ctx context.Context) {
	b.mu.Lock()
	b.running = ctx
	b.startLocked()
	b.mu.Unlock()
	b.tellStates(ctx)
	b.mu.Lock()
	for a := range b.accountsLocked() {
		a.close()
	}
	b.running = nil
	b.mu.Unlock()
	b.runners.Wait()
}

func (b *Backends) startLocked() {
	if b.running == nil {
		return
	}
	ctx := b.running
	for a := range b.accountsLocked() {
		if !a.running && a.credential != nil {
			a.running = true
			b.runners.Go(func() { a.credential.Run(ctx) })
		}
	}
}
