package main

import (
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/pflag"
)

func replicaArgs(t *testing.T, args ...string) *replicaFlags {
	t.Helper()
	var r replicaFlags
	namespace := "prod"
	fs := pflag.NewFlagSet("", pflag.ContinueOnError)
	r.register(fs, &namespace)
	if err := fs.Parse(args); err != nil {
		t.Fatal(err)
	}
	return &r
}

func TestReplicaFlagsAreChecked(t *testing.T) {
	for _, good := range [][]string{
		nil,
		{"--replica-port=9005", "--replica-dns=fairway", "--replica-insecure"},
		{"--replica-port=9005", "--replica-dns=a,b:9006,10.0.0.1:9005", "--replica-insecure"},
		{"--replica-port=9005", "--replica-service=a/b", "--replica-tls-dir=/certs", "--replica-tls-name=fairway.ns.svc"},
	} {
		if errs := replicaArgs(t, good...).validate(); len(errs) > 0 {
			t.Errorf("%v: %v", good, errs)
		}
	}
	for want, args := range map[string][]string{
		"--replica-dns: is of no use":           {"--replica-dns=fairway"},
		"--replica-port: 70000 is not a port":   {"--replica-port=70000", "--replica-dns=x", "--replica-insecure"},
		"--replica-id: is missing":              {"--replica-port=1", "--replica-id=", "--replica-dns=x", "--replica-insecure"},
		"--replica-dns: set exactly one":        {"--replica-port=1", "--replica-service=x", "--replica-dns=x", "--replica-insecure"},
		"\"a:b\" is not a host or host:port":    {"--replica-port=1", "--replica-dns=a:b", "--replica-insecure"},
		"--replica-insecure: set exactly one":   {"--replica-port=1", "--replica-dns=x"},
		"--replica-tls-name: set both or none":  {"--replica-port=1", "--replica-dns=x", "--replica-tls-dir=/certs"},
		"--replica-service and --replica-dns: ": {"--replica-port=1", "--replica-insecure"},
	} {
		if err := errors.Join(replicaArgs(t, args...).validate()...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: got %v, want %q", args, err, want)
		}
	}
}

func TestReplicasAreOptional(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	s, err := replicaArgs(t).open(nil, "", prometheus.NewRegistry(), log)
	if err != nil || s != nil {
		t.Errorf("without a port: %v, %v", s, err)
	}
	s.into(nil)
	s.close()
	if err := s.run(t.Context(), nil); err != nil {
		t.Error(err)
	}
	_, err = replicaArgs(t, "--replica-port=9005", "--replica-dns=x", "--replica-tls-dir="+t.TempDir(), "--replica-tls-name=n").
		open(nil, "", prometheus.NewRegistry(), log)
	if err == nil || !strings.Contains(err.Error(), "--replica-tls-dir") {
		t.Errorf("certificates that are not there: %v", err)
	}
}
