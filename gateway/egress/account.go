package egress

import (
	"context"
	"errors"
	"maps"
	"sync"
	"time"

	"github.com/fairway-ai/fairway/aibackend/credentials"
)

// account is a credential and who may need it.
type account struct {
	key    string
	config credentials.Config
	// credential is nil where it could not be made, which err tells.
	credential credentials.Credential
	err        error
	secrets    secretsRead
	running    bool // guarded by Backends.mu
}

func (a *account) signer() Signer {
	if a.credential == nil {
		return unmade{a.err}
	}
	return a.credential
}

func (a *account) close() {
	if a.credential != nil {
		a.credential.Close()
	}
}

// secretsRead is a SecretReader that knows what was asked for.
type secretsRead struct {
	from credentials.SecretReader

	mu  sync.Mutex
	all map[[2]string]bool // as many as the configuration names
}

// ReadSecret implements credentials.SecretReader.
func (s *secretsRead) ReadSecret(namespace, name string) (map[string][]byte, error) {
	s.mu.Lock()
	if s.all == nil {
		s.all = map[[2]string]bool{}
	}
	s.all[[2]string{namespace, name}] = true
	s.mu.Unlock()
	return s.from.ReadSecret(namespace, name)
}

func (s *secretsRead) has(namespace, name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.all[[2]string{namespace, name}]
}

// Reasons of a backend's state, besides those of package credentials.
const (
	// ReasonNotRequired: the backend asks for no credential.
	ReasonNotRequired = "NotRequired"
	// ReasonInvalidBackend: the backend itself is wrong.
	ReasonInvalidBackend = "InvalidBackend"
)

// state is what State returns.
type state struct {
	ready           bool
	reason, message string
	// expires is when it is ready no longer; zero for never.
	expires time.Time
}

// Ready says whether requests to the AIBackend of that label can be signed now, also of
// one that is not known, which is asked for nothing. It takes no lock.
func (b *Backends) Ready(label string) bool {
	all := b.until.Load()
	if all == nil {
		return true
	}
	until, limited := (*all)[label]
	return !limited || b.o.Now().Before(until)
}

// noteLocked keeps for Ready what states are now.
func (b *Backends) noteLocked() { b.note(b.statesLocked("")) }

func (b *Backends) note(states map[string]state) {
	until := map[string]time.Time{}
	for label, s := range states {
		if !s.ready || !s.expires.IsZero() {
			until[label] = s.expires // of one that is not ready, long ago
		}
	}
	b.until.Store(&until)
}

// State says whether requests to the AIBackend of that label can be signed, and why not,
// as a condition does; the message holds no secret. known is false when there is none.
func (b *Backends) State(label string) (ready bool, reason, message string, known bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s, known := b.statesLocked(label)[label]
	return s.ready, s.reason, s.message, known
}

// same says whether two states differ in nothing that State tells.
func (s state) same(other state) bool {
	s.expires, other.expires = time.Time{}, time.Time{}
	return s == other
}

// statesLocked are the states by label, of one label or of all, "". Of several backends
// with one label, the first that is not ready counts, by name.
func (b *Backends) statesLocked(label string) map[string]state {
	all, names := map[string]state{}, map[string]string{}
	for name, u := range b.inUse {
		l := u.label()
		if label != "" && l != label {
			continue
		}
		s := u.state()
		if old, ok := all[l]; !ok || !s.ready && (old.ready || name < names[l]) || s.ready && old.ready && name < names[l] {
			all[l], names[l] = s, name
		}
	}
	return all
}

func (u *used) state() state {
	switch {
	case u.err != nil:
		return state{reason: ReasonInvalidBackend, message: u.err.Error()}
	case u.account.err != nil:
		s := state{reason: string(credentials.ReasonInvalidConfig), message: u.account.err.Error()}
		var e *credentials.Error
		if errors.As(u.account.err, &e) {
			s.reason, s.message = string(e.Reason), e.Message
		}
		return s
	case u.account.config.Type == credentials.TypeNone:
		return state{ready: true, reason: ReasonNotRequired, message: "the backend asks for no credential"}
	}
	s := u.account.credential.Status()
	if !s.Ready {
		s.Expires = time.Time{}
	}
	return state{s.Ready, string(s.Reason), s.Message, s.Expires}
}

// OnState has f told the label of every AIBackend whose state is new or has changed, or
// that is gone, as long as Run runs. f is called from one goroutine at a time and should
// not block: it is what tells of the others, too.
func (b *Backends) OnState(f func(label string)) {
	b.mu.Lock()
	b.tell = append(b.tell, f)
	b.mu.Unlock()
	b.changed()
}

// changed has tellStates look again. It is called with whatever locks are held.
func (b *Backends) changed() {
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// tellStates tells of states that changed until ctx ends.
func (b *Backends) tellStates(ctx context.Context) {
	told, listeners := map[string]state{}, 0
	for {
		b.mu.Lock()
		now, tell := b.statesLocked(""), b.tell
		b.note(now)
		b.mu.Unlock()
		for i, f := range tell {
			last := told
			if i >= listeners {
				last = nil // it knows nothing yet
			}
			for label, s := range now {
				if old, ok := last[label]; !ok || !old.same(s) {
					f(label)
				}
			}
			for label := range last {
				if _, ok := now[label]; !ok {
					f(label)
				}
			}
		}
		told, listeners = maps.Clone(now), len(tell)
		select {
		case <-b.wake:
		case <-ctx.Done():
			return
		}
	}
}
