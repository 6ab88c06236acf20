package scrape

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func newClient(t *testing.T, o ClientOptions) *Client {
	t.Helper()
	c, err := NewClient(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

const goodPage = "vllm:num_requests_waiting{engine=\"0\"} 3.0\n"

func TestFetch(t *testing.T) {
	e := testEngine(t, "vllm")
	page := func(s string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) { _, _ = w.Write([]byte(s)) }
	}
	for name, tc := range map[string]struct {
		handler http.HandlerFunc
		o       ClientOptions
		want    string // of the error; empty: waiting is 3
	}{
		"good": {handler: func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/metrics" || r.Header.Get("Accept-Encoding") != "identity" {
				w.WriteHeader(http.StatusTeapot)
			}
			_, _ = w.Write([]byte(goodPage))
		}},
		"own path": {o: ClientOptions{Path: "/inner/metrics"}, handler: func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/inner/metrics" {
				_, _ = w.Write([]byte(goodPage))
			}
		}},
		"500": {handler: func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(500) },
			want: "the page answered HTTP 500 Internal Server Error"},
		"redirect is not followed": {handler: http.RedirectHandler("http://169.254.169.254/", http.StatusFound).ServeHTTP,
			want: "the page answered HTTP 302 Found"},
		"garbage": {handler: page("<html>\x00\xff</html>"), want: ErrNoSeries.Error()},
		"gzip": {handler: func(w http.ResponseWriter, r *http.Request) { w.Header().Set("Content-Encoding", "gzip") },
			want: `the page is encoded as "gzip"; only identity is read`},
		"announced too large": {handler: page(strings.Repeat("x", 2000)), o: ClientOptions{MaxPage: 1000},
			want: "the page is too large: 2000 bytes"},
		"100 MB": {want: "the page is too large: over 1048576 bytes", o: ClientOptions{MaxPage: 1 << 20},
			handler: func(w http.ResponseWriter, r *http.Request) {
				chunk := []byte(strings.Repeat(goodPage, 10_000))
				for range 100 << 20 / len(chunk) {
					if _, err := w.Write(chunk); err != nil {
						return
					}
				}
			}},
		"cut short": {want: "unexpected EOF", handler: func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "1000")
			_, _ = w.Write([]byte(goodPage))
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			s := httptest.NewServer(tc.handler)
			defer s.Close()
			c := newClient(t, tc.o)
			v, err := c.Fetch(t.Context(), c.URL(s.Listener.Addr().String()), e)
			switch {
			case tc.want == "" && (err != nil || v.Waiting != 3):
				t.Errorf("got %+v, %v", v, err)
			case tc.want != "" && (err == nil || err.Error() != tc.want):
				t.Errorf("error %v, want %s", err, tc.want)
			}
			if Unreachable(err) {
				t.Errorf("a server that answers counts as unreachable: %v", err)
			}
		})
	}
}

func TestFetchHangs(t *testing.T) {
	stop := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/body" {
			_, _ = w.Write([]byte("vllm:num_requests_waiting"))
			w.(http.Flusher).Flush()
		}
		<-stop
	}))
	defer s.Close()
	defer close(stop)
	c := newClient(t, ClientOptions{})
	for _, path := range []string{"/head", "/body"} {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
		_, err := c.Fetch(ctx, s.URL+path, testEngine(t, "vllm"))
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) || Unreachable(err) {
			t.Errorf("%s: %v, want a deadline that does not count as unreachable", path, err)
		}
	}
}

func TestFetchKeepsOneConnection(t *testing.T) {
	var conns atomic.Int32
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write([]byte(strings.Repeat("# filler\n", 20_000) + goodPage))
	}))
	s.Config.ConnState = func(_ net.Conn, st http.ConnState) {
		if st == http.StateNew {
			conns.Add(1)
		}
	}
	s.Start()
	defer s.Close()
	c := newClient(t, ClientOptions{})
	for range 5 {
		if _, err := c.Fetch(t.Context(), s.URL+"/metrics", testEngine(t, "vllm")); err != nil {
			t.Fatal(err)
		}
	}
	if n := conns.Load(); n != 1 {
		t.Errorf("%d connections for 5 scrapes, want 1", n)
	}
}

func TestUnreachable(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	c := newClient(t, ClientOptions{})
	if err := c.Probe(t.Context(), address); err != nil {
		t.Errorf("probe of a listener: %v", err)
	}
	_ = l.Close()
	if _, err := c.Fetch(t.Context(), c.URL(address), testEngine(t, "vllm")); !Unreachable(err) {
		t.Errorf("refused connection: %v does not count as unreachable", err)
	}
	if err := c.Probe(t.Context(), address); !Unreachable(err) {
		t.Errorf("refused probe: %v does not count as unreachable", err)
	}
	for _, err := range []error{nil, context.DeadlineExceeded, errors.New("x"), &StatusError{503}, &net.DNSError{IsTimeout: true}} {
		if Unreachable(err) {
			t.Errorf("Unreachable(%v) is true", err)
		}
	}
	if !Unreachable(fmt.Errorf("dial: %w", &net.DNSError{IsNotFound: true})) {
		t.Error("an unknown host does not count as unreachable")
	}
}

func TestFetchTLS(t *testing.T) {
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = w.Write([]byte(goodPage)) }))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	defer s.Close()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	address := s.Listener.Addr().String()
	for name, tc := range map[string]struct {
		o  ClientOptions
		ok bool
	}{
		"system roots": {ClientOptions{Scheme: "https"}, false},
		"CA file":      {ClientOptions{Scheme: "https", CAFile: ca}, true},
		"unverified":   {ClientOptions{Scheme: "https", InsecureSkipVerify: true}, true},
		"wrong name":   {ClientOptions{Scheme: "https", CAFile: ca, ServerName: "elsewhere.test"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			c := newClient(t, tc.o)
			_, err := c.Fetch(t.Context(), c.URL(address), testEngine(t, "vllm"))
			if (err == nil) != tc.ok || Unreachable(err) {
				t.Errorf("error %v, want ok %v", err, tc.ok)
			}
			if _, isName := errors.AsType[x509.HostnameError](err); name == "wrong name" && !isName {
				t.Errorf("error %v, want a host name error", err)
			}
		})
	}
}

func TestFetchHidesCredentials(t *testing.T) {
	var auth atomic.Bool
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, password, _ := r.BasicAuth()
		auth.Store(password == "hunter2")
		w.WriteHeader(http.StatusForbidden)
	}))
	c := newClient(t, ClientOptions{})
	secret := strings.Replace(s.URL, "http://", "http://user:hunter2@", 1) + "/metrics?token=hunter2"
	_, err := c.Fetch(t.Context(), secret, testEngine(t, "vllm"))
	if !auth.Load() {
		t.Error("the URL's credentials were not sent")
	}
	s.Close()
	_, refused := c.Fetch(t.Context(), secret, testEngine(t, "vllm"))
	_, malformed := c.Fetch(t.Context(), "http://user:hunter2@[::1/\x00", testEngine(t, "vllm"))
	for _, err := range []error{err, refused, malformed} {
		if err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("error %v: want one without the password", err)
		}
	}
}

func TestURL(t *testing.T) {
	for _, tc := range []struct {
		o             ClientOptions
		address, want string
		same          bool
	}{
		{ClientOptions{}, "10.0.0.1:8000", "http://10.0.0.1:8000/metrics", true},
		{ClientOptions{Scheme: "https", Path: "/m", Port: 9}, "10.0.0.1:8000", "https://10.0.0.1:9/m", false},
		{ClientOptions{}, "[fd00::1]:8000", "http://[fd00::1]:8000/metrics", true},
		{ClientOptions{Port: 9}, "[fd00::1]:8000", "http://[fd00::1]:9/metrics", false},
	} {
		got := newClient(t, tc.o).URL(tc.address)
		if got != tc.want || SameHost(got, tc.address) != tc.same {
			t.Errorf("URL(%s) = %s, same host %v; want %s, %v", tc.address, got, SameHost(got, tc.address), tc.want, tc.same)
		}
	}
}

func TestClientOptionErrors(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for want, o := range map[string]ClientOptions{
		`scheme "ftp": must be http or https`:                                             {Scheme: "ftp"},
		`path "metrics": must start with a slash`:                                         {Path: "metrics"},
		`port 65536: must be from 1 to 65535, or 0 for the endpoint's own`:                {Port: 65536},
		`CA file ` + empty + `: holds no PEM certificate`:                                 {CAFile: empty},
		`CA file: open /nonexistent: no such file or directory`:                           {CAFile: "/nonexistent"},
		`client certificate: name both the certificate file and the key file, or neither`: {KeyFile: "k"},
		`client certificate: open /nonexistent: no such file or directory`:                {CertFile: "/nonexistent", KeyFile: "k"},
	} {
		if _, err := NewClient(o); err == nil || err.Error() != want {
			t.Errorf("NewClient(%+v) = %v, want %s", o, err, want)
		}
	}
}

// BenchmarkFetch includes a server in this process, which sends a page of 114 KB.
func BenchmarkFetch(b *testing.B) {
	page, err := os.ReadFile("testdata/vllm.prom")
	if err != nil {
		b.Fatal(err)
	}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = w.Write(page) }))
	defer s.Close()
	c, err := NewClient(ClientOptions{})
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	e := testEngine(b, "vllm")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Fetch(b.Context(), s.URL+"/metrics", e); err != nil {
			b.Fatal(err)
		}
	}
}
