package kvcache

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fairway-ai/fairway/epp/tokens"
	"github.com/fairway-ai/fairway/extproc/scan"
	"github.com/fairway-ai/fairway/pool/kvevents"
)

// TestAuthorization: the client's header goes to endpoints of the pool, and to nobody
// else.
func TestAuthorization(t *testing.T) {
	var shown atomic.Value
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		shown.Store(r.Header.Get("Authorization"))
		fmt.Fprint(w, `{"token_ids":[1,2]}`)
	}))
	defer s.Close()
	at := strings.TrimPrefix(s.URL, "http://")
	_, port, _ := net.SplitHostPort(at)
	for _, test := range []struct {
		name, url, endpoint, want string
	}{
		{"an endpoint", "", at, "Bearer k"},
		{"a URL that is one", "http://" + at + "/", at, "Bearer k"},
		{"a URL that is none", "http://" + at, "127.0.0.1:1", ""},
		{"another port", "http://" + at, "127.0.0.1:1" + port, ""},
		{"another name", "http://localhost:" + port, at, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			shown.Store("nothing was asked")
			set := newSet(t, Options{Tokens: Tokens{Engines: true, URL: test.url, Budget: 15 * time.Second}})
			c := set.Open("ns/a", newFakePool(endpoint("ns/x", test.endpoint, 0)))
			c.hears("m")
			if _, ok := c.Find(context.Background(), Prompt{Path: chatPath, Model: "m", Authorization: "Bearer k", Body: []byte(chatBody)}, nil); !ok {
				t.Error("no tokens")
			}
			if got := shown.Load(); got != test.want {
				t.Errorf("shown %q, want %q", got, test.want)
			}
		})
	}
	for text, want := range map[string]string{"http://h": "h:80", "https://h": "h:443", "http://[::1]:7": "[::1]:7"} {
		if got := addressOf(text); got != want {
			t.Errorf("%s: %s", text, got)
		}
	}
}

// TestOnlyModel: a request that names no model is for the one that engines name, if they
// agree.
func TestOnlyModel(t *testing.T) {
	s := newSet(t, Options{})
	c := s.Open("ns/a", newFakePool(endpoint("ns/x", "10.0.0.1:8000", 0)))
	find := func(model string) uint64 {
		t.Helper()
		f, ok := c.Find(context.Background(), Prompt{Path: "/generate", Model: model, Body: []byte(`{"input_ids":[` + strings.Repeat("1,", 15) + `2]}`)}, nil)
		if !ok || len(f.Keys) != 1 {
			t.Fatalf("%+v %v", f, ok)
		}
		return f.Keys[0].Hash
	}
	s.hub.Stored("10.0.0.1:8000", &kvevents.Stored{Tokens: ids(16)})
	nameless := find("")
	s.hub.Stored("10.0.0.1:8000", &kvevents.Stored{Model: "m"})
	if find("") != find("m") || find("m") == nameless {
		t.Error("the only model is not taken")
	}
	s.hub.Stored("10.0.0.1:8000", &kvevents.Stored{Model: "m"})
	s.hub.Stored("10.0.0.1:8000", &kvevents.Stored{Model: "n"})
	s.hub.Stored("10.0.0.1:8000", &kvevents.Stored{Model: "m"})
	if find("") != nameless { // the topic without a model is the request's
		t.Error("one of two models is taken")
	}
}

// TestKnown: tokens that the caller has give the keys that they give in JSON.
func TestKnown(t *testing.T) {
	c := newSet(t, Options{}).Open("ns/a", newFakePool(endpoint("ns/x", "10.0.0.1:8000", 0)))
	c.hears("m")
	ids := make([]uint32, 40)
	for i := range ids {
		ids[i] = 1
	}
	known := tokens.Tokens{IDs: ids, Count: len(ids), Exact: true}
	got, ok := c.Find(context.Background(), Prompt{Path: "/a.B/C", Model: "m", Body: []byte{0}, Known: &known}, nil)
	want, wanted := c.Find(context.Background(), Prompt{Path: "/generate", Model: "m", Body: []byte(`{"input_ids":[` + strings.Repeat("1,", 39) + `1]}`)}, nil)
	if !ok || !wanted || got.Tokens != 40 || len(got.Keys) != 2 || !slices.Equal(got.Keys, want.Keys) {
		t.Errorf("%+v %v, want %+v", got, ok, want)
	}
}

// TestWantedAPIs: which requests are worth a look, where an endpoint is followed.
func TestWantedAPIs(t *testing.T) {
	for _, engines := range []bool{false, true} {
		s := newSet(t, Options{Tokens: Tokens{Engines: engines}})
		c := s.Open("ns/a", newFakePool(endpoint("ns/x", "10.0.0.1:8000", 0)))
		for api := scan.Other; api <= scan.Generate; api++ {
			if c.Wanted(api) {
				t.Errorf("%s is wanted, and nobody is followed", api)
			}
		}
		s.hub.Live("10.0.0.1:8000")
		got := ""
		for api := scan.Other; api <= scan.Generate; api++ {
			if c.Wanted(api) {
				got += api.String() + " "
			}
		}
		want := "chat/completions completions generate "
		if engines {
			want = "chat/completions completions responses messages generate "
		}
		if got != want {
			t.Errorf("wanted: %s", got)
		}
	}
}
