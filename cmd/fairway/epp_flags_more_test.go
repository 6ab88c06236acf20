package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"github.com/fairway-ai/fairway/internal/testkit"
)

func TestMoreFlagsValidate(t *testing.T) {
	for args, want := range map[string]string{
		"--tls-min-version=VersionTLS10":                                                                 "--tls-min-version: \"VersionTLS10\" must be VersionTLS12 or VersionTLS13",
		"--tls-cipher-suites=TLS_RSA_WITH_RC4_128_SHA":                                                   "--tls-cipher-suites: TLS_RSA_WITH_RC4_128_SHA is not secure",
		"--tls-min-version=VersionTLS13 --tls-cipher-suites=TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256":       "which --tls-min-version=VersionTLS13 excludes",
		"--secure-serving=false --tls-min-version=VersionTLS13":                                          "are of no use with --secure-serving=false",
		"--metrics-client-ca-file=x":                                                                     "needs --metrics-cert-dir",
		"--metrics-cert-dir=x --metrics-port=0":                                                          "--metrics-cert-dir: is of no use with --metrics-port=0",
		"--metrics-endpoint-auth --metrics-port=0":                                                       "--metrics-endpoint-auth: is of no use with --metrics-port=0",
		"--fairness-id-metric-label-limit=1001":                                                          "must be 0 to 1000",
		"--refresh-prometheus-metrics-interval=-1s":                                                      "must not be negative",
		"--tls-min-version=VersionTLS13 --metrics-endpoint-auth=false --enable-grpc-stream-metrics":      "",
		"--grpc-max-send-msg-size=25MB --refresh-prometheus-metrics-interval=5s --metrics-cert-dir=some": "",
	} {
		var f eppFlags
		fs := pflag.NewFlagSet("epp", pflag.ContinueOnError)
		f.register(fs)
		if err := fs.Parse(append(strings.Fields(args), "-f", "x")); err != nil {
			t.Fatal(err)
		}
		err := f.validate(fs)
		if (err != nil) != (want != "") || want != "" && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", args, err, want)
		}
	}
}

// TestMetricNameFlags: the deprecated flags name the series of endpoints whose engine
// nothing else names.
func TestMetricNameFlags(t *testing.T) {
	c, err := parsed(t, "-f", "x", "--total-queued-requests-metric", "q", "--model-server-metrics-port", "9999", "--model-server-metrics-path", "/m").loadConfig()
	if err != nil {
		t.Fatal(err)
	}
	if e, _ := c.pool.Engines.For(nil); e.Name() != flagEngine {
		t.Errorf("engine %q", e.Name())
	}
	if got := c.pool.Scraper.URL("10.0.0.1:8000"); got != "http://10.0.0.1:9999/m" {
		t.Errorf("metrics are read at %s", got)
	}
	if w := strings.Join(c.warnings, "\n"); strings.Count(w, "is deprecated: use the plugins") != 3 {
		t.Errorf("warnings %s", w)
	}
	text := "plugins: [{type: core-metrics-extractor, parameters: {defaultEngine: sglang}}]"
	c, err = parsed(t, "-f", "x", "--config-text", text, "--lora-info-metric", "q").loadConfig()
	if err != nil {
		t.Fatal(err)
	}
	if e, _ := c.pool.Engines.For(nil); e.Name() != "sglang" || !strings.Contains(strings.Join(c.warnings, "\n"), "are ignored") {
		t.Errorf("engine %q, warnings %q", e.Name(), c.warnings)
	}
	if _, err := parsed(t, "-f", "x", "--model-server-metrics-scheme", "ftp").loadConfig(); err == nil {
		t.Error("a scheme that is none is accepted")
	}
}

// authority writes certificates for localhost and for a client, and its own.
func authority(t *testing.T, dir string) (ca string, client tls.Certificate) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	write := func(name, kind string, der []byte) string {
		path := filepath.Join(dir, name)
		must(os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
		return path
	}
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	root := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ca"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	caDER, err := x509.CreateCertificate(rand.Reader, root, root, &caKey.PublicKey, caKey)
	must(err)
	ca = write("ca.crt", "CERTIFICATE", caDER)
	issue := func(name string, n int64) tls.Certificate {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		must(err)
		c := &x509.Certificate{SerialNumber: big.NewInt(n), DNSNames: []string{"localhost"}, NotBefore: root.NotBefore, NotAfter: root.NotAfter, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
		der, err := x509.CreateCertificate(rand.Reader, c, root, &key.PublicKey, caKey)
		must(err)
		keyDER, err := x509.MarshalECPrivateKey(key)
		must(err)
		pair, err := tls.LoadX509KeyPair(write(name+".crt", "CERTIFICATE", der), write(name+".key", "EC PRIVATE KEY", keyDER))
		must(err)
		return pair
	}
	issue("tls", 2)
	return ca, issue("client", 3)
}

// TestSecureMetrics: the metrics port asks for a client certificate and for the
// cluster's permission, and speaks no TLS that is too old; nor does the picker's port.
func TestSecureMetrics(t *testing.T) {
	dir := t.TempDir()
	ca, client := authority(t, dir)
	// A cluster that knows one token, and lets its owner read metrics.
	cluster := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		o := map[string]any{} // the question may be protobuf; its strings are there all the same
		switch {
		case strings.HasSuffix(r.URL.Path, "/tokenreviews"):
			good := strings.Contains(string(b), "good-token")
			o["apiVersion"], o["kind"] = "authentication.k8s.io/v1", "TokenReview"
			o["status"] = map[string]any{"authenticated": good, "user": map[string]any{"username": "prometheus"}}
		case strings.HasSuffix(r.URL.Path, "/subjectaccessreviews"):
			o["apiVersion"], o["kind"] = "authorization.k8s.io/v1", "SubjectAccessReview"
			o["status"] = map[string]any{"allowed": strings.Contains(string(b), "/metrics")}
		}
		w.Header().Set("content-type", "application/json")
		_ = json.NewEncoder(w).Encode(o)
	}))
	defer cluster.Close()
	kubeconfig := filepath.Join(dir, "kubeconfig")
	if err := os.WriteFile(kubeconfig, []byte("apiVersion: v1\nkind: Config\nclusters: [{name: c, cluster: {server: '"+cluster.URL+"'}}]\ncontexts: [{name: c, context: {cluster: c, user: u}}]\nusers: [{name: u, user: {}}]\ncurrent-context: c\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	endpoints := filepath.Join(dir, "endpoints.yaml")
	writeEndpoints(t, endpoints, "a")
	port, grpcPort := testkit.FreePort(t), testkit.FreePort(t)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var log testkit.Log
	cmd := newEPPCommand()
	cmd.SetErr(&log)
	cmd.SetArgs([]string{
		"--endpoints-file", endpoints, "--grpc-port", fmt.Sprint(grpcPort), "--grpc-health-port", "0", "--metrics-port", fmt.Sprint(port), "--drain-timeout", "1s",
		"--metrics-cert-dir", dir, "--metrics-client-ca-file", ca, "--metrics-endpoint-auth", "--kubeconfig", kubeconfig, "--tls-min-version", "VersionTLS13",
	})
	done := make(chan error, 1)
	go func() { done <- cmd.ExecuteContext(ctx) }()
	pool := x509.NewCertPool()
	b, err := os.ReadFile(ca)
	if err != nil || !pool.AppendCertsFromPEM(b) {
		t.Fatal(err)
	}
	get := func(path, token string, c *tls.Config) int {
		c.RootCAs, c.ServerName = pool, "localhost"
		h := &http.Client{Transport: &http.Transport{TLSClientConfig: c, DisableKeepAlives: true}}
		req, err := http.NewRequestWithContext(ctx, "GET", fmt.Sprintf("https://127.0.0.1:%d%s", port, path), nil)
		if err != nil {
			t.Fatal(err)
		}
		if token != "" {
			req.Header.Set("Authorization", "Bearer "+token)
		}
		resp, err := h.Do(req)
		if err != nil {
			return 0
		}
		_ = resp.Body.Close()
		return resp.StatusCode
	}
	mine := func() *tls.Config { return &tls.Config{Certificates: []tls.Certificate{client}} }
	eventually(t, "ready", &log, func() bool { return get("/readyz", "", mine()) == 200 })
	old := mine()
	old.MaxVersion = tls.VersionTLS12
	for _, tc := range []struct {
		name, path, token string
		tls               *tls.Config
		want              int
	}{
		{"allowed", "/metrics", "good-token", mine(), 200}, {"no token", "/metrics", "", mine(), 401}, {"another token", "/metrics", "bad", mine(), 401},
		{"not allowed", "/fairway/v1/decisions", "good-token", mine(), 403}, {"no certificate", "/metrics", "good-token", &tls.Config{}, 0}, {"old TLS", "/metrics", "good-token", old, 0},
	} {
		if got := get(tc.path, tc.token, tc.tls); got != tc.want {
			t.Errorf("%s: %d, want %d", tc.name, got, tc.want)
		}
	}
	for version, want := range map[uint16]bool{tls.VersionTLS12: false, tls.VersionTLS13: true} {
		conn, err := tls.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", grpcPort), &tls.Config{InsecureSkipVerify: true, MaxVersion: version, NextProtos: []string{"h2"}})
		if (err == nil) != want {
			t.Errorf("the picker's port, TLS %x: %v", version, err)
		}
		if err == nil {
			_ = conn.Close()
		}
	}
	if strings.Contains(log.String(), "good-token") {
		t.Error("a token is in the log")
	}
	stop()
	if err := <-done; err != nil {
		t.Errorf("epp: %v\n%s", err, &log)
	}
}
