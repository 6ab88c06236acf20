package credentials

import (
	"bytes"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"sort"
	"strings"
	"sync"
	"testing"
	"time"
)

// headers are a request's headers.
type headers map[string]string

func (h headers) Get(name string) string { return h[name] }
func (h headers) Set(name, value string) { h[name] = value }
func (h headers) Remove(name string)     { delete(h, name) }
func (h headers) Names(yield func(string) bool) {
	for n := range h {
		if !yield(n) {
			return
		}
	}
}

// asked is one request that an identity provider got.
type asked struct {
	method, host, path string
	header             http.Header
	form               url.Values
	body               string
}

// world is everything a credential can reach: identity providers by host, Secrets
// and variables. No request leaves the process, so that it works on a fake clock.
type world struct {
	t       *testing.T
	mu      sync.Mutex
	hosts   map[string]http.HandlerFunc
	got     []asked
	secrets map[string]map[string][]byte
	env     map[string]string
	logs    bytes.Buffer
	// echo has every provider answer 400 with all that it was sent.
	echo bool
}

func newWorld(t *testing.T) *world {
	return &world{t: t, hosts: map[string]http.HandlerFunc{}, secrets: map[string]map[string][]byte{}, env: map[string]string{}}
}

func (w *world) deps() Deps {
	return Deps{
		Rand: func() float64 { return 0 }, HTTPClient: &http.Client{Transport: w}, Guarded: &http.Client{Transport: w}, Secrets: w, Name: "backend",
		Getenv: func(k string) string { w.mu.Lock(); defer w.mu.Unlock(); return w.env[k] },
		Log:    slog.New(slog.NewTextHandler(lockedWriter{w}, nil)),
	}
}

type lockedWriter struct{ w *world }

func (l lockedWriter) Write(p []byte) (int, error) {
	l.w.mu.Lock()
	defer l.w.mu.Unlock()
	return l.w.logs.Write(p)
}

func (w *world) logged() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.logs.String()
}

func (w *world) ReadSecret(namespace, name string) (map[string][]byte, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.secrets[namespace+"/"+name], nil
}

func (w *world) setSecret(name, key, value string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.secrets["ns/"+name] = map[string][]byte{key: []byte(value)}
}

func (w *world) deleteSecret(name string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.secrets, "ns/"+name)
}

func (w *world) handle(host string, h http.HandlerFunc) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.hosts[host] = h
}

// RoundTrip implements http.RoundTripper.
func (w *world) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	var body []byte
	if r.Body != nil {
		body, _ = io.ReadAll(r.Body)
		_ = r.Body.Close()
	}
	a := asked{method: r.Method, host: r.URL.Host, path: r.URL.RequestURI(), header: r.Header.Clone(), body: string(body)}
	if strings.HasPrefix(r.Header.Get("Content-Type"), "application/x-www-form-urlencoded") {
		a.form, _ = url.ParseQuery(a.body)
	}
	w.mu.Lock()
	w.got = append(w.got, a)
	h, echo := w.hosts[r.URL.Host], w.echo
	w.mu.Unlock()
	rec := httptest.NewRecorder()
	switch {
	case echo:
		rec.Header().Set("Content-Type", "application/json")
		rec.WriteHeader(http.StatusBadRequest)
		var all strings.Builder
		_ = r.Header.Write(&all)
		_, _ = io.WriteString(rec, `{"error":"invalid_client","error_description":`+quote(string(body)+all.String()+r.URL.String())+`}`)
	case h == nil:
		return nil, &netError{}
	default:
		r.Body, r.Form = io.NopCloser(bytes.NewReader(body)), a.form
		h(rec, r)
		if err := r.Context().Err(); err != nil {
			return nil, err
		}
	}
	res := rec.Result()
	res.Request = r
	return res, nil
}

func quote(s string) string {
	s = strings.NewReplacer("\\", "\\\\", `"`, `\"`, "\r", " ", "\n", " ").Replace(s)
	return `"` + s + `"`
}

type netError struct{}

func (*netError) Error() string   { return "nobody there" }
func (*netError) Timeout() bool   { return false }
func (*netError) Temporary() bool { return false }

// requests are those that a host got whose path begins so.
func (w *world) requests(host, path string) []asked {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []asked
	for _, a := range w.got {
		if a.host == host && strings.HasPrefix(a.path, path) {
			out = append(out, a)
		}
	}
	return out
}

func reply(status int, contentType, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

// open builds a credential that ends with the test.
func (w *world) open(c Config) Credential {
	w.t.Helper()
	cred, err := New(w.t.Context(), c, w.deps())
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(cred.Close)
	return cred
}

// request is a translated request that still has all sorts of credentials on it.
func request() *Request {
	return &Request{
		Method: "POST", Host: "bedrock-runtime.eu-west-1.amazonaws.com", Path: "/model/anthropic.claude-v2%3A1/converse",
		Body: []byte(`{"messages":[]}`),
		Headers: headers{
			"content-type": "application/json", "accept": "*/*", "authorization": "Bearer client", "x-api-key": "client",
			"api-key": "client", "x-goog-api-key": "client", "x-amz-date": "old", "x-amz-security-token": "old",
			"x-amz-content-sha256": "old", "cookie": "session=client", "x-goog-user-project": "client", "user-agent": "sdk/1",
		},
	}
}

// sign signs a fresh request and returns its headers, less the harmless ones.
func sign(t *testing.T, c Credential) (headers, error) {
	t.Helper()
	r := request()
	err := c.Sign(t.Context(), r)
	h := r.Headers.(headers)
	for _, keep := range []string{"content-type", "accept", "user-agent"} {
		if h[keep] == "" {
			t.Errorf("header %s is gone", keep)
		}
		delete(h, keep)
	}
	for name, v := range h {
		if strings.Contains(v, "client") || v == "old" {
			t.Errorf("the client's %s is still there", name)
		}
	}
	return h, err
}

// wantHeaders signs and compares all credential headers.
func wantHeaders(t *testing.T, c Credential, want headers) {
	t.Helper()
	got, err := sign(t, c)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != len(want) {
		t.Errorf("headers %v, want %v", sortedKeys(got), sortedKeys(want))
	}
	for k, v := range want {
		if got[k] != v {
			t.Errorf("%s is %q, want %q", k, got[k], v)
		}
		if !slices.Contains(c.Carries(), k) {
			t.Errorf("Carries %v lacks %s", c.Carries(), k)
		}
	}
}

// wantError signs, wants an error with a reason, and no credential on the request.
func wantError(t *testing.T, c Credential, reason Reason, parts ...string) {
	t.Helper()
	got, err := sign(t, c)
	e, ok := err.(*Error)
	if !ok || e.Reason != reason {
		t.Fatalf("got %v, want reason %s", err, reason)
	}
	for _, p := range parts {
		if !strings.Contains(e.Message, p) {
			t.Errorf("%q lacks %q", e.Message, p)
		}
	}
	if len(got) != 0 {
		t.Errorf("a refused request carries %v", sortedKeys(got))
	}
}

func wantStatus(t *testing.T, c Credential, ready bool, reason Reason) Status {
	t.Helper()
	s := c.Status()
	if s.Ready != ready || s.Reason != reason {
		t.Errorf("status is %+v, want ready=%v, %s", s, ready, reason)
	}
	return s
}

func sortedKeys(h headers) []string {
	var out []string
	for k := range h {
		out = append(out, k)
	}
	sort.Strings(out)
	return out
}

func literal(s string) Value { return Value{Literal: NewSecret(s)} }

func secretRef(name, key string) Value {
	return Value{SecretRef: &SecretRef{Namespace: "ns", Name: name, Key: key}}
}

func ptr[T any](v T) *T { return &v }

// soon is a time on the wire.
func soon(d time.Duration) string { return time.Now().Add(d).UTC().Format(time.RFC3339) }
