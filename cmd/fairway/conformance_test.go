package main

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	conformance "github.com/fairway-ai/fairway/conformance/epp"
	"github.com/fairway-ai/fairway/epp"
)

// judged runs fairway conformance epp.
func judged(t *testing.T, args ...string) (string, error) {
	t.Helper()
	cmd := newRootCommand()
	var out bytes.Buffer
	cmd.SetOut(&out)
	cmd.SetErr(&out)
	cmd.SetArgs(append([]string{"conformance", "epp"}, args...))
	err := cmd.ExecuteContext(t.Context())
	return out.String(), err
}

// emptyPicker serves a picker without pools, which picks nothing.
func emptyPicker(t *testing.T) (target, ca string) {
	t.Helper()
	config, err := epp.SelfSignedTLS(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	p, err := epp.New(epp.Options{})
	if err != nil {
		t.Fatal(err)
	}
	s, err := epp.NewServer(epp.ServerOptions{Picker: p, GRPCAddr: "127.0.0.1:0", TLS: config, HealthOnGRPC: true})
	if err != nil {
		t.Fatal(err)
	}
	s.SetReady(true)
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() { stop(); <-done })
	ca = filepath.Join(t.TempDir(), "ca.pem")
	cert, err := config.GetCertificate(nil)
	if err != nil {
		t.Fatal(err)
	}
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Certificate[0]})
	if err := os.WriteFile(ca, block, 0o600); err != nil {
		t.Fatal(err)
	}
	addr, _, _ := s.Addrs()
	return addr.String(), ca
}

func TestConformanceCommand(t *testing.T) {
	target, ca := emptyPicker(t)
	out, err := judged(t, "--target", target, "--run", "^health/", "-v")
	if err != nil || strings.Count(out, "ok    ") != 5 || !strings.Contains(out, "clause  ") {
		t.Errorf("%v:\n%s", err, out)
	}
	report := filepath.Join(t.TempDir(), "report.yaml")
	out, err = judged(t, "--target", target, "--run", "^(pick/header|health/protocol)$", "--json", "--report", report)
	if err == nil || !strings.Contains(err.Error(), "fails 1 of") {
		t.Errorf("error %v, want one MUST failed", err)
	}
	var r conformance.Report
	if err := json.Unmarshal([]byte(out), &r); err != nil || len(r.Results) != 2 || r.Version != version || r.Summary.Must.Failed != 1 {
		t.Errorf("%v: %s", err, out)
	}
	b, err := os.ReadFile(report)
	if err != nil {
		t.Fatal(err)
	}
	var y conformance.Report
	if err := yaml.Unmarshal(b, &y); err != nil || y.Results[0].ID != "pick/header" || y.Results[0].Failure == nil {
		t.Errorf("%v: %s", err, b)
	}
	if _, err := judged(t, "--target", target, "--ca", ca, "--server-name", "elsewhere", "--run", "^health/", "--timeout", "2s"); err == nil {
		t.Error("a certificate of another name is accepted")
	}
	out, err = judged(t, "--list", "--run", "^subset/")
	if err != nil || strings.Count(out, "`subset/") != 8 {
		t.Errorf("%v:\n%s", err, out)
	}
}

func TestConformanceFlags(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for want, args := range map[string]string{
		"--target: is missing":            "",
		"--run: error parsing":            "--target x:1 --run (",
		"--run: no case":                  "--target x:1 --run nothing",
		"--timeout: 0s must":              "--target x:1 --timeout 0s",
		"--report: \"r.txt\"":             "--target x:1 --report r.txt",
		"--plaintext: has no certificate": "--target x:1 --plaintext --ca x",
		"--server-name: is only":          "--target x:1 --server-name x",
		"--ca: open":                      "--target x:1 --ca /does/not/exist",
		"holds no PEM":                    "--target x:1 --ca " + empty,
		"endpoints[0]":                    "--target x:1 --endpoints pod:80",
	} {
		if _, err := judged(t, strings.Fields(args)...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want %q", args, err, want)
		}
	}
}
