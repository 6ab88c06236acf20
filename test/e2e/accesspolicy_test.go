package e2e

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairway-ai/fairway/api/v1alpha1"
)

const (
	red   = "spiffe://example.org/ns/red/sa/agent"
	blue  = "spiffe://example.org/ns/blue/sa/agent"
	admin = "spiffe://example.org/ns/ops/sa/admin"
)

// TestAccessPolicy applies the example of who may call, with an authority of its own.
func TestAccessPolicy(t *testing.T) {
	c := newCluster(t)
	c.gateway()
	c.available(c.apply("pool-then-cloud.yaml"))
	ours, theirs := newAuthority(t), newAuthority(t)
	c.applyText("the trust bundle", `
apiVersion: v1
kind: ConfigMap
metadata: {name: spire-bundle, namespace: fairway-examples}
data: {bundle.spiffe: '`+bundle(ours)+`'}
---
apiVersion: v1
kind: Secret
metadata: {name: agents-tls, namespace: fairway-examples}
type: kubernetes.io/tls
`+ours.server(t))
	c.apply(accessExample)
	a := &agents{
		cluster: c, roots: ours.pool(),
		target: target{address: c.addressOf("agents", 443), scheme: "https", host: "agents.example.com", model: "command", tokens: 1},
	}
	c.programmed("agents")
	c.guarded("agents")

	agent := a.with(ours.issue(t, red))
	a.becomes("an allowed workload", agent, "command", http.StatusOK, "")
	for _, tt := range []struct {
		name   string
		client *http.Client
		model  string
		status int
		reason string
	}{
		{"the same once more", agent, "command", http.StatusOK, ""},
		{"a model that is not allowed", agent, "unheard-of", http.StatusForbidden, "model_not_allowed"},
		{"no model", agent, "", http.StatusForbidden, "model_not_allowed"},
		{"another workload", a.with(ours.issue(t, blue)), "command", http.StatusForbidden, "model_not_allowed"},
		{"who may call everything", a.with(ours.issue(t, admin)), "command", http.StatusOK, ""},
		{"what nobody serves", a.with(ours.issue(t, admin)), "unheard-of", http.StatusNotFound, "model_not_found"},
		{"another trust domain", a.with(ours.issue(t, "spiffe://example.com/ns/red/sa/agent")), "command", http.StatusForbidden, "client_certificate_required"},
		{"two identities", a.with(ours.issue(t, red, admin)), "command", http.StatusForbidden, "client_certificate_required"},
		{"no identity", a.with(ours.issue(t)), "command", http.StatusForbidden, "client_certificate_required"},
	} {
		if o := a.ask(t.Context(), tt.client, tt.model); o.status != tt.status || !strings.Contains(o.reason, tt.reason) {
			t.Errorf("%s: status %d, %s; want %d, %s", tt.name, o.status, o.reason, tt.status, tt.reason)
		}
	}
	for name, client := range map[string]*http.Client{
		"no certificate": a.with(), "an authority that is not trusted": a.with(theirs.issue(t, red)), "an expired certificate": a.with(ours.expired(t, red)),
	} {
		if err := a.connect(client); err == nil || !strings.Contains(err.Error(), "remote error: tls: ") {
			t.Errorf("%s: %v; want no connection", name, err)
		}
	}
	forging := a.with(ours.issue(t, blue))
	forging.Transport = forger{forging.Transport, "URI=" + admin}
	if o := a.ask(t.Context(), forging, "command"); o.status != http.StatusForbidden {
		t.Errorf("a forged header: status %d, %s; want 403", o.status, o.reason)
	}

	// Others may call, and another authority is trusted, beside the one so far.
	c.patch("ConfigMap", "", "v1", "spire-bundle", fmt.Sprintf(`{"data":{"bundle.spiffe":%q}}`, bundle(ours, theirs)))
	c.patch("AIAccessPolicy", "fairway.dev", "v1alpha1", "agents",
		`{"spec":{"rules":[{"identities":[{"value":"`+blue+`"}],"models":[{"value":"command"}]}]}}`)
	c.guarded("agents")
	a.becomes("a workload that was allowed", agent, "command", http.StatusForbidden, "model_not_allowed")
	a.becomes("one of the other authority", a.with(theirs.issue(t, blue)), "command", http.StatusOK, "")

	// A mistake closes.
	c.patch("ConfigMap", "", "v1", "spire-bundle", `{"data":{"bundle.spiffe":"{}"}}`)
	c.patch("AIAccessPolicy", "fairway.dev", "v1alpha1", "agents", `{"spec":{"trust":{"trustDomain":"example.com"}}}`)
	a.becomes("a workload of a policy with a mistake", a.with(ours.issue(t, blue)), "command", http.StatusForbidden, "client_certificate_required")
	c.eventually("what the policy says of its mistakes", func(ctx context.Context) (string, bool) {
		var p v1alpha1.AIAccessPolicy
		if err := c.Get(ctx, client.ObjectKey{Namespace: "fairway-examples", Name: "agents"}, &p); err != nil {
			return err.Error(), false
		}
		accepted, is := condition(p.Status.Conditions, "Accepted", p.Generation)
		ready, was := condition(p.Status.Conditions, "BundleReady", p.Generation)
		return accepted + "; " + ready, !is && !was && strings.Contains(accepted, "spec.rules[0].identities[0].value") && strings.Contains(ready, "InvalidBundle")
	})
	c.goesWith("agents")
}

// goesWith deletes the policy and waits until what was made of it is gone.
func (c *cluster) goesWith(policy string) {
	c.t.Helper()
	p := &v1alpha1.AIAccessPolicy{}
	p.Namespace, p.Name = "fairway-examples", policy
	if err := c.Delete(c.t.Context(), p); err != nil {
		c.t.Fatal(err)
	}
	for _, made := range []struct{ group, version, kind, name string }{
		{"gateway.envoyproxy.io", "v1alpha1", "ClientTrafficPolicy", policy}, {"", "v1", "ConfigMap", policy + "-client-ca"},
	} {
		o := &unstructured.Unstructured{}
		o.SetGroupVersionKind(schema.GroupVersionKind{Group: made.group, Version: made.version, Kind: made.kind})
		c.eventually("the end of "+made.kind+" "+made.name, func(ctx context.Context) (string, bool) {
			err := c.Get(ctx, client.ObjectKey{Namespace: p.Namespace, Name: made.name}, o)
			return fmt.Sprint(err), apierrors.IsNotFound(err)
		})
	}
}

// guarded waits until all conditions of a policy are true.
func (c *cluster) guarded(name string) {
	c.t.Helper()
	c.eventually("AIAccessPolicy "+name, func(ctx context.Context) (string, bool) {
		var p v1alpha1.AIAccessPolicy
		if err := c.Get(ctx, client.ObjectKey{Namespace: "fairway-examples", Name: name}, &p); err != nil {
			return err.Error(), false
		}
		for _, kind := range []string{"Accepted", "ResolvedRefs", "BundleReady", "GatewayBound", "Programmed"} {
			if s, ok := condition(p.Status.Conditions, kind, p.Generation); !ok {
				return s, false
			}
		}
		return "", true
	})
}

// agents are workloads that call a Gateway with certificates.
type agents struct {
	*cluster
	target
	roots *x509.CertPool
}

// with is a client with certificates. It connects anew for each request.
func (a *agents) with(certificates ...tls.Certificate) *http.Client {
	return &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		TLSClientConfig:   &tls.Config{RootCAs: a.roots, ServerName: a.host, Certificates: certificates},
	}}
}

func (a *agents) ask(ctx context.Context, client *http.Client, model string) outcome {
	g := a.target
	g.model = model
	return g.send(ctx, client, "may I?")
}

// connect waits until the Gateway closes a connection, and says why: since nothing is
// sent, nothing is lost with it, as an alert of TLS 1.3 can be.
func (a *agents) connect(client *http.Client) error {
	d := tls.Dialer{Config: client.Transport.(*http.Transport).TLSClientConfig}
	conn, err := d.DialContext(a.t.Context(), "tcp", a.address)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return err
	}
	_, err = conn.Read(make([]byte, 1))
	return err
}

// becomes waits until ten requests in a row end so, because each Envoy learns of a
// change by itself.
func (a *agents) becomes(what string, client *http.Client, model string, status int, reason string) {
	a.t.Helper()
	a.eventually(what, func(ctx context.Context) (string, bool) {
		for range 10 {
			if o := a.ask(ctx, client, model); o.status != status || !strings.Contains(o.reason, reason) {
				return fmt.Sprintf("status %d: %s", o.status, o.reason), false
			}
		}
		return "", true
	})
}

// forger says of a certificate what is not true.
type forger struct {
	http.RoundTripper
	header string
}

func (f forger) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("x-forwarded-client-cert", f.header)
	return f.RoundTripper.RoundTrip(r)
}
