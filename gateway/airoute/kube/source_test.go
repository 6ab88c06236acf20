package kube

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllertest"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/fairway-ai/fairway/api/v1alpha1"
	"github.com/fairway-ai/fairway/gateway/airoute"
	"github.com/fairway-ai/fairway/gateway/internal/test"
)

// informers are informers without a cluster, by the type of their objects.
type informers struct {
	mu  sync.Mutex
	all map[reflect.Type]*controllertest.FakeInformer
	err map[reflect.Type]error
}

func newInformers() *informers {
	f := &informers{all: map[reflect.Type]*controllertest.FakeInformer{}, err: map[reflect.Type]error{}}
	for _, k := range kinds() {
		f.all[reflect.TypeOf(k.object())] = controllertest.NewFakeInformer(controllertest.Synced)
	}
	return f
}

func (f *informers) GetInformer(_ context.Context, o client.Object, _ ...cache.InformerGetOption) (cache.Informer, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	t := reflect.TypeOf(o)
	if err := f.err[t]; err != nil {
		return nil, err
	}
	return f.all[t], nil
}

func (f *informers) of(o client.Object) *controllertest.FakeInformer {
	return f.all[reflect.TypeOf(o)]
}

func (f *informers) set(o client.Object, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err[reflect.TypeOf(o)] = err
}

// rig is a source over fakes, with a compiler that keeps what it got.
type rig struct {
	*testing.T
	informers *informers
	clock     *clocktesting.FakeClock
	source    *Source
	synced    atomic.Int32
	inputs    chan *airoute.Input
	secrets   chan string
	log       *syncBuffer
}

// syncBuffer is a buffer for several goroutines.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}
func (b *syncBuffer) String() string { b.mu.Lock(); defer b.mu.Unlock(); return b.b.String() }

// compile names the routes, and hashes their generation.
func compile(in *airoute.Input) *airoute.Result {
	r := &airoute.Result{Config: &airoute.Config{}, Routes: map[types.NamespacedName]*airoute.RouteResult{}, Direct: map[types.NamespacedName]*airoute.DirectResult{}}
	for _, x := range in.Routes {
		r.Routes[client.ObjectKeyFromObject(x)] = &airoute.RouteResult{Hash: fmt.Sprint(x.Generation), Generation: x.Generation}
	}
	for _, x := range in.HTTPRoutes {
		r.Direct[client.ObjectKeyFromObject(x)] = &airoute.DirectResult{Hash: fmt.Sprint(x.Generation)}
	}
	return r
}

func newRig(t *testing.T, f *informers) *rig {
	t.Helper()
	r := &rig{T: t, informers: f, clock: clocktesting.NewFakeClock(time.Unix(1e9, 0)),
		inputs: make(chan *airoute.Input, 100), secrets: make(chan string, 100), log: &syncBuffer{}}
	var err error
	r.source, err = New(f, Options{
		Debounce: time.Second, Retry: time.Minute, Clock: r.clock, Log: slog.New(slog.NewTextHandler(r.log, nil)),
		Compile:  func(in *airoute.Input) *airoute.Result { r.inputs <- in; return compile(in) },
		OnSynced: func() { r.synced.Add(1) },
	})
	if err != nil {
		t.Fatal(err)
	}
	r.source.SubscribeSecrets(func(namespace, name string) { r.secrets <- namespace + "/" + name })
	return r
}

func (r *rig) run() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := r.source.Run(ctx); err != nil {
			r.Error(err)
		}
	}()
	r.Cleanup(func() { cancel(); <-done })
}

// patience is far longer than anything takes.
const patience = 30 * time.Second

func (r *rig) eventually(what string, f func() bool) {
	r.Helper()
	for deadline := time.Now().Add(patience); !f(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			r.Fatalf("not in time: %s", what)
		}
	}
}

func (r *rig) waiting() bool { return r.clock.HasWaiters() }

// pass lets time pass until something comes from c.
func pass[T any](r *rig, what string, c <-chan T) T {
	r.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); r.clock.Step(time.Second) {
		select {
		case v := <-c:
			return v
		case <-time.After(time.Millisecond):
		}
	}
	r.Fatalf("not in time: %s", what)
	panic("unreachable")
}

// next is what is compiled next, after enough time without a change.
func (r *rig) next() *airoute.Input {
	r.Helper()
	return pass(r, "a compilation", r.inputs)
}

// start runs the source until it is synced.
func (r *rig) start() *rig {
	r.Helper()
	r.run()
	r.eventually("every kind is filled", r.source.store.settled)
	r.next()
	r.eventually("synced", func() bool { return r.synced.Load() == 1 })
	r.quiet("after the start")
	return r
}

// quiet checks that nothing is due.
func (r *rig) quiet(what string) {
	r.Helper()
	if r.source.dirty.Load() || len(r.inputs) > 0 || len(r.secrets) > 0 {
		r.Errorf("%s: a compilation is due: %v, %d more, %d Secrets more", what, r.source.dirty.Load(), len(r.inputs), len(r.secrets))
	}
}

func object(name string, generation int64) metav1.ObjectMeta {
	n := test.Name(name)
	return metav1.ObjectMeta{Namespace: n.Namespace, Name: n.Name, Generation: generation}
}

func aiRoute(name string, generation int64) *v1alpha1.AIRoute {
	return &v1alpha1.AIRoute{ObjectMeta: object(name, generation)}
}

// aiBackend has a key, its own authorities, and is a Service.
func aiBackend(name, secret string) *v1alpha1.AIBackend {
	return &v1alpha1.AIBackend{ObjectMeta: object(name, 1), Spec: v1alpha1.AIBackendSpec{
		Destination: v1alpha1.Destination{Service: &v1alpha1.ServiceDestination{Name: "service", Namespace: new(gatewayv1.Namespace("b"))}},
		TLS: &v1alpha1.BackendTLS{CACertificateRefs: []gatewayv1.LocalObjectReference{
			{Kind: "ConfigMap", Name: "ca"}, {Kind: "Secret", Name: "ca"},
		}},
		Credentials: &v1alpha1.Credentials{APIKey: &v1alpha1.APIKeyCredentials{SecretRef: v1alpha1.SecretKey{Name: secret}}},
	}}
}

func secret(name string, entries ...string) *corev1.Secret {
	s := &corev1.Secret{ObjectMeta: object(name, 0), Data: map[string][]byte{}}
	for i := 0; i < len(entries); i += 2 {
		s.Data[entries[i]] = []byte(entries[i+1])
	}
	return s
}

func configMap(name, ca, other string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: object(name, 0), Data: map[string]string{"ca.crt": ca, "other": other}}
}

// direct is an HTTPRoute to an AIBackend.
func direct(name string, generation int64) *gatewayv1.HTTPRoute {
	r := test.Route(name, test.ToKind(v1alpha1.GroupName, "AIBackend", "backend"))
	r.Generation = generation
	return r
}

// A burst of a thousand routes is compiled once.
func TestBurst(t *testing.T) {
	r := newRig(t, newInformers()).start()
	for i := range 1000 {
		r.informers.of(&v1alpha1.AIRoute{}).Add(aiRoute(fmt.Sprint("a/", i), 1))
	}
	if in := r.next(); len(in.Routes) != 1000 || in.Routes[0].Name != "0" || in.Routes[1].Name != "1" || in.Routes[2].Name != "10" {
		t.Errorf("compiled %d routes, or not in order", len(in.Routes))
	}
	r.eventually("a result", func() bool { return len(r.source.Result().Routes) == 1000 })
	r.quiet("after the burst")
}

// Changes without end are compiled all the same.
func TestChangesWithoutEnd(t *testing.T) {
	r := newRig(t, newInformers()).start()
	for i := range int64(11) {
		if len(r.inputs) > 0 {
			t.Fatalf("compiled after %d changes", i)
		}
		r.informers.of(&v1alpha1.AIRoute{}).Add(aiRoute("a/r", i))
		// The next change comes just before nothing would have changed for long enough.
		r.eventually("the change was noticed", func() bool { return len(r.source.kick) == 0 && (r.waiting() || len(r.inputs) > 0) })
		r.clock.Step(950 * time.Millisecond)
	}
	r.eventually("compiled while changes go on", func() bool { return len(r.inputs) == 1 })
}

// Only what can change the result leads to a compilation.
func TestWhatMatters(t *testing.T) {
	f := newInformers()
	r := newRig(t, f).start()
	backends := f.of(&v1alpha1.AIBackend{})
	backends.Add(aiBackend("a/one", "key"))
	r.next()
	status := aiBackend("a/one", "key")
	status.Status.Conditions = []metav1.Condition{{Type: "Accepted"}}
	recreated := aiBackend("a/one", "key")
	recreated.UID = "other"
	deleting := aiRoute("a/r", 2)
	deleting.DeletionTimestamp = new(metav1.Now())
	for _, c := range []struct {
		name    string
		do      func()
		compile bool
		told    string
	}{
		{"status of a backend", func() { backends.Update(nil, status) }, false, ""},
		{"a backend made anew", func() { backends.Update(nil, recreated) }, true, ""},
		{"a Secret nobody names", func() { f.of(secret("")).Add(secret("a/other", "apiKey", "1")) }, false, ""},
		{"a Secret of that name elsewhere", func() { f.of(secret("")).Add(secret("b/key", "apiKey", "1")) }, false, ""},
		{"a named Secret comes", func() { f.of(secret("")).Add(secret("a/key", "apiKey", "1")) }, true, "a/key"},
		{"a Secret as before", func() { f.of(secret("")).Update(nil, secret("a/key", "apiKey", "1")) }, false, ""},
		{"another value", func() { f.of(secret("")).Update(nil, secret("a/key", "apiKey", "2")) }, false, "a/key"},
		{"another key", func() { f.of(secret("")).Update(nil, secret("a/key", "apiKey", "2", "more", "x")) }, true, "a/key"},
		{"a certificate", func() { f.of(secret("")).Add(secret("a/ca", "ca.crt", "1")) }, true, "a/ca"},
		{"another certificate", func() { f.of(secret("")).Update(nil, secret("a/ca", "ca.crt", "2")) }, true, "a/ca"},
		{"a Secret goes", func() { f.of(secret("")).Delete(secret("a/key")) }, true, "a/key"},
		{"a ConfigMap nobody names", func() { f.of(configMap("", "", "")).Add(configMap("a/x", "1", "")) }, false, ""},
		{"a ConfigMap comes", func() { f.of(configMap("", "", "")).Add(configMap("a/ca", "1", "")) }, true, ""},
		{"other entries", func() { f.of(configMap("", "", "")).Update(nil, configMap("a/ca", "1", "x")) }, false, ""},
		{"its certificate", func() { f.of(configMap("", "", "")).Update(nil, configMap("a/ca", "2", "x")) }, true, ""},
		{"a Service nobody names", func() { f.of(&corev1.Service{}).Add(test.Service("a/service", 80)) }, false, ""},
		{"a Service comes", func() { f.of(&corev1.Service{}).Add(test.Service("b/service", 80)) }, true, ""},
		{"a Service as before", func() { f.of(&corev1.Service{}).Update(nil, test.Service("b/service", 80)) }, false, ""},
		{"another port", func() { f.of(&corev1.Service{}).Update(nil, test.Service("b/service", 81)) }, true, ""},
		{"a pool", func() { f.of(test.Pool("")).Add(test.Pool("a/p")) }, true, ""},
		{"a pool's status", func() { f.of(test.Pool("")).Update(nil, test.Pool("a/p")) }, false, ""},
		{"a grant", func() { f.of(test.Grant("x", "", "")).Add(test.Grant("a/g", "b", "")) }, true, ""},
		{"a grant goes", func() { f.of(test.Grant("x", "", "")).Delete(test.Grant("a/g", "b", "")) }, true, ""},
		{"an ordinary route", func() { f.of(test.Route("")).Add(test.Route("a/r", test.To("p"))) }, false, ""},
		{"a route to an AIBackend", func() { f.of(test.Route("")).Add(direct("a/d", 1)) }, true, ""},
		{"its status", func() { f.of(test.Route("")).Update(nil, direct("a/d", 1)) }, false, ""},
		{"its spec", func() { f.of(test.Route("")).Update(nil, direct("a/d", 2)) }, true, ""},
		{"no AIBackend any more", func() { x := test.Route("a/d"); x.Generation = 3; f.of(x).Update(nil, x) }, true, ""},
		{"an AIRoute", func() { f.of(aiRoute("", 0)).Add(aiRoute("a/r", 1)) }, true, ""},
		{"its status", func() { f.of(aiRoute("", 0)).Update(nil, aiRoute("a/r", 1)) }, false, ""},
		{"an AIRoute that is being deleted", func() { f.of(aiRoute("", 0)).Update(nil, deleting) }, true, ""},
		{"it is gone", func() { f.of(aiRoute("", 0)).Delete(deleting) }, true, ""},
		{"an issuer's Secret is named", func() {
			x := aiBackend("a/issued", "")
			x.Spec.Credentials = &v1alpha1.Credentials{AWS: &v1alpha1.AWSCredentials{OIDC: &v1alpha1.OIDC{SecretRef: v1alpha1.SecretKey{Name: "issued"}}}}
			backends.Add(x)
		}, true, ""},
		{"an issuer's Secret comes", func() { f.of(secret("")).Add(secret("a/issued", "client-secret", "1")) }, true, "a/issued"},
		{"another Secret is named", func() { x := aiBackend("a/one", "other"); x.Generation = 2; backends.Update(nil, x) }, true, ""},
		{"the old one comes again", func() { f.of(secret("")).Add(secret("a/key", "apiKey", "1")) }, false, ""},
		{"the new one goes", func() { f.of(secret("")).Delete(secret("a/other")) }, true, "a/other"},
	} {
		c.do()
		if got := r.source.dirty.Load(); got != c.compile {
			t.Errorf("%s: compile %v, want %v", c.name, got, c.compile)
		}
		if c.compile || c.told != "" {
		}
		if c.compile {
			in := r.next()
			if c.name == "an AIRoute that is being deleted" && len(in.Routes) > 0 {
				t.Errorf("%s: is compiled", c.name)
			}
		}
		if c.told != "" {
			if got := pass(r, c.name+": told of a Secret", r.secrets); got != c.told {
				t.Errorf("%s: told of %s, want %s", c.name, got, c.told)
			}
		}
		r.quiet(c.name)
	}
}

// What is compiled has every object that there is.
func TestInput(t *testing.T) {
	f := newInformers()
	r := newRig(t, f).start()
	f.of(secret("")).Add(secret("a/key", "ca.crt", "certificate", "apiKey", "hidden"))
	f.of(configMap("", "", "")).Add(configMap("a/ca", "1", ""))
	f.of(&corev1.Service{}).Add(test.Service("b/service", 80))
	f.of(test.Pool("")).Add(test.Pool("a/p"))
	f.of(test.Grant("x", "", "")).Add(test.Grant("b/g", "a", "p"))
	f.of(aiBackend("", "")).Add(aiBackend("a/one", "key"))
	f.of(test.Route("")).Add(direct("a/d", 1))
	in := r.next()
	n := test.Name
	if len(in.Backends) != 1 || len(in.HTTPRoutes) != 1 || in.ClusterDomain != "cluster.local" || in.OwnIdentity("a") {
		t.Errorf("input %+v", in)
	}
	if in.Pool(n("a/p")) == nil || in.Pool(n("a/none")) != nil || in.Service(n("b/service")) == nil || in.Service(n("a/service")) != nil ||
		in.ConfigMap(n("a/ca")) == nil || in.ConfigMap(n("a/none")) != nil {
		t.Error("objects are not found, or found where there are none")
	}
	if keys, ok := in.SecretKeys(n("a/key")); !ok || fmt.Sprint(keys) != "[apiKey ca.crt]" {
		t.Errorf("keys %v", keys)
	}
	if _, ok := in.SecretKeys(n("a/none")); ok || in.Certificate(n("a/none")) != nil || string(in.Certificate(n("a/key"))) != "certificate" {
		t.Error("certificate")
	}
	route := airoute.Reference{Group: gatewayv1.GroupName, Kind: "HTTPRoute", NamespacedName: n("a/r")}
	pool := func(name string) airoute.Reference {
		return airoute.Reference{Group: "inference.networking.k8s.io", Kind: "InferencePool", NamespacedName: n(name)}
	}
	if !in.Granted(route, pool("a/any")) || !in.Granted(route, pool("b/p")) || in.Granted(route, pool("b/q")) || in.Granted(route, pool("c/p")) {
		t.Error("grants")
	}
	if s, err := r.source.ReadSecret("a", "key"); err != nil || string(s["apiKey"]) != "hidden" {
		t.Errorf("Secret: %v", err)
	}
	if s, err := r.source.ReadSecret("a", "none"); err != nil || s != nil {
		t.Errorf("a Secret that is not there: %v", err)
	}
	if strings.Contains(r.log.String(), "hidden") {
		t.Error("the log has a secret")
	}
}

// A kind that is not installed counts as empty, and is noticed when it comes.
func TestLateKind(t *testing.T) {
	f := newInformers()
	f.set(&v1alpha1.AIRoute{}, &meta.NoKindMatchError{GroupKind: schema.GroupKind{Group: "fairway.dev", Kind: "AIRoute"}})
	f.of(aiRoute("", 0)).Add(aiRoute("a/r", 1))
	r := newRig(t, f).start()
	if got := r.log.String(); strings.Count(got, "install the definition of AIRoute") != 1 {
		t.Errorf("log: %s", got)
	}
	f.set(&v1alpha1.AIRoute{}, nil)
	r.eventually("the source looks again", r.waiting)
	r.clock.Step(time.Minute)
	r.eventually("the kind is filled", func() bool { return r.source.store.phase(AIRoute) == filled })
	r.next()
	f.of(aiRoute("", 0)).Add(aiRoute("a/r", 1))
	if in := r.next(); len(in.Routes) != 1 {
		t.Errorf("%d routes", len(in.Routes))
	}
}

// An API server that does not answer is no empty cluster.
func TestAway(t *testing.T) {
	f := newInformers()
	f.set(&corev1.Secret{}, apierrors.NewServiceUnavailable("away"))
	r := newRig(t, f)
	r.run()
	r.eventually("all but Secrets are filled", func() bool {
		for _, k := range kinds() {
			if k.name != Secret && r.source.store.phase(k.name) != filled {
				return false
			}
		}
		return strings.Contains(r.log.String(), "until the API server answers")
	})
	if r.source.store.settled() {
		t.Error("synced without an API server")
	}
	if _, err := r.source.ReadSecret("a", "b"); err == nil {
		t.Error("a Secret that nobody knows is said to be missing")
	}
	f.set(&corev1.Secret{}, nil)
	r.eventually("synced", func() bool { r.clock.Step(time.Minute); return r.synced.Load() == 1 })
}

// WaitFor returns when the hash is there, and with the context.
func TestWaitFor(t *testing.T) {
	f := newInformers()
	r := newRig(t, f).start()
	got := make(chan bool, 3)
	for _, hash := range []string{"2", "2", ""} {
		go func() { got <- r.source.WaitFor(t.Context(), test.Name("a/r"), hash) }()
	}
	f.of(aiRoute("", 0)).Add(aiRoute("a/r", 1))
	r.next()
	if !<-got {
		t.Error("any hash: false")
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if r.source.WaitFor(ended, test.Name("a/r"), "2") {
		t.Error("a hash that is not there")
	}
	f.of(aiRoute("", 0)).Update(nil, aiRoute("a/r", 2))
	f.of(test.Route("")).Add(direct("a/d", 5))
	r.next()
	for range 2 {
		if !<-got {
			t.Error("the hash: false")
		}
	}
	if !r.source.WaitFor(t.Context(), test.Name("a/d"), "5") {
		t.Error("an HTTPRoute's hash: false")
	}
}

// Subscribers get results in order, before those who wait.
func TestSubscribers(t *testing.T) {
	f := newInformers()
	r := newRig(t, f)
	var seen []int
	r.source.Subscribe(func(x *airoute.Result) {
		if x != r.source.Result() {
			t.Error("the newest result is another one")
		}
		seen = append(seen, len(x.Routes))
	})
	var objects atomic.Int32
	r.source.SubscribeObjects(func(k Kind, n types.NamespacedName) {
		if n.Namespace != "a" {
			t.Errorf("%s %s", k, n)
		}
		objects.Add(1)
	})
	if x := r.source.Result(); x == nil || x.Config == nil || x.Routes == nil {
		t.Errorf("the first result is %+v", x)
	}
	r.start()
	f.of(aiRoute("", 0)).Add(aiRoute("a/r", 1))
	f.of(secret("")).Add(secret("a/s"))
	f.of(test.Route("")).Add(test.Route("a/h"))
	r.next()
	if !r.source.WaitFor(t.Context(), test.Name("a/r"), "1") || fmt.Sprint(seen) != "[0 1]" || objects.Load() != 2 {
		t.Errorf("seen %v, told of %d objects", seen, objects.Load())
	}
	defer func() {
		if recover() == nil {
			t.Error("a late subscriber is accepted")
		}
	}()
	r.source.Subscribe(nil)
}

// Without a compiler of its own, a source has the real one.
func TestDefaultCompiler(t *testing.T) {
	f := newInformers()
	s, err := New(f, Options{Debounce: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- s.Run(ctx) }()
	for !s.store.settled() {
		time.Sleep(time.Millisecond)
	}
	f.of(aiRoute("", 0)).Add(aiRoute("a/r", 1))
	f.of(aiBackend("", "")).Add(aiBackend("a/b", "key"))
	if !s.WaitFor(ctx, test.Name("a/r"), "") || s.Result().Config == nil {
		t.Error("no result")
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if _, err := New(nil, Options{}); err == nil {
		t.Error("a source without a cache")
	}
}
