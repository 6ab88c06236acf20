package egress

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/protobuf/proto"

	"github.com/fairway-ai/fairway/aibackend"
	"github.com/fairway-ai/fairway/aibackend/credentials"
	"github.com/fairway-ai/fairway/gateway/airoute"
)

// secrets are Secrets that a test changes, by "namespace/name"; each has one entry, k.
type secrets struct {
	mu  sync.Mutex
	all map[string]string
}

func (s *secrets) ReadSecret(namespace, name string) (map[string][]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if v, ok := s.all[namespace+"/"+name]; ok {
		return map[string][]byte{"k": []byte(v)}, nil
	}
	return nil, nil
}

func (s *secrets) set(name, value string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all == nil {
		s.all = map[string]string{}
	}
	s.all[name] = value
}

func open(name string) airoute.Backend {
	label, _, _ := strings.Cut(name, "#")
	return airoute.Backend{
		Name: name, Label: label, Host: "api.example.com", Port: 443,
		Provider: aibackend.Backend{Schema: aibackend.OpenAI}, Credentials: credentials.Config{Type: credentials.TypeNone},
	}
}

func keyed(name, secret string) airoute.Backend {
	b := open(name)
	b.Credentials = credentials.Config{Type: credentials.TypeAPIKey, APIKey: &credentials.APIKey{
		Value: credentials.Value{SecretRef: &credentials.SecretRef{Namespace: "ns", Name: secret, Key: "k"}}, Header: "x-key",
	}}
	return b
}

// unmakeable has a configuration that can never work.
func unmakeable(name string) airoute.Backend {
	b := open(name)
	b.Credentials = credentials.Config{Type: credentials.TypeAPIKey}
	return b
}

func config(all ...airoute.Backend) *airoute.Config { return &airoute.Config{Backends: all} }

// reply is what becomes of a request to a backend: what it is sent, or the status that
// the client gets.
func reply(t *testing.T, b *Backends, name string) string {
	t.Helper()
	x, c := decide(t, &b.translators, name, "/v1/messages", ask, nil)
	defer x.Close(true)
	if c.Immediate == nil {
		return fmt.Sprint(applied(t, nil, c))
	}
	var answer extprocv3.ImmediateResponse
	if err := proto.Unmarshal(c.Immediate, &answer); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(answer.Body), `"type":"error"`) {
		t.Errorf("%s: not in the client's schema: %s", name, answer.Body)
	}
	return fmt.Sprint(answer.Status.Code.Number())
}

func stateOf(b *Backends, label string) string {
	ready, reason, message, known := b.State(label)
	if !known {
		return "unknown"
	}
	return fmt.Sprint(ready, " ", reason, " ", message)
}

func TestBackendsSecrets(t *testing.T) {
	s := &secrets{}
	b := NewBackends(BackendsOptions{Secrets: s})
	if err := b.Update(t.Context(), config(keyed("ns/a", "keys"), keyed("ns/a#big", "keys"), open("ns/free"))); err != nil {
		t.Fatal(err)
	}
	if b.inUse["ns/a"].account != b.inUse["ns/a#big"].account || b.inUse["ns/a"].account == b.inUse["ns/free"].account {
		t.Error("the models of a backend have a credential each, or two backends have one")
	}
	if got := stateOf(b, "ns/a"); !strings.HasPrefix(got, "false SecretNotFound ") || !strings.Contains(got, "ns/keys") {
		t.Error(got)
	}
	if got := reply(t, b, "ns/a"); got != "401" {
		t.Error(got)
	}
	if got := stateOf(b, "ns/free"); !strings.HasPrefix(got, "true NotRequired ") {
		t.Error(got)
	}
	if got := reply(t, b, "ns/free"); !strings.Contains(got, "{:authority api.example.com}") {
		t.Error(got)
	}
	const canary = "sk-canary-2718"
	s.set("ns/keys", canary+" "+canary)
	b.SecretChanged("ns", "other")
	if got := stateOf(b, "ns/a"); !strings.HasPrefix(got, "false SecretNotFound ") {
		t.Errorf("another Secret's change was this one's: %s", got)
	}
	b.SecretChanged("ns", "keys")
	if got := stateOf(b, "ns/a"); !strings.HasPrefix(got, "false InvalidSecret ") || strings.Contains(got, "canary") {
		t.Error(got)
	}
	s.set("ns/keys", canary)
	b.SecretChanged("ns", "keys")
	if got := reply(t, b, "ns/a#big"); !strings.Contains(got, "{x-key "+canary+"}") {
		t.Error(got)
	}
	if got := stateOf(b, "ns/a"); got != "true Ready " {
		t.Error(got)
	}
	if got := fmt.Sprintf("%+v %v", b.inUse["ns/a"].account.credential, b.inUse["ns/a"].config); strings.Contains(got, "canary") {
		t.Errorf("prints %s", got)
	}
}

// TestBackendsReady: whether requests can be signed is known without a lock, and follows
// Secrets.
func TestBackendsReady(t *testing.T) {
	s := &secrets{}
	b := NewBackends(BackendsOptions{Secrets: s})
	is := func(label string, want bool) {
		t.Helper()
		b.mu.Lock() // which Ready must not need
		defer b.mu.Unlock()
		if got := b.Ready(label); got != want {
			t.Errorf("%s: ready is %t", label, got)
		}
	}
	is("ns/a", true) // of nobody
	if err := b.Update(t.Context(), config(keyed("ns/a#big", "keys"), open("ns/free"), unmakeable("ns/broken"))); err == nil {
		t.Error("nothing is wrong")
	}
	is("ns/a", false)
	is("ns/broken", false)
	is("ns/free", true)
	b.Keep(config(keyed("ns/a#big", "keys")))
	is("ns/broken", true)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go b.Run(ctx)
	s.set("ns/keys", "value")
	b.SecretChanged("ns", "keys")
	for end := time.Now().Add(patience); !b.Ready("ns/a"); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it does not become ready")
		}
	}
}

// TestBackendsReadyEnds: a token that ran out is none, before anybody tells.
func TestBackendsReadyEnds(t *testing.T) {
	at := newClock()
	b := NewBackends(BackendsOptions{Now: at.now})
	is := func(want bool) {
		t.Helper()
		if got := b.Ready("ns/token"); got != want {
			t.Errorf("ready is %t", got)
		}
	}

	b.note(map[string]state{"ns/token": {ready: true, expires: at.now().Add(time.Minute)}})
	is(true)
	at.pass(time.Minute)
	is(false)
}

func TestBackendsUpdate(t *testing.T) {
	s := &secrets{all: map[string]string{"ns/k1": "one", "ns/k2": "two"}}
	b := NewBackends(BackendsOptions{Secrets: s})
	ctx := t.Context()
	if err := b.Update(ctx, config(keyed("ns/a", "k1"), keyed("ns/b", "k1"), open("ns/gone"))); err != nil {
		t.Fatal(err)
	}
	stays := b.inUse["ns/a"].account
	moved := keyed("ns/a", "k1")
	moved.Host = "other.example.com"
	next := config(moved, keyed("ns/b", "k2"), unmakeable("ns/broken"), airoute.Backend{Name: "ns/nowhere", Credentials: credentials.Config{Type: credentials.TypeNone}})
	err := b.Update(ctx, next)
	if err == nil || !strings.Contains(err.Error(), `"ns/broken": credentials: InvalidConfig`) || !strings.Contains(err.Error(), `"ns/nowhere": host is missing`) || strings.Count(err.Error(), "\n") != 1 {
		t.Errorf("%v", err)
	}
	if b.inUse["ns/a"].account != stays {
		t.Error("a credential was made again that did not change")
	}
	for name, want := range map[string]string{
		"ns/a": "{:authority other.example.com}", "ns/b": "{x-key two}", "ns/broken": "401", "ns/nowhere": "503",
		"ns/gone": "{:authority api.example.com}", // until Envoy does not send to it any more
	} {
		if got := reply(t, b, name); !strings.Contains(got, want) {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	for label, want := range map[string]string{"ns/broken": "false InvalidConfig ", "ns/nowhere": "false InvalidBackend ", "ns/b": "true Ready", "ns/gone": "true "} {
		if got := stateOf(b, label); !strings.HasPrefix(got, want) {
			t.Errorf("%s is %s", label, got)
		}
	}
	b.cooling.Note("ns/gone", 429, get())
	b.cooling.Note("ns/a", 429, get())
	b.Keep(next)
	if stateOf(b, "ns/gone") != "unknown" || reply(t, b, "ns/gone") != "503" || b.cooling.Cools("ns/gone") || !b.cooling.Cools("ns/a") {
		t.Error("what is gone is still known, or more")
	}
	if got := reply(t, b, "ns/a"); !strings.Contains(got, "{x-key one}") {
		t.Errorf("the credential that stays was closed: %s", got)
	}
	// It is mended.
	if err := b.Update(ctx, config(moved, open("ns/broken"))); err != nil {
		t.Error(err)
	}
	if got := reply(t, b, "ns/broken"); !strings.Contains(got, ":authority") {
		t.Error(got)
	}
}

func TestBackendsStrict(t *testing.T) {
	s := &secrets{all: map[string]string{"ns/k1": "one", "ns/k2": "two"}}
	b := NewBackends(BackendsOptions{Secrets: s, Strict: true})
	if err := b.Update(t.Context(), config(keyed("ns/a", "k1"))); err != nil {
		t.Fatal(err)
	}
	if err := b.Update(t.Context(), config(keyed("ns/a", "k2"), open("ns/new"), unmakeable("ns/broken"))); err == nil {
		t.Error("no error")
	}
	if got := reply(t, b, "ns/a"); !strings.Contains(got, "{x-key one}") {
		t.Error(got)
	}
	if reply(t, b, "ns/new") != "503" || stateOf(b, "ns/broken") != "unknown" {
		t.Error("something was taken over")
	}
}

// Two backends that people call the same and that have a credential each.
func TestBackendsSameLabel(t *testing.T) {
	s := &secrets{all: map[string]string{"ns/k1": "one"}}
	b := NewBackends(BackendsOptions{Secrets: s})
	x, y := keyed("vertex", "k1"), keyed("vertex-anthropic", "k2")
	y.Label = "vertex"
	for range 2 {
		if err := b.Update(t.Context(), config(x, y)); err != nil {
			t.Fatal(err)
		}
		if got := reply(t, b, "vertex"); !strings.Contains(got, "{x-key one}") {
			t.Error(got)
		}
		if got := stateOf(b, "vertex"); !strings.HasPrefix(got, "false SecretNotFound") {
			t.Errorf("one of two is not ready, and the state is %s", got)
		}
	}
}

// An identity provider that does not answer is felt by its own backend alone.
func TestBackendsHang(t *testing.T) {
	reached := make(chan struct{}, 9)
	hang := make(chan struct{})
	idp := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		reached <- struct{}{}
		select {
		case <-hang:
		case <-r.Context().Done():
		}
	}))
	defer idp.Close()
	defer close(hang)
	slow := open("ns/slow")
	slow.Credentials = credentials.Config{Type: credentials.TypeAWS, AWS: &credentials.AWS{
		Region: "eu-west-1", Container: &credentials.AWSContainer{Endpoint: idp.URL + "/creds"},
	}}
	s := &secrets{all: map[string]string{"ns/k": "key"}}
	b := NewBackends(BackendsOptions{Secrets: s})
	told := make(chan string, 99)
	b.OnState(func(label string) { told <- label })
	ctx, stop := context.WithCancel(t.Context())
	over := make(chan struct{})
	go func() { defer close(over); b.Run(ctx) }()
	if err := b.Update(ctx, config(slow)); err != nil {
		t.Fatal(err)
	}
	<-reached
	if err := b.Update(ctx, config(slow, keyed("ns/a", "k"))); err != nil {
		t.Fatal(err)
	}
	b.SecretChanged("ns", "k")
	b.Reload()
	if got := stateOf(b, "ns/slow"); !strings.HasPrefix(got, "false Pending ") {
		t.Error(got)
	}
	if got := reply(t, b, "ns/a"); !strings.Contains(got, "{x-key key}") {
		t.Error(got)
	}
	wait := func(label, want string) {
		t.Helper()
		for !strings.HasPrefix(stateOf(b, label), want) || want == "" {
			if l := <-told; l == label && want == "" {
				return
			}
		}
	}
	wait("ns/slow", "")
	wait("ns/a", "true Ready")
	s.set("ns/k", "not a key")
	b.SecretChanged("ns", "k")
	wait("ns/a", "false InvalidSecret")
	b.Keep(config(slow))
	wait("ns/a", "unknown")
	stop()
	<-over
	if got := stateOf(b, "ns/slow"); !strings.HasPrefix(got, "false Closed ") {
		t.Error(got)
	}
}
