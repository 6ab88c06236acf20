package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fairway-ai/fairway/bench"
	"github.com/fairway-ai/fairway/gateway/standalone"
)

// asProgram in the environment makes the test binary the program: benchmarks start
// the program they are part of.
const asProgram = "FAIRWAY_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// benchRows runs a benchmark and reads what it prints.
func benchRows[T any](t *testing.T, args string) []T {
	t.Helper()
	if testing.Short() {
		t.Skip("runs for seconds")
	}
	t.Setenv(asProgram, "1")
	cmd := newBenchCommand()
	var out, errOut bytes.Buffer
	cmd.SetOut(&out)
	cmd.SetErr(&errOut)
	cmd.SetArgs(strings.Fields(args))
	if err := cmd.ExecuteContext(t.Context()); err != nil {
		t.Fatalf("bench %s: %v\n%s", args, err, errOut.String())
	}
	var rows []T
	for d := json.NewDecoder(&out); d.More(); {
		var row T
		if err := d.Decode(&row); err != nil {
			t.Fatal(err)
		}
		rows = append(rows, row)
	}
	return rows
}

func TestBenchRequests(t *testing.T) {
	rows := benchRows[bench.RequestsRow](t, "requests --endpoints 3 --rounds 1 --slice 200ms --concurrency 2 --json")
	if len(rows) != 12 { // two sizes, two body modes, three servers
		t.Fatalf("%d rows, want 12", len(rows))
	}
	for _, r := range rows {
		if r.Rate.Median <= 0 {
			t.Errorf("%s, %s: no requests", r.Case, r.Server)
		}
	}
}

func TestBenchGateway(t *testing.T) {
	envoy := filepath.Join("..", "..", "bin", "envoy")
	if _, err := os.Stat(envoy); err != nil {
		if envoy, err = standalone.FindEnvoy(""); err != nil {
			t.Skip(err)
		}
	}
	rows := benchRows[bench.GatewayRow](t, "gateway --endpoints 2 --requests 8 --rounds 1 --concurrency 2 --json --envoy "+envoy)
	if len(rows) != 4 { // two sizes, streamed and not
		t.Fatalf("%d rows, want 4", len(rows))
	}
	for _, r := range rows {
		if r.Envoy.Rate.Median <= 0 || r.Picker.Rate.Median <= 0 || r.Picker.P50 <= 0 {
			t.Errorf("%s: nothing was measured: %+v", r.Case, r)
		}
	}
}
