package main

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"github.com/fairway-ai/fairway/gateway/cluster"
)

// gatewayArgs parses flags of fairway gateway, on top of those it cannot do without.
func gatewayArgs(t *testing.T, args ...string) *gatewayFlags {
	t.Helper()
	var f gatewayFlags
	fs := pflag.NewFlagSet("gateway", pflag.ContinueOnError)
	f.register(fs)
	if err := fs.Parse(append([]string{"--namespace=fairway-system", "--identity=a", "--insecure"}, args...)); err != nil {
		t.Fatal(err)
	}
	return &f
}

func TestGatewayFlagsAreChecked(t *testing.T) {
	if err := gatewayArgs(t).validate(); err != nil {
		t.Fatalf("the least set of flags: %v", err)
	}
	for _, c := range []struct {
		name string
		args []string
		want string
	}{
		{"no namespace", []string{"--namespace="}, "--namespace: is missing"},
		{"no service", []string{"--service="}, "--service: must name"},
		{"no identity", []string{"--identity="}, "--identity: is missing"},
		{"two certificates", []string{"--tls-secret=x"}, "set exactly one"},
		{"no certificate", []string{"--insecure=false"}, "set exactly one"},
		{"no port for Envoy", []string{"--grpc-port=0"}, "--grpc-port: 0 is not a port"},
		{"no such port", []string{"--metrics-port=70000"}, "--metrics-port: 70000 is not a port"},
		{"no port for replicas", []string{"--replica-port=70000"}, "--replica-port: 70000 is not a port"},
		{"replicas that do not share", []string{"--active-active"}, "--active-active: needs --replica-port"},
		{"no time", []string{"--picker-timeout=0s"}, "--picker-timeout: 0s must be longer than 0"},
		{"no body", []string{"--max-body-bytes=0"}, "--max-body-bytes: 0 must be 1 to"},
	} {
		if err := gatewayArgs(t, c.args...).validate(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", c.name, err, c.want)
		}
	}
	if err := gatewayArgs(t, "--health-port=0", "--metrics-port=0").validate(); err != nil {
		t.Errorf("ports that are optional: %v", err)
	}
}

func TestGatewayReadsItsPolicy(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config.yaml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	o := cluster.Options{Log: slog.New(slog.DiscardHandler)}
	if err := gatewayArgs(t).policy(&o); err != nil || o.Policy != nil || !o.Scrape {
		t.Errorf("without a file: policy %v, scrape %v, %v", o.Policy != nil, o.Scrape, err)
	}
	write("apiVersion: llm-d.ai/v1alpha1\nkind: EndpointPickerConfig\nplugins: [{type: queue-scorer}]\nschedulingProfiles: [{name: default, plugins: [{pluginRef: queue-scorer}]}]\n")
	if err := gatewayArgs(t, "--config-file", file).policy(&o); err != nil || o.Policy == nil || o.Policy() == nil {
		t.Errorf("with a file: policy %v, %v", o.Policy != nil, err)
	}
	write("plugins: [{name: e, type: file-discovery, parameters: {path: endpoints.yaml}}]\ndataLayer: {discovery: {pluginRef: e}}\n")
	if err := gatewayArgs(t, "--config-file", file).policy(&o); err == nil || !strings.Contains(err.Error(), "remove the file-discovery plugin") {
		t.Errorf("with endpoints in a file: %v", err)
	}
}
