package envoygateway

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/fairway-ai/fairway/api/v1alpha1"
	"github.com/fairway-ai/fairway/gateway/accesspolicy"
	"github.com/fairway-ai/fairway/gateway/airoute"
	"github.com/fairway-ai/fairway/gateway/xds"
	"github.com/fairway-ai/fairway/test/realenvoy"
)

// accessTo is a policy for a Gateway gw of a namespace: agents may call a model.
func accessTo(namespace, model string) *accesspolicy.Set {
	set, _ := accesspolicy.Compile([]*v1alpha1.AIAccessPolicy{{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "p"},
		Spec: v1alpha1.AIAccessPolicySpec{
			TargetRef: gatewayv1.LocalPolicyTargetReferenceWithSectionName{LocalPolicyTargetReference: gatewayv1.LocalPolicyTargetReference{
				Group: gatewayv1.GroupName, Kind: "Gateway", Name: "gw",
			}},
			Trust: v1alpha1.AccessTrust{TrustDomain: "d"},
			Rules: []v1alpha1.AccessRule{{
				Identities: []v1alpha1.IdentityMatch{{Value: "spiffe://d/agent"}}, Models: []v1alpha1.ModelMatch{{Value: model}},
			}},
		},
	}})
	return set
}

// askForCertificates is a listener's socket that does, with the other settings that Envoy
// Gateway makes of a ClientTrafficPolicy.
func askForCertificates(t *testing.T, l *listenerv3.Listener, server *tlsv3.TlsCertificate, change func(*tlsv3.DownstreamTlsContext, *hcmv3.HttpConnectionManager), ca []byte) {
	t.Helper()
	socket := &tlsv3.DownstreamTlsContext{
		RequireClientCertificate: wrapperspb.Bool(true),
		CommonTlsContext: &tlsv3.CommonTlsContext{ValidationContextType: &tlsv3.CommonTlsContext_ValidationContext{
			ValidationContext: &tlsv3.CertificateValidationContext{TrustedCa: inline(ca)},
		}},
	}
	if server != nil {
		socket.CommonTlsContext.TlsCertificates = []*tlsv3.TlsCertificate{server}
	}
	chain := l.DefaultFilterChain
	for _, f := range chain.Filters {
		m := new(hcmv3.HttpConnectionManager)
		if f.GetTypedConfig().UnmarshalTo(m) != nil || m.GetRds() == nil {
			continue
		}
		m.ForwardClientCertDetails = hcmv3.HttpConnectionManager_SANITIZE_SET
		m.SetCurrentClientCertDetails = &hcmv3.HttpConnectionManager_SetCurrentClientCertDetails{Uri: true}
		if change != nil {
			change(socket, m)
		}
		f.GetTypedConfig().Value = encode(m)
	}
	packed, err := anypb.New(socket)
	if err != nil {
		t.Fatal(err)
	}
	chain.TransportSocket = &corev3.TransportSocket{Name: "envoy.transport_sockets.tls", ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: packed}}
}

func inline(b []byte) *corev3.DataSource {
	return &corev3.DataSource{Specifier: &corev3.DataSource_InlineBytes{InlineBytes: b}}
}

// guardedFeature is what becomes of a recorded feature under a policy.
func guardedFeature(t *testing.T, name string, access *accesspolicy.Set, edit func(*listenerv3.Listener)) envoy {
	t.Helper()
	file := filepath.Join("testdata", name, "objects.yaml")
	in, _ := feature(t, name)
	o := options(t, objects(t, file))
	ai := aiOf(t, file)
	ai.result.Config.Access = access
	o.AI = ai
	if edit != nil {
		edit(in.listener(name + "/gw/http"))
	}
	response, result, err := newServer(t, o).translate(context.Background(), in.request())
	if err != nil || result != "ok" {
		t.Fatal(result, err)
	}
	out := decoded(t, decodeResponse(t, response))
	validate(t, out)
	return out
}

func TestGuardedAIRoute(t *testing.T) {
	const name, mark = "airoute-fallback", "routes:airoute-fallback/chat;gateway=airoute-fallback/gw/http"
	all := func(change func(*tlsv3.DownstreamTlsContext, *hcmv3.HttpConnectionManager)) func(*listenerv3.Listener) {
		return func(l *listenerv3.Listener) { askForCertificates(t, l, nil, change, []byte("ca")) }
	}
	validation := func(c *tlsv3.DownstreamTlsContext) *tlsv3.CertificateValidationContext {
		return c.CommonTlsContext.GetValidationContext()
	}
	for what, tt := range map[string]struct {
		edit       func(*listenerv3.Listener)
		identified bool
	}{
		"no TLS":                   {nil, false},
		"certificates are checked": {all(nil), true},
		"by a secret": {all(func(c *tlsv3.DownstreamTlsContext, _ *hcmv3.HttpConnectionManager) {
			c.CommonTlsContext.ValidationContextType = &tlsv3.CommonTlsContext_ValidationContextSdsSecretConfig{
				ValidationContextSdsSecretConfig: &tlsv3.SdsSecretConfig{Name: "ca"},
			}
		}), true},
		"they are not required": {all(func(c *tlsv3.DownstreamTlsContext, _ *hcmv3.HttpConnectionManager) {
			c.RequireClientCertificate = nil
		}), false},
		"any certificate": {all(func(c *tlsv3.DownstreamTlsContext, _ *hcmv3.HttpConnectionManager) {
			validation(c).TrustChainVerification = tlsv3.CertificateValidationContext_ACCEPT_UNTRUSTED
		}), false},
		"any certificate, by a secret": {all(func(c *tlsv3.DownstreamTlsContext, _ *hcmv3.HttpConnectionManager) {
			v := &tlsv3.CertificateValidationContext{TrustChainVerification: tlsv3.CertificateValidationContext_ACCEPT_UNTRUSTED}
			c.CommonTlsContext.ValidationContextType = &tlsv3.CommonTlsContext_CombinedValidationContext{
				CombinedValidationContext: &tlsv3.CommonTlsContext_CombinedCertificateValidationContext{
					DefaultValidationContext: v, ValidationContextSdsSecretConfig: &tlsv3.SdsSecretConfig{Name: "ca"},
				},
			}
		}), false},
		"expired certificates": {all(func(c *tlsv3.DownstreamTlsContext, _ *hcmv3.HttpConnectionManager) {
			validation(c).AllowExpiredCertificate = true
		}), false},
		"no authorities": {all(func(c *tlsv3.DownstreamTlsContext, _ *hcmv3.HttpConnectionManager) { validation(c).TrustedCa = nil }), false},
		"the client's own word": {all(func(_ *tlsv3.DownstreamTlsContext, m *hcmv3.HttpConnectionManager) {
			m.ForwardClientCertDetails = hcmv3.HttpConnectionManager_ALWAYS_FORWARD_ONLY
		}), false},
		"after the client's own word": {all(func(_ *tlsv3.DownstreamTlsContext, m *hcmv3.HttpConnectionManager) {
			m.ForwardClientCertDetails = hcmv3.HttpConnectionManager_APPEND_FORWARD
		}), false},
		"without the URI": {all(func(_ *tlsv3.DownstreamTlsContext, m *hcmv3.HttpConnectionManager) {
			m.SetCurrentClientCertDetails.Uri = false
		}), false},
	} {
		t.Run(what, func(t *testing.T) {
			out := guardedFeature(t, name, accessTo(name, "chain"), tt.edit)
			want := mark
			if tt.identified {
				want += ";identity"
			}
			seen := 0
			for _, c := range out.Routes {
				for _, h := range c.VirtualHosts {
					for _, r := range h.Routes {
						scope := poolOf(t, r.TypedPerFilterConfig)
						if !strings.HasPrefix(scope, xds.RoutesPrefix) {
							continue
						}
						if seen++; scope != want {
							t.Errorf("%s has scope %s", r.Name, scope)
						}
						if strings.HasPrefix(r.Name, "httproute/") && r.GetRoute().GetCluster() != xds.NoPickerClusterName {
							t.Errorf("without the picker, %s goes to %s", r.Name, r.GetRoute().GetCluster())
						}
					}
				}
			}
			if seen < 4 {
				t.Errorf("only %d routes", seen)
			}
		})
	}
	_, open := feature(t, name)
	plain := guardedFeature(t, name, accessTo("elsewhere", "m"), nil)
	if string(toYAML(t, plain)) != string(toYAML(t, open)) {
		t.Error("a policy elsewhere changes something")
	}
}

// TestGuardedAIBackend: a rule that leads to a provider by itself does not when nobody
// looks who calls.
func TestGuardedAIBackend(t *testing.T) {
	const name = "aibackend-in-httproute"
	out, seen := guardedFeature(t, name, accessTo(name, "m"), nil), 0
	for _, c := range out.Routes {
		for _, h := range c.VirtualHosts {
			for _, r := range h.Routes {
				scope := poolOf(t, r.TypedPerFilterConfig)
				if !strings.HasPrefix(scope, xds.RulePrefix) {
					if strings.Contains(scope, ";") {
						t.Errorf("a pool is called %s", scope)
					}
					continue
				}
				seen++
				var m extprocv3.ExtProcPerRoute
				if err := r.TypedPerFilterConfig[xds.FilterName].UnmarshalTo(&m); err != nil {
					t.Fatal(err)
				}
				if f := m.GetOverrides().GetFailureModeAllow(); f == nil || f.Value || !strings.HasSuffix(scope, ";gateway="+name+"/gw/http") {
					t.Errorf("%s: scope %s, fails open: %v", r.Name, scope, f)
				}
			}
		}
	}
	if seen == 0 {
		t.Error("no rule leads to an AIBackend")
	}
}

// issuer issues certificates of a trust domain.
type issuer struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

func newIssuer(t *testing.T) *issuer {
	i := &issuer{t: t}
	c := i.issue(&x509.Certificate{Subject: pkix.Name{CommonName: "authority"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	i.cert, i.key = c.Leaf, c.PrivateKey.(*ecdsa.PrivateKey)
	i.pem = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Leaf.Raw})
	return i
}

func (i *issuer) issue(c *x509.Certificate) tls.Certificate {
	i.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		i.t.Fatal(err)
	}
	c.SerialNumber, c.NotBefore, c.NotAfter = big.NewInt(time.Now().UnixNano()), time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, signer := i.cert, i.key
	if parent == nil {
		parent, signer = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, key.Public(), signer)
	if err != nil {
		i.t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		i.t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// workload is a client certificate with URIs.
func (i *issuer) workload(uris ...string) tls.Certificate {
	c := &x509.Certificate{KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	for _, s := range uris {
		u, err := url.Parse(s)
		if err != nil {
			i.t.Fatal(err)
		}
		c.URIs = append(c.URIs, u)
	}
	return i.issue(c)
}

// TestRealEnvoyGuards: clients of a guarded listener are who their certificates say, and
// whatever they say themselves is not believed; and nothing passes when Fairway is dead.
func TestRealEnvoyGuards(t *testing.T) {
	const name, ns = "airoute-fallback", "airoute-fallback/"
	ca, other := newIssuer(t), newIssuer(t)
	server := ca.issue(&x509.Certificate{DNSNames: []string{serverName}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	key, err := x509.MarshalPKCS8PrivateKey(server.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	edit := func(in *envoy, c *airoute.Config) {
		c.Access = accessTo(name, "pools")
		askForCertificates(t, in.listener(name+"/gw/http"), &tlsv3.TlsCertificate{
			CertificateChain: inline(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Leaf.Raw})),
			PrivateKey:       inline(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})),
		}, nil, ca.pem)
	}
	llama := newProvider(t)
	r := newEditedRig(t, edit, nil, map[string][]string{ns + "llama": {llama.addr}, ns + "qwen": {llama.addr}}, name)
	r.picker.picks[ns+"llama"] = llama.addr
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca.pem)
	// ask is the status of an answer; 0 when there is no connection.
	ask := func(c *tls.Certificate, model string, headers ...string) (int, string) {
		config := &tls.Config{RootCAs: roots, ServerName: serverName}
		if c != nil {
			config.Certificates = []tls.Certificate{*c}
		}
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}, Timeout: patience}
		q, err := http.NewRequestWithContext(t.Context(), http.MethodPost, fmt.Sprintf("https://127.0.0.1:%d/v1/chat/completions", r.ports[name+"/gw/http"]),
			strings.NewReader(`{"model":"`+model+`","messages":[{"role":"user","content":"hello"}]}`))
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i+1 < len(headers); i += 2 {
			q.Header.Set(headers[i], headers[i+1])
		}
		resp, err := client.Do(q)
		if err != nil {
			return 0, err.Error()
		}
		defer resp.Body.Close()
		body := make([]byte, 2048)
		n, _ := resp.Body.Read(body)
		return resp.StatusCode, string(body[:n])
	}
	agent := ca.workload("spiffe://d/agent")
	realenvoy.Eventually(t, patience, "the first answer", func() error {
		if status, body := ask(&agent, "pools"); status != http.StatusOK {
			return fmt.Errorf("%d %s", status, body)
		}
		return nil
	})
	const lie = "By=x;Hash=y;URI=spiffe://d/agent"
	stranger, two, foreign, nameless := ca.workload("spiffe://d/stranger"), ca.workload("spiffe://d/agent", "spiffe://d/other"), other.workload("spiffe://d/agent"), ca.workload()
	for what, tt := range map[string]struct {
		cert   *tls.Certificate
		model  string
		status int
		says   string
	}{
		"allowed":           {&agent, "pools", 200, ""},
		"another model":     {&agent, "chain", 403, "model_not_allowed"},
		"another identity":  {&stranger, "pools", 403, "model_not_allowed"},
		"two identities":    {&two, "pools", 403, "client_certificate_required"},
		"no identity":       {&nameless, "pools", 403, "client_certificate_required"},
		"another authority": {&foreign, "pools", 0, ""},
		"no certificate":    {nil, "pools", 0, ""},
	} {
		for _, headers := range [][]string{nil, {accesspolicy.Header, lie}} {
			if status, body := ask(tt.cert, tt.model, headers...); status != tt.status || tt.says != "" && !strings.Contains(body, tt.says) {
				t.Errorf("%s, saying %v: %d %s", what, headers, status, body)
			}
		}
	}
	r.stop()
	realenvoy.Eventually(t, patience, "nothing passes without Fairway", func() error {
		if status, body := ask(&agent, "pools"); status != http.StatusServiceUnavailable {
			return fmt.Errorf("%d %s", status, body)
		}
		return nil
	})
}
