package certs

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Keys of the Secret. Envoy Gateway reads the authorities to trust under "tls.crt",
// other clients look under "ca.crt": both hold the same.
const (
	keyBundle = corev1.TLSCertKey       // the authorities, the signing one first
	keyKey    = corev1.TLSPrivateKeyKey // the signing authority's key
	keyCA     = "ca.crt"
	keyCross  = "cross.crt" // the signing authority, signed by its predecessor
)

const (
	// recheck is how often the Secret is looked at besides when it changes: for an
	// authority that ages, and for a watch that says nothing.
	recheck = 10 * time.Minute
	// maxAttempts bounds the tries to write the Secret while other replicas do, too.
	maxAttempts = 10
	// maxBackoff is the longest wait between two tries to watch.
	maxBackoff = 30 * time.Second
)

// SecretOptions configure [NewSelfManaged]. All but OnChange, Now and Log are
// required.
type SecretOptions struct {
	// Client reads, creates, updates and watches the Secret. It should not be one that
	// caches: a role that names one Secret does not allow to list the others.
	Client client.WithWatch
	// Namespace and Name are the Secret's.
	Namespace, Name string
	// DNSNames are the names clients call this server by.
	DNSNames []string
	// OnChange is called, one call at a time, after CA has changed.
	OnChange func()
	// Now is the time; the system's if nil.
	Now func() time.Time
	// Log takes what changes and what fails; nil discards it.
	Log *slog.Logger
}

// SelfManaged is a [Source] whose authority lives in a Secret. The replicas agree on
// it through the API server's refusal of conflicting writes; nobody leads.
type SelfManaged struct {
	o      SecretOptions
	secret types.NamespacedName
	turn   sync.Mutex // one reconcile at a time

	mu        sync.Mutex
	authority *authority
	ca        []byte
	leaf      *tls.Certificate
	renew     time.Time
}

// NewSelfManaged returns a source with the authority in the Secret, which is created
// if it is missing or empty. It fails if the API server does, or if the Secret holds
// something that cannot be used.
func NewSelfManaged(ctx context.Context, o SecretOptions) (*SelfManaged, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s := &SelfManaged{o: o, secret: types.NamespacedName{Namespace: o.Namespace, Name: o.Name}}
	if _, err := s.reconcile(ctx); err != nil {
		return nil, err
	}
	if _, err := s.current(); err != nil {
		return nil, err
	}
	return s, nil
}

// TLSConfig implements [Source].
func (s *SelfManaged) TLSConfig() *tls.Config { return serverConfig(s.current) }

// CA implements [Source].
func (s *SelfManaged) CA() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ca
}

// NeedLeaderElection says that every replica runs it.
func (s *SelfManaged) NeedLeaderElection() bool { return false }

// current returns this replica's certificate, a new one after two thirds of its life
// or when the authority has changed.
func (s *SelfManaged) current() (*tls.Certificate, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.o.Now()
	if s.leaf != nil && now.Before(s.renew) {
		return s.leaf, nil
	}
	leaf, err := s.authority.issue(s.o.DNSNames, now)
	if err != nil {
		return nil, err
	}
	s.leaf, s.renew = leaf, now.Add(leaf.Leaf.NotAfter.Sub(now)*2/3)
	s.o.Log.Info("a server certificate was issued", "until", leaf.Leaf.NotAfter)
	return leaf, nil
}

// reconcile makes the Secret and this replica agree. changed says whether CA did.
func (s *SelfManaged) reconcile(ctx context.Context) (changed bool, err error) {
	s.turn.Lock()
	defer s.turn.Unlock()
	for range maxAttempts {
		a, overtaken, err := s.settle(ctx)
		if overtaken {
			continue // see what the other replica wrote
		}
		if err != nil {
			return false, fmt.Errorf("certificates in Secret %s: %w", s.secret, err)
		}
		return s.use(a), nil
	}
	return false, fmt.Errorf("certificates in Secret %s: other writers were faster %d times", s.secret, maxAttempts)
}

// settle returns the authority that the Secret holds, after writing it if there was
// none or one that ages. overtaken says that another writer was faster.
func (s *SelfManaged) settle(ctx context.Context) (a *authority, overtaken bool, err error) {
	s.mu.Lock()
	known := s.authority
	s.mu.Unlock()
	now := s.o.Now()
	secret := new(corev1.Secret)
	err = s.o.Client.Get(ctx, s.secret, secret)
	missing := apierrors.IsNotFound(err)
	if err != nil && !missing {
		return nil, false, err
	}
	a = known
	if !missing && len(secret.Data[keyBundle])+len(secret.Data[keyKey]) > 0 {
		if a, err = parseAuthority(secret.Data[keyBundle], secret.Data[keyKey], secret.Data[keyCross]); err != nil {
			return nil, false, fmt.Errorf("%w; correct it, or delete the Secret to have it made anew", err)
		}
		if !a.aged(now) {
			return a, false, nil
		}
	}
	// What was deleted comes back as it was, so that nobody's trust is lost.
	if a == nil || a.aged(now) {
		if a, err = newAuthority(a, now); err != nil {
			return nil, false, err
		}
	}
	key, err := a.encodeKey()
	if err != nil {
		return nil, false, err
	}
	data := map[string][]byte{keyBundle: encode(a.bundle...), keyCA: encode(a.bundle...), keyKey: key}
	if a.cross != nil {
		data[keyCross] = encode(a.cross)
	}
	if missing {
		s.o.Log.Info("the certificate authority is written", "secret", s.secret, "until", a.cert.NotAfter)
		err := s.o.Client.Create(ctx, &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{
				Namespace: s.secret.Namespace, Name: s.secret.Name,
				Labels: map[string]string{"app.kubernetes.io/managed-by": "fairway"},
			},
			Type: corev1.SecretTypeTLS,
			Data: data,
		})
		return a, apierrors.IsAlreadyExists(err), err
	}
	s.o.Log.Info("the certificate authority is renewed", "secret", s.secret, "until", a.cert.NotAfter)
	if secret.Data == nil {
		secret.Data = map[string][]byte{}
	}
	delete(secret.Data, keyCross)
	for k, v := range data {
		secret.Data[k] = v
	}
	err = s.o.Client.Update(ctx, secret) // refused if the Secret has changed since
	return a, apierrors.IsConflict(err) || apierrors.IsNotFound(err), err
}

// use makes a the authority, and reports whether that changes CA.
func (s *SelfManaged) use(a *authority) bool {
	ca := encode(a.bundle...)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.authority == nil || !a.cert.Equal(s.authority.cert) {
		s.leaf = nil
	}
	changed := s.authority != nil && !bytes.Equal(ca, s.ca)
	s.authority, s.ca = a, ca
	return changed
}

// Start implements [Source]: it watches the Secret.
func (s *SelfManaged) Start(ctx context.Context) error {
	backoff := time.Second
	for ctx.Err() == nil {
		began := s.o.Now()
		err := s.watch(ctx)
		if ctx.Err() != nil {
			break
		}
		if s.o.Now().Sub(began) > maxBackoff {
			backoff = time.Second // it went well for a while
		}
		if err != nil {
			s.o.Log.Warn("the Secret with the certificates cannot be watched; trying again", "secret", s.secret, "error", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(backoff):
		}
		backoff = min(2*backoff, maxBackoff)
	}
	return nil
}

// watch follows the Secret until the watch ends.
func (s *SelfManaged) watch(ctx context.Context) error {
	w, err := s.o.Client.Watch(ctx, &corev1.SecretList{},
		client.InNamespace(s.secret.Namespace), client.MatchingFields{"metadata.name": s.secret.Name})
	if err != nil {
		return err
	}
	defer w.Stop()
	s.follow(ctx) // what happened before the watch began
	tick := time.NewTicker(recheck)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			s.follow(ctx)
		case e, open := <-w.ResultChan():
			if !open {
				return nil
			}
			if e.Type == watch.Error {
				return apierrors.FromObject(e.Object)
			}
			if o, ok := e.Object.(client.Object); ok && o.GetName() != s.secret.Name {
				continue
			}
			s.follow(ctx)
		}
	}
}

// follow reconciles, and says what came of it.
func (s *SelfManaged) follow(ctx context.Context) {
	changed, err := s.reconcile(ctx)
	switch {
	case errors.Is(err, context.Canceled):
	case err != nil:
		s.o.Log.Error("the certificates in use stay", "error", err)
	case changed:
		s.o.Log.Info("the authorities to trust have changed", "secret", s.secret)
		if s.o.OnChange != nil {
			s.o.OnChange()
		}
	}
}
