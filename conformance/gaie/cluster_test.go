package gaie

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// fakeCluster answers what CheckCluster asks. missing are the paths it does not have;
// without /version, it refuses whoever asks.
func fakeCluster(t *testing.T, missing ...string) *httptest.Server {
	t.Helper()
	answers := map[string]any{
		"/version": map[string]any{"major": "1", "minor": "36"},
		"/apis/" + gatewayGroup + "/v1": map[string]any{"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": gatewayGroup + "/v1", "resources": []any{
			map[string]any{"name": "gatewayclasses", "kind": "GatewayClass"},
			map[string]any{"name": "gateways", "kind": "Gateway", "namespaced": true},
			map[string]any{"name": "httproutes", "kind": "HTTPRoute", "namespaced": true},
		}},
		"/apis/" + poolGroup + "/v1": map[string]any{"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": poolGroup + "/v1", "resources": []any{
			map[string]any{"name": "inferencepools", "kind": "InferencePool", "namespaced": true},
		}},
		"/apis/" + gatewayGroup + "/v1/gatewayclasses/fairway": object("GatewayClass", "fairway"),
		"/apis/" + gatewayGroup + "/v1/gatewayclasses": map[string]any{
			"kind": "GatewayClassList", "apiVersion": gatewayGroup + "/v1", "metadata": map[string]any{},
			"items": []any{object("GatewayClass", "istio"), object("GatewayClass", "other")},
		},
	}
	for _, path := range missing {
		delete(answers, path)
	}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		answer, ok := answers[r.URL.Path]
		switch {
		case answers["/version"] == nil:
			w.WriteHeader(http.StatusUnauthorized)
			answer = status(http.StatusUnauthorized, "Unauthorized")
		case !ok:
			w.WriteHeader(http.StatusNotFound)
			answer = status(http.StatusNotFound, "NotFound")
		}
		if err := json.NewEncoder(w).Encode(answer); err != nil {
			t.Error(err)
		}
	}))
	t.Cleanup(s.Close)
	return s
}

func object(kind, name string) map[string]any {
	return map[string]any{"kind": kind, "apiVersion": gatewayGroup + "/v1", "metadata": map[string]any{"name": name}}
}

func status(code int, reason string) map[string]any {
	return map[string]any{"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "code": code}
}

// kubeconfigOf writes a kubeconfig for a server.
func kubeconfigOf(t *testing.T, server string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "kubeconfig")
	text := "apiVersion: v1\nkind: Config\nclusters: [{name: c, cluster: {server: '" + server + "'}}]\n" +
		"contexts: [{name: c, context: {cluster: c}}]\ncurrent-context: c\n"
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// TestCheckCluster: what is missing is named, with the fix.
func TestCheckCluster(t *testing.T) {
	t.Setenv("KUBECONFIG", "")
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	t.Setenv("HOME", t.TempDir())
	classes := "/apis/" + gatewayGroup + "/v1/gatewayclasses"
	for _, tt := range []struct {
		name, class   string
		missing, want []string
	}{
		{name: "all there"},
		{name: "no Gateway API", missing: []string{"/apis/" + gatewayGroup + "/v1"}, want: []string{"has no gatewayclasses.gateway.networking.k8s.io of version v1", "install the Gateway API's CRDs 1.6.1"}},
		{name: "no pools", missing: []string{"/apis/" + poolGroup + "/v1"}, want: []string{"has no inferencepools.inference", "install the Gateway API Inference Extension's CRDs 1.6.0"}},
		{name: "another class", class: "nobody", want: []string{`--gateway-class: the cluster at http://`, `no GatewayClass "nobody": it has istio, other; name the one`}},
		{name: "no class", missing: []string{classes, classes + "/fairway"}, want: []string{`no GatewayClass "fairway": it has none`}},
		{name: "refused", missing: []string{"/version"}, want: []string{"gives no answer", "use credentials of an administrator"}},
	} {
		o := Options{GatewayClass: "fairway", Kubeconfig: kubeconfigOf(t, fakeCluster(t, tt.missing...).URL)}
		if tt.class != "" {
			o.GatewayClass = tt.class
		}
		checkErr(t, tt.name, CheckCluster(t.Context(), o), tt.want...)
	}
}

// TestCheckFindsNoCluster: which kubeconfig is wrong, and how, is named.
func TestCheckFindsNoCluster(t *testing.T) {
	home := t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	gone := fakeCluster(t)
	address := gone.URL
	gone.Close()
	away := kubeconfigOf(t, address)
	nothing := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(nothing, []byte("x: 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, flag, env string
		want            []string
	}{
		{"none", "", "", []string{"there is no cluster: neither --kubeconfig nor $KUBECONFIG", "name it with --kubeconfig"}},
		{"no file in the environment", "", "/does/not/exist", []string{"$KUBECONFIG /does/not/exist: there is no such file; name the cluster's with --kubeconfig"}},
		{"no kubeconfig in the environment", "", nothing, []string{"$KUBECONFIG " + nothing + ": is no kubeconfig with a current context"}},
		{"a directory", home, "", []string{"--kubeconfig " + home, "is a directory"}},
		{"nobody there", away, "", []string{"the cluster at " + address + ", named by --kubeconfig " + away + ", gives no answer", "connection refused", "is it running"}},
		{"nobody there by the environment", "", away, []string{"named by $KUBECONFIG " + away + ", gives no answer"}},
	} {
		t.Setenv("KUBECONFIG", tt.env)
		err := CheckCluster(t.Context(), Options{GatewayClass: "fairway", Kubeconfig: tt.flag})
		if err == nil {
			t.Errorf("%s: no error", tt.name)
			continue
		}
		checkErr(t, tt.name, err, tt.want...)
	}
}

// checkErr: err is one line with all of want, or nil without any.
func checkErr(t *testing.T, name string, err error, want ...string) {
	t.Helper()
	if (err != nil) != (len(want) > 0) {
		t.Errorf("%s: error %v, want %q", name, err, want)
		return
	}
	for _, w := range want {
		if !strings.Contains(err.Error(), w) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: error %v, want %q in one line", name, err, w)
		}
	}
}

// TestCheckComesFirst: where the check fails no child is started, and there is no result
// to print.
func TestCheckComesFirst(t *testing.T) {
	missing := errors.New("the cluster is missing")
	r := Runner{Command: []string{"/does/not/exist"}, Check: func(context.Context, Options) error { return missing }, Progress: t.Output()}
	res, err := r.Run(t.Context(), Options{GatewayClass: "fairway"})
	if !errors.Is(err, missing) {
		t.Errorf("error %v, want the check's", err)
	}
	var out strings.Builder
	if err := res.WriteSummary(&out); err != nil || out.Len() > 0 {
		t.Errorf("%v, printed %q, want nothing", err, out.String())
	}
}
