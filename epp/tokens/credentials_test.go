package tokens

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
)

const (
	goodKey = "Bearer sesame"
	badKey  = "Bearer guess"
)

// guarded answers those who have the good key, and notes what it was shown.
type guarded struct {
	mu    sync.Mutex
	shown []string
	hold  chan struct{} // keeps those with another key waiting, when not nil
}

func (g *guarded) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	got := r.Header.Get("Authorization")
	g.mu.Lock()
	g.shown = append(g.shown, got)
	g.mu.Unlock()
	if got != goodKey {
		if g.hold != nil {
			<-g.hold
		}
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprintf(w, `{"error":"%s is wrong"}`, got)
		return
	}
	fmt.Fprint(w, `{"token_ids":[1,2]}`)
}

func (g *guarded) saw() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.shown)
}

func (b *bed) with(key, body string) error {
	_, err := b.e.Tokens(b.t.Context(), Request{Path: chat, Body: []byte(body), Authorization: key})
	return err
}

// TestCredentialsOfTheClient: a question is asked with the client's header. Whoever may
// not ask is told so again and again, and keeps nobody else from asking.
func TestCredentialsOfTheClient(t *testing.T) {
	g := &guarded{}
	b := newBed(t, Options{}, serve(t, g))
	for range 2 * maxStrikes {
		err := b.with(badKey, user(1))
		if !errors.Is(err, ErrDenied) || strings.Contains(err.Error(), "guess") {
			t.Fatal(err)
		}
	}
	if err := b.with("", user(1)); !errors.Is(err, ErrDenied) {
		t.Fatal(err)
	}
	if err := b.with(goodKey, user(1)); err != nil {
		t.Fatalf("after others were denied: %v", err)
	}
	want := append(slices.Repeat([]string{badKey}, 2*maxStrikes), "", goodKey)
	if got := g.saw(); !slices.Equal(got, want) {
		t.Errorf("shown %q, want %q", got, want)
	}
	// What is known needs no question.
	if err := b.with("", user(1)); err != nil || len(g.saw()) != len(want) {
		t.Errorf("%v, shown %q", err, g.saw())
	}
}

// TestDeniedQuestionIsAskedAnew: who waits for the answer to somebody else's question
// asks it with credentials of their own, once that was denied.
func TestDeniedQuestionIsAskedAnew(t *testing.T) {
	g := &guarded{hold: make(chan struct{})}
	b := newBed(t, Options{}, serve(t, g))
	denied, served := make(chan error), make(chan error)
	go func() { denied <- b.with(badKey, user(1)) }()
	eventually(t, "the first one asks", func() bool { return len(g.saw()) == 1 })
	go func() { served <- b.with(goodKey, user(1)) }()
	eventually(t, "the second one waits", func() bool { return b.e.Stats().Joined == 1 })
	close(g.hold)
	if err := <-denied; !errors.Is(err, ErrDenied) {
		t.Error(err)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
	if got := g.saw(); !slices.Equal(got, []string{badKey, goodKey}) {
		t.Errorf("shown %q", got)
	}
}

// TestImpossibleCredentials are not sent, and are not taken for a fault of the endpoint.
func TestImpossibleCredentials(t *testing.T) {
	g := &guarded{}
	b := newBed(t, Options{}, serve(t, g))
	for _, key := range []string{"Bearer a\nb", "Bearer a\x00", "Bearer \x7f", strings.Repeat("a", maxAuthorization+1)} {
		if err := b.with(key, user(1)); !errors.Is(err, ErrDenied) {
			t.Fatalf("%.20q: %v", key, err)
		}
	}
	if got := g.saw(); !slices.Equal(got, make([]string, 4)) {
		t.Errorf("shown %.100q", got)
	}
}
