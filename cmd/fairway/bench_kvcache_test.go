package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/fairway-ai/fairway/bench"
)

func TestBenchKVCache(t *testing.T) {
	rows := benchRows[bench.KVCacheResult](t, "kvcache --endpoints 2 --blocks 4000 --duration 200ms --json")
	if len(rows) != 1 || rows[0].Blocks < 4000 || rows[0].Endpoints != 2 {
		t.Errorf("%+v", rows)
	}
	for args, want := range map[string]string{
		"--endpoints 0": "--endpoints: 0 ", "--blocks 100": "--blocks: 100 ", "--rate 0": "--rate: 0 ", "--duration 1ms": "--duration: 1ms ",
	} {
		cmd := newBenchCommand()
		var out bytes.Buffer
		cmd.SetOut(&out)
		cmd.SetErr(&out)
		cmd.SetArgs(append([]string{"kvcache"}, strings.Fields(args)...))
		if err := cmd.ExecuteContext(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", args, err)
		}
	}
}
