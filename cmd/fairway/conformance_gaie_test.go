package main

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestConformanceGAIEFlags(t *testing.T) {
	for want, args := range map[string]string{
		`--epp: "lwepp" must be reference or fairway`: "--epp lwepp",
		"--epp-image: is missing":                     "--epp fairway",
		"--epp-image: is only for":                    "--epp-image x",
		`--run-test: no test is called "Nobody"`:      "--run-test Nobody",
		"--gateway-class: is empty":                   "--gateway-class=",
		"--timeout: 0s must be longer than 0":         "--timeout 0s",
		"--kubeconfig: stat /does/not/exist":          "--kubeconfig /does/not/exist",
	} {
		root := newRootCommand()
		root.SetOut(io.Discard)
		root.SetArgs(append([]string{"conformance", "gaie"}, strings.Fields(args)...))
		if err := root.ExecuteContext(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want %q", args, err, want)
		}
	}
}

// TestConformanceGAIEWithoutCluster: where no test can run there is one error, which
// names what is missing, and nothing that looks like a result.
func TestConformanceGAIEWithoutCluster(t *testing.T) {
	away := httptest.NewServer(http.NotFoundHandler())
	away.Close()
	refused := filepath.Join(t.TempDir(), "kubeconfig")
	text := "apiVersion: v1\nkind: Config\nclusters: [{name: c, cluster: {server: '" + away.URL + "'}}]\n" +
		"contexts: [{name: c, context: {cluster: c}}]\ncurrent-context: c\n"
	if err := os.WriteFile(refused, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for kubeconfig, want := range map[string]string{
		"/does/not/exist": "$KUBECONFIG /does/not/exist: there is no such file; name the cluster's with --kubeconfig",
		refused:           "the cluster at " + away.URL + ", named by $KUBECONFIG " + refused + ", gives no answer",
	} {
		t.Setenv("KUBECONFIG", kubeconfig)
		var out bytes.Buffer
		// Its own command would run this test's program once more.
		o := gaieOptions{epp: pickerReference, command: []string{"/does/not/exist"}}
		o.GatewayClass, o.Timeout = "fairway", time.Minute
		err := o.judge(t.Context(), &out, &out)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: error %v, want one line with %q", kubeconfig, err, want)
		} else if exitCode(err) != 1 {
			t.Errorf("%s: exit status %d, want 1", kubeconfig, exitCode(err))
		}
		if out.Len() > 0 {
			t.Errorf("%s: printed %q, want nothing but the error", kubeconfig, out.String())
		}
	}
}

func TestConformanceGAIEList(t *testing.T) {
	cmd := newConformanceGAIECommand()
	var out bytes.Buffer
	cmd.SetOut(&out)
	cmd.SetArgs([]string{"--list"})
	if err := cmd.Execute(); err != nil || strings.Count(out.String(), "\n") != 16 {
		t.Errorf("%v:\n%s", err, out.String())
	}
}
