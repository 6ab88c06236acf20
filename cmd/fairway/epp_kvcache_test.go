package main

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"github.com/fairway-ai/fairway/epp/config"
	"github.com/fairway-ai/fairway/epp/kvcache"
)

func kvParsed(args ...string) (*kvFlags, error) {
	var k kvFlags
	fs := pflag.NewFlagSet("epp", pflag.ContinueOnError)
	k.register(fs)
	if err := fs.Parse(args); err != nil {
		return nil, err
	}
	var all []string
	for _, err := range k.validate(fs) {
		all = append(all, err.Error())
	}
	if len(all) > 0 {
		return nil, &errText{strings.Join(all, "\n")}
	}
	return &k, nil
}

type errText struct{ string }

func (e *errText) Error() string { return e.string }

func TestKVFlags(t *testing.T) {
	for args, want := range map[string]string{
		"--kv-events --kv-events-bind=tcp://*:5557":             "set only one",
		"--kv-events-bind=ipc://x":                              "only tcp:// addresses",
		"--kv-events-port=5558":                                 "--kv-events-port: is of use with --kv-events or --kv-events-bind only",
		"--kv-events=false --kv-events-replay-port=1":           "--kv-events-replay-port: is of use",
		"--kv-events-bind=tcp://*:1 --kv-events-port=5558":      "names a port itself",
		"--kv-events --kv-events-port=0":                        "0 is not a port",
		"--kv-events --kv-events-replay-port=70000":             "70000 is not a port",
		"--kv-events --token-budget=0s":                         "must be longer than 0",
		"--token-budget=20ms":                                   "--token-budget: is of use with --kv-events",
		"--tokenizer-file=x":                                    "--tokenizer-file: is of use with --kv-events",
		"--kv-events --tokenizer-file=m=/nowhere/x.json":        "--tokenizer-file m=/nowhere/x.json: open",
		"--kv-events --tokenizer-file=../../README.md":          "--tokenizer-file ../../README.md: tokenizer:",
		"--kv-events --tokenizer-file=TOK --tokenizer-file=TOK": "there is one for that already",
	} {
		k, err := kvParsed(strings.Fields(strings.ReplaceAll(args, "TOK", tokenizerPath))...)
		if err == nil {
			_, err = k.options(&config.Config{}, "")
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", args, err, want)
		}
	}
}

const tokenizerPath = "../../epp/tokens/bpe/testdata/llama3.json"

func TestKVOptions(t *testing.T) {
	options := func(c *config.Config, args ...string) (*kvcache.Options, error) {
		t.Helper()
		k, err := kvParsed(args...)
		if err != nil {
			t.Fatal(err)
		}
		return k.options(c, "config.yaml")
	}
	if o, err := options(&config.Config{}, "--kv-events=false"); o != nil || err != nil {
		t.Errorf("%+v %v without anything", o, err)
	}
	o, err := options(&config.Config{Tokens: config.Tokens{URL: "http://render"}}, "--kv-events", "--kv-events-port=6000", "--kv-events-replay-port=6100", "--token-budget=20ms",
		"--tokenizer-file=m="+tokenizerPath)
	if err != nil {
		t.Fatal(err)
	}
	if e := o.Events; e.Bind != "" || e.SocketPort != 6000 || e.ReplayPort != 6100 {
		t.Errorf("%+v", e)
	}
	if tk := o.Tokens; !tk.Engines || tk.URL != "http://render" || tk.Budget != 20*time.Millisecond || tk.Local("m") == nil || tk.Local("other") != nil {
		t.Errorf("%+v", tk)
	}
	if o, err = options(&config.Config{}, "--kv-events-bind=tcp://*:1", "--tokenizer-file="+tokenizerPath); err != nil || o.Events.Bind != "tcp://*:1" || o.Tokens.Local("other") == nil {
		t.Errorf("%+v %v", o, err)
	}

	file := &config.Config{
		KVCache: &config.KVCache{BlockTokens: 32, Bind: "tcp://*:2", TopicFilter: "kv@", Workers: 3, ReplayPort: 9, SocketPort: 8, TierWeights: map[string]float32{"cpu": .5}},
		Tokens:  config.Tokens{Render: true, Model: "base", Timeout: config.Duration{Duration: time.Second}, ImagesTimeout: config.Duration{Duration: time.Minute}},
	}
	if o, err = options(file, "--token-budget=20ms"); err != nil {
		t.Fatal(err)
	}
	if e := o.Events; e.Bind != "tcp://*:2" || e.TopicFilter != "kv@" || e.Workers != 3 || e.SocketPort != 8 || e.ReplayPort != 9 {
		t.Errorf("%+v", e)
	}
	if x := o.Index; x.BlockTokens != 32 || x.SpeculativeTTL >= 0 || !reflect.DeepEqual(x.TierWeights, file.KVCache.TierWeights) {
		t.Errorf("%+v", x)
	}
	if tk := o.Tokens; !tk.Engines || tk.Model != "base" || tk.Timeout != time.Second || tk.ImagesTimeout != time.Minute || tk.Budget != 20*time.Millisecond {
		t.Errorf("%+v", tk)
	}
	file.KVCache.Speculative, file.KVCache.SpeculativeTTL.Duration = true, time.Second
	if o, err = options(file); err != nil || o.Index.SpeculativeTTL != time.Second {
		t.Errorf("%+v %v", o, err)
	}
	if _, err = options(file, "--kv-events", "--kv-events-port=1"); err == nil || !strings.Contains(err.Error(), "--kv-events, --kv-events-port, and precise-prefix-cache-producer in config.yaml") {
		t.Errorf("%v, want an error that names both", err)
	}
}

// TestKVFlagsOfCommands: both commands have the flags, and check them.
func TestKVFlagsOfCommands(t *testing.T) {
	for _, args := range [][]string{
		{"epp", "-f", "x.yaml"}, {"gateway", "--namespace", "n", "--insecure"},
	} {
		cmd := newRootCommand()
		cmd.SetArgs(append(args, "--kv-events", "--kv-events-bind", "tcp://*:1"))
		cmd.SilenceErrors, cmd.SilenceUsage = true, true
		if err := cmd.ExecuteContext(t.Context()); err == nil || !strings.Contains(err.Error(), "--kv-events and --kv-events-bind") {
			t.Errorf("%s: %v", args[0], err)
		}
	}
}

// TestKVReload: how events are followed cannot change while requests pass.
func TestKVReload(t *testing.T) {
	before, after := &config.Config{}, &config.Config{KVCache: &config.KVCache{}, Tokens: config.Tokens{Render: true}}
	if got := sections(before.NeedsRestart(after)); got != "how KV cache events are followed and where the tokens of requests come from" {
		t.Errorf("%q", got)
	}
}

func TestLoadTokenizerBounds(t *testing.T) {
	if _, err := loadTokenizer(filepath.Join(t.TempDir(), "none")); !os.IsNotExist(err) {
		t.Errorf("%v", err)
	}
}
