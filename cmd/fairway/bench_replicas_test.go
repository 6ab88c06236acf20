package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/fairway-ai/fairway/sim/replay"
)

func benchReplay(t *testing.T, args ...string) (string, error) {
	t.Helper()
	cmd := newBenchCommand()
	var out bytes.Buffer
	cmd.SetOut(&out)
	cmd.SetErr(&bytes.Buffer{})
	cmd.SetArgs(append([]string{"replay", "--generate", "agents", "--requests", "200", "--policy", "default"}, args...))
	err := cmd.ExecuteContext(t.Context())
	return out.String(), err
}

func TestBenchReplayComparesReplicas(t *testing.T) {
	out, err := benchReplay(t, "--replicas", "3", "--staleness", "20ms")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"one replica", "3, 20ms behind", "3, not sharing", "p90 vs first"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is missing in\n%s", want, out)
		}
	}
	out, err = benchReplay(t, "--replicas", "2", "--json")
	if err != nil {
		t.Fatal(err)
	}
	var rows []replay.Summary
	for d := json.NewDecoder(strings.NewReader(out)); d.More(); {
		var s replay.Summary
		if err := d.Decode(&s); err != nil {
			t.Fatal(err)
		}
		rows = append(rows, s)
	}
	if len(rows) != 3 || rows[0].Replicas != 0 || rows[1].Replicas != 2 || rows[1].Staleness != 0.05 || !rows[2].Alone {
		t.Errorf("%+v", rows)
	}
	for _, args := range [][]string{{"--replicas", "0"}, {"--replicas", "65"}, {"--staleness", "-1s"}, {"--replicas", "2", "--plot", "x.svg"}} {
		if _, err := benchReplay(t, args...); err == nil {
			t.Errorf("%v is accepted", args)
		}
	}
}
