package credentials

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
)

func TestGuardAdmits(t *testing.T) {
	g := &Guard{Domain: "cluster.local"}
	for _, tt := range []struct {
		host, issuer string
		want         bool
	}{
		{"idp.example.com", "idp.example.com", true},
		{"token.example.com", "idp.example.com", true},
		{"idp.auth.svc.cluster.local", "IDP.auth.svc.cluster.local.", true},
		{"other.auth.svc.cluster.local", "idp.auth.svc.cluster.local", false},
		{"Kubernetes.default.svc.cluster.local.", "idp.example.com", false},
		{"kubernetes.default.svc", "idp.example.com", false},
		{"cluster.local", "idp.example.com", false},
		{"notcluster.local", "idp.example.com", true},
	} {
		if got := g.admits(tt.host, tt.issuer); got != tt.want {
			t.Errorf("%s of %s: %t", tt.host, tt.issuer, got)
		}
	}
	if !(*Guard)(nil).admits("a.svc", "b") {
		t.Error("without a guard, something is refused")
	}
}

// TestGuardedIssuer: an issuer in the cluster cannot send the gateway to another Service,
// and one that others chose is asked by the client that is for those.
func TestGuardedIssuer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.entra(entraHost, 3600)
		w.handle("idp.example", func(rw http.ResponseWriter, r *http.Request) {
			if strings.HasSuffix(r.URL.Path, "/openid-configuration") {
				reply(200, "application/json", `{"token_endpoint":"https://other.default.svc.cluster.local/token"}`)(rw, r)
				return
			}
			reply(200, "application/json", `{"access_token":"jwt.issued"}`)(rw, r)
		})
		ask := &OIDC{Issuer: "https://idp.example", ClientID: "me", ClientSecret: literal("hush"), Guard: &Guard{Domain: "cluster.local"}}
		open := func() Credential {
			return w.open(azureConfig(Azure{TenantID: "tenant-1", ClientID: "client-1", Federated: &IdentityToken{OIDC: ask}}))
		}
		wantError(t, open(), ReasonTokenRequestDenied, "names a token endpoint within this cluster")
		if n := len(w.requests("other.default.svc.cluster.local", "/token")); n != 0 {
			t.Errorf("the other Service got %d requests", n)
		}
	})
}

// TestGuardedClient: no connection to this machine or its link, but by a proxy
// that the operator chose.
func TestGuardedClient(t *testing.T) {
	came := 0
	s := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { came++ }))
	defer s.Close()
	_, port, _ := strings.Cut(s.Listener.Addr().String(), ":")
	c := newGuarded()
	c.Transport.(*guarded).proxy = func(*http.Request) (*url.URL, error) { return nil, nil }
	for _, host := range []string{"127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "169.254.169.254", "[fd00:ec2::254]", "0.0.0.0", "[fe80::1]", "224.0.0.1"} {
		res, err := c.Get("https://" + host + ":" + port + "/")
		if err == nil {
			_ = res.Body.Close()
			t.Errorf("%s was reached", host)
			continue
		}
		if got := transportTrouble(err); !strings.Contains(got, "is one of the gateway's own machine or link") {
			t.Errorf("%s: %s (%v)", host, got, err)
		}
	}
	proxied := false
	g := c.Transport.(*guarded)
	g.proxy = func(*http.Request) (*url.URL, error) { return url.Parse("http://127.0.0.1:1") }
	g.proxied = roundTrip(func(r *http.Request) (*http.Response, error) {
		proxied = true
		return httptest.NewRecorder().Result(), nil
	})
	if res, err := c.Get("https://idp.example/"); err != nil || !proxied {
		t.Errorf("by a proxy: %v", err)
	} else {
		_ = res.Body.Close()
	}
	if came > 0 {
		t.Errorf("the server was asked %d times", came)
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
