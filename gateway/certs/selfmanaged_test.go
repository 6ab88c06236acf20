package certs

import (
	"bytes"
	"context"
	"crypto"
	"encoding/pem"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
)

var where = types.NamespacedName{Namespace: "fairway-system", Name: "fairway-ca"}

// replica returns a source on the Secret, and its log.
func replica(t *testing.T, c client.WithWatch, k *clock, change ...func(*SecretOptions)) (*SelfManaged, *logbook) {
	t.Helper()
	l := new(logbook)
	o := SecretOptions{Client: c, Namespace: where.Namespace, Name: where.Name, DNSNames: names(), Now: k.Now, Log: l.logger()}
	for _, f := range change {
		f(&o)
	}
	s, err := NewSelfManaged(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return s, l
}

func secret(t *testing.T, c client.Client) *corev1.Secret {
	t.Helper()
	s := new(corev1.Secret)
	if err := c.Get(t.Context(), where, s); err != nil {
		t.Fatal(err)
	}
	return s
}

func follow(t *testing.T, s *SelfManaged) {
	t.Helper()
	if _, err := s.reconcile(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestSecretIsMade(t *testing.T) {
	k, c := newClock(), fake.NewFakeClient()
	s, log := replica(t, c, k)
	got := secret(t, c)
	if got.Type != corev1.SecretTypeTLS {
		t.Errorf("type %s", got.Type)
	}
	if !bytes.Equal(got.Data["tls.crt"], s.CA()) || !bytes.Equal(got.Data["ca.crt"], s.CA()) {
		t.Error("tls.crt and ca.crt are not what is to be trusted")
	}
	for _, name := range names() {
		cert, err := shake(s, s.CA(), name, k.Now())
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if life := cert.NotAfter.Sub(k.Now()); life != leafLife {
			t.Errorf("the certificate lives %v", life)
		}
	}
	if _, err := shake(s, s.CA(), "other.fairway-system.svc", k.Now()); err == nil {
		t.Error("served under a foreign name")
	}
	if end := s.authority.cert.NotAfter; end.Before(k.Now().Add(years(10))) {
		t.Errorf("the authority lives until %v", end)
	}
	if strings.Contains(log.String(), "PRIVATE") {
		t.Error("the key was logged")
	}
}

func TestReplicasShareAnAuthority(t *testing.T) {
	k := newClock()
	// Both see no Secret before either creates it.
	var gate sync.WaitGroup
	gate.Add(2)
	c := fake.NewClientBuilder().WithInterceptorFuncs(interceptor.Funcs{
		Create: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.CreateOption) error {
			gate.Done()
			gate.Wait()
			return c.Create(ctx, o, opts...)
		},
	}).Build()
	var both [2]*SelfManaged
	var wg sync.WaitGroup
	for i := range both {
		wg.Go(func() { both[i], _ = replica(t, c, k) })
	}
	wg.Wait()
	if !bytes.Equal(both[0].CA(), both[1].CA()) {
		t.Fatal("the replicas trust different authorities")
	}
	a, b := mustShake(t, both[0], both[1].CA(), k.Now()), mustShake(t, both[1], both[0].CA(), k.Now())
	if a.Equal(b) {
		t.Error("the replicas share a certificate")
	}
}

func TestLeafIsRenewed(t *testing.T) {
	k := newClock()
	s, _ := replica(t, fake.NewFakeClient(), k)
	first := mustShake(t, s, s.CA(), k.Now())
	k.advance(leafLife*2/3 - time.Minute)
	if !mustShake(t, s, s.CA(), k.Now()).Equal(first) {
		t.Error("renewed too early")
	}
	k.advance(2 * time.Minute)
	if mustShake(t, s, s.CA(), k.Now()).Equal(first) {
		t.Error("not renewed after two thirds of its life")
	}
}

func TestRotation(t *testing.T) {
	k, c := newClock(), fake.NewFakeClient()
	s, _ := replica(t, c, k)
	other, _ := replica(t, c, k)
	old := s.CA()

	k.advance(years(9) - 10*day)
	follow(t, s)
	if !bytes.Equal(s.CA(), old) {
		t.Fatal("rotated too early")
	}
	k.advance(30 * day)
	follow(t, s)
	if bytes.Equal(s.CA(), old) {
		t.Fatal("not rotated although less than a tenth of its life is left")
	}
	if !bytes.HasSuffix(s.CA(), old) {
		t.Error("the old authority is no longer trusted")
	}
	if got := secret(t, c).Data["tls.crt"]; !bytes.Equal(got, s.CA()) {
		t.Error("the Secret does not hold the new authorities")
	}
	// Who knows only one of the authorities trusts what is served now; a replica that
	// has not noticed yet is trusted, too.
	fresh := s.CA()[:len(s.CA())-len(old)]
	for what, ca := range map[string][]byte{"old": old, "new": fresh, "both": s.CA()} {
		if _, err := shake(s, ca, names()[1], k.Now()); err != nil {
			t.Errorf("trusting the %s: %v", what, err)
		}
	}
	mustShake(t, other, s.CA(), k.Now())
	before := secret(t, c).ResourceVersion
	follow(t, other)
	if !bytes.Equal(other.CA(), s.CA()) || secret(t, c).ResourceVersion != before {
		t.Error("the other replica did not take over what the first one wrote")
	}
	// A restarted replica serves the chain, too.
	late, _ := replica(t, c, k)
	mustShake(t, late, old, k.Now())

	// The old one runs out, and the next rotation forgets it.
	k.advance(years(2))
	mustShake(t, s, fresh, k.Now())
	k.advance(years(7))
	follow(t, s)
	if n := len(s.authority.bundle); n != 2 {
		t.Errorf("%d authorities are trusted, want the new and the last one", n)
	}
	mustShake(t, s, fresh, k.Now())
}

func TestExpiredAuthorityIsReplaced(t *testing.T) {
	k, c := newClock(), fake.NewFakeClient()
	replica(t, c, k)
	k.advance(years(11))
	s, _ := replica(t, c, k)
	mustShake(t, s, s.CA(), k.Now())
	if len(s.authority.bundle) != 1 || s.authority.cross != nil {
		t.Error("an expired authority is still in use")
	}
}

func TestWatch(t *testing.T) {
	k, c := newClock(), fake.NewFakeClient()
	var changes atomic.Int32
	s, log := replica(t, c, k, func(o *SecretOptions) { o.OnChange = func() { changes.Add(1) } })
	started(t, s)
	old := s.CA()

	// Deleted: it comes back as it was.
	if err := c.Delete(t.Context(), secret(t, c)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the Secret is back", func() bool { return c.Get(t.Context(), where, new(corev1.Secret)) == nil })
	if got := secret(t, c).Data["tls.crt"]; !bytes.Equal(got, old) {
		t.Error("it came back with another authority")
	}
	if changes.Load() != 0 {
		t.Error("a change was reported where there was none")
	}

	// Replaced: it is followed.
	foreign, key := testAuthority(t, k)
	replaced := secret(t, c)
	replaced.Data = map[string][]byte{"tls.crt": encode(foreign.cert), "tls.key": key}
	if err := c.Update(t.Context(), replaced); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the new authority is in use", func() bool { return changes.Load() == 1 })
	mustShake(t, s, encode(foreign.cert), k.Now())

	// Broken: what was in use stays, and the Secret as it is.
	broken := secret(t, c)
	broken.Data["tls.key"] = []byte("oops")
	if err := c.Update(t.Context(), broken); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the mistake is reported", func() bool { return strings.Contains(log.String(), "the certificates in use stay") })
	mustShake(t, s, encode(foreign.cert), k.Now())
	if string(secret(t, c).Data["tls.key"]) != "oops" {
		t.Error("a Secret that cannot be read was overwritten")
	}
	// Removed after all: it comes back.
	if err := c.Delete(t.Context(), broken); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the Secret is back", func() bool { return c.Get(t.Context(), where, new(corev1.Secret)) == nil })
	if got := secret(t, c).Data["tls.crt"]; !bytes.Equal(got, encode(foreign.cert)) {
		t.Error("it came back with another authority")
	}
	if block, _ := pem.Decode(key); strings.Contains(log.String(), "PRIVATE KEY") || strings.Contains(log.String(), string(block.Bytes)) {
		t.Error("the key was logged")
	}
}

func TestUnusableSecret(t *testing.T) {
	k := newClock()
	a, aKey := testAuthority(t, k)
	b, _ := testAuthority(t, k)
	leaf, err := a.issue(names(), k.Now())
	if err != nil {
		t.Fatal(err)
	}
	leafKey, err := (&authority{key: leaf.PrivateKey.(crypto.Signer)}).encodeKey()
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		data map[string][]byte
		want string
	}{
		"no certificate": {map[string][]byte{"tls.key": aKey}, "no PEM certificate"},
		"no key":         {map[string][]byte{"tls.crt": encode(a.cert)}, "the key is unreadable"},
		"another's key":  {map[string][]byte{"tls.crt": encode(b.cert), "tls.key": aKey}, "not that of the first certificate"},
		"key in bundle":  {map[string][]byte{"tls.crt": append(encode(a.cert), aKey...), "tls.key": aKey}, "something else"},
		"no authority":   {map[string][]byte{"tls.crt": encode(leaf.Leaf), "tls.key": leafKey}, "not that of an authority"},
		"garbled":        {map[string][]byte{"tls.crt": []byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"), "tls.key": aKey}, "certificate 1"},
	} {
		t.Run(name, func(t *testing.T) {
			held := &corev1.Secret{Data: tt.data}
			held.Namespace, held.Name = where.Namespace, where.Name
			c := fake.NewClientBuilder().WithObjects(held).Build()
			_, err := NewSelfManaged(t.Context(), SecretOptions{Client: c, Namespace: where.Namespace, Name: where.Name, DNSNames: names(), Now: k.Now})
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), where.String()) {
				t.Fatalf("error %v, want one that says %q", err, tt.want)
			}
			if strings.Contains(err.Error(), "PRIVATE") {
				t.Error("the error holds the key")
			}
			if got := secret(t, c); len(got.Data) != len(tt.data) {
				t.Error("the Secret was overwritten")
			}
		})
	}
}

// TestEmptySecret: whoever grants no right to create may make it beforehand.
func TestEmptySecret(t *testing.T) {
	k := newClock()
	held := new(corev1.Secret)
	held.Namespace, held.Name = where.Namespace, where.Name
	c := fake.NewClientBuilder().WithObjects(held).Build()
	s, _ := replica(t, c, k)
	if !bytes.Equal(secret(t, c).Data["tls.crt"], s.CA()) {
		t.Error("the empty Secret was not filled")
	}
}

// TestShortAuthority: no certificate outlives the authority that somebody brought.
func TestShortAuthority(t *testing.T) {
	k, c := newClock(), fake.NewFakeClient()
	s, _ := replica(t, c, k)
	a := *s.authority
	short := *a.cert
	short.NotAfter = k.Now().Add(20 * day)
	a.cert = &short
	leaf, err := a.issue(names(), k.Now())
	if err != nil {
		t.Fatal(err)
	}
	if !leaf.Leaf.NotAfter.Equal(short.NotAfter) {
		t.Errorf("valid until %v, the authority until %v", leaf.Leaf.NotAfter, short.NotAfter)
	}
}

func TestAPIServerFails(t *testing.T) {
	refuse := errors.New("refused")
	for name, funcs := range map[string]interceptor.Funcs{
		"get": {Get: func(context.Context, client.WithWatch, client.ObjectKey, client.Object, ...client.GetOption) error {
			return refuse
		}},
		"create": {Create: func(context.Context, client.WithWatch, client.Object, ...client.CreateOption) error { return refuse }},
	} {
		c := fake.NewClientBuilder().WithInterceptorFuncs(funcs).Build()
		_, err := NewSelfManaged(t.Context(), SecretOptions{Client: c, Namespace: where.Namespace, Name: where.Name, DNSNames: names()})
		if !errors.Is(err, refuse) {
			t.Errorf("%s: error %v", name, err)
		}
	}
	// A watch that is refused does not end it, and the next one works.
	var calls atomic.Int32
	c := fake.NewClientBuilder().WithInterceptorFuncs(interceptor.Funcs{
		Watch: func(ctx context.Context, c client.WithWatch, l client.ObjectList, opts ...client.ListOption) (watch.Interface, error) {
			if calls.Add(1) == 1 {
				return nil, refuse
			}
			return c.Watch(ctx, l, opts...)
		},
	}).Build()
	s, log := replica(t, c, newClock())
	started(t, s)
	eventually(t, "a second watch", func() bool { return calls.Load() > 1 })
	if !strings.Contains(log.String(), "cannot be watched") {
		t.Error("the refusal was not logged")
	}
}

func testAuthority(t *testing.T, k *clock) (a *authority, key []byte) {
	t.Helper()
	a, err := newAuthority(nil, k.Now())
	if err != nil {
		t.Fatal(err)
	}
	if key, err = a.encodeKey(); err != nil {
		t.Fatal(err)
	}
	return a, key
}

func FuzzParseAuthority(f *testing.F) {
	now := newClock().Now()
	old, err := newAuthority(nil, now)
	if err != nil {
		f.Fatal(err)
	}
	a, err := newAuthority(old, now)
	if err != nil {
		f.Fatal(err)
	}
	key, err := a.encodeKey()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(encode(a.bundle...), key, encode(a.cross))
	f.Add(encode(old.cert), key, []byte{})
	f.Add([]byte("x"), []byte("y"), []byte("z"))
	f.Fuzz(func(t *testing.T, bundle, key, cross []byte) {
		a, err := parseAuthority(bundle, key, cross)
		if err != nil {
			return
		}
		if len(a.bundle) == 0 || a.key == nil || !a.cert.IsCA {
			t.Fatal("an unusable authority was accepted")
		}
		_, _ = a.issue(names(), now)
	})
}
