package main

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/fairway-ai/fairway/epp/explain"
)

// everyCommand calls f with a command and all below it.
func everyCommand(c *cobra.Command, f func(*cobra.Command)) {
	f(c)
	for _, sub := range c.Commands() {
		everyCommand(sub, f)
	}
}

// TestEveryFlagIsCompleted: a new flag whose value is text must say what it is: one of a
// set of values, a file, a directory, or a text that nobody can know beforehand.
func TestEveryFlagIsCompleted(t *testing.T) {
	named := map[string]bool{}
	n := 0
	everyCommand(newRootCommand(), func(c *cobra.Command) {
		c.LocalFlags().VisitAll(func(f *pflag.Flag) {
			n++
			switch valueKind(f) {
			case kindUnknown:
				word, _ := pflag.UnquoteUsage(f)
				t.Errorf("%s --%s: what is a %q? Give it a set of values with oneOf, known or offered, or call it `file`, `directory` or a word of freeText in its help", c.CommandPath(), f.Name, word)
			case kindFile:
				named[f.Name] = true
			}
			if _, ok := c.GetFlagCompletionFunc(f.Name); !ok {
				t.Errorf("%s --%s has no completion", c.CommandPath(), f.Name)
			}
		})
		if c.ValidArgsFunction == nil {
			t.Errorf("%s: its arguments complete to files", c.CommandPath())
		}
	})
	for name := range fileEndings() {
		if !named[name] {
			t.Errorf("there are endings for --%s, which no command has as a file", name)
		}
	}
	if n < 150 {
		t.Errorf("found only %d flags", n)
	}
}

// TestUnknownFlagsAreSeen: the flag that TestEveryFlagIsCompleted is for.
func TestUnknownFlagsAreSeen(t *testing.T) {
	for usage, want := range map[string]kind{
		"format of the answer, short or long": kindUnknown,
		"a `thing`":                           kindUnknown,
		"a `file`":                            kindFile,
		"a `directory`":                       kindDirectory,
		"its `name`":                          kindNothing,
	} {
		fs := pflag.NewFlagSet("", pflag.ContinueOnError)
		fs.String("new", "", usage)
		if got := valueKind(fs.Lookup("new")); got != want {
			t.Errorf("%q: %d, want %d", usage, got, want)
		}
	}
}

// TestClosedSetsAreChecked: of a flag that shells offer values for, the program takes
// each of them, and its default is one or none.
func TestClosedSetsAreChecked(t *testing.T) {
	everyCommand(newRootCommand(), func(c *cobra.Command) {
		c.LocalFlags().VisitAll(func(f *pflag.Flag) {
			values := f.Annotations[valuesKey]
			if values == nil {
				return
			}
			if len(values) < 2 {
				t.Errorf("%s --%s offers only %q", c.CommandPath(), f.Name, values)
			}
			if d := strings.Trim(f.DefValue, "[]"); d != "" && !slices.Contains(values, d) {
				t.Errorf("%s --%s: the default %q is none of %q", c.CommandPath(), f.Name, d, values)
			}
			for _, v := range values {
				if err := f.Value.Set(v); err != nil {
					t.Errorf("%s --%s: its value %q is refused: %v", c.CommandPath(), f.Name, v, err)
				}
			}
		})
	})
}

// completed is what a shell is told: the candidates and the directive.
func completed(t *testing.T, args ...string) ([]string, string) {
	t.Helper()
	root := newRootCommand()
	var out bytes.Buffer
	root.SetOut(&out)
	root.SetErr(new(bytes.Buffer))
	root.SetArgs(append([]string{cobra.ShellCompNoDescRequestCmd}, args...))
	if err := root.ExecuteContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	return lines[:len(lines)-1], lines[len(lines)-1]
}

// The directives, as cobra writes them for shells.
const (
	asIs      = ":0"
	noFiles   = ":4"
	listGoes  = ":6"
	endings   = ":8"
	folders   = ":16"
	noFilesIn = ":36" // and in this order
)

func TestCompletion(t *testing.T) {
	for _, tt := range []struct {
		line, directive string
		want            string // the candidates; ... stands for any further ones
	}{
		{"run --failure-mode |", noFiles, "FailOpen FailClose"},
		{"run --log-level |", noFiles, "debug info warn error"},
		{"run --log-level=w|", noFiles, "warn"},
		{"run -f |", endings, "yaml yml json"},
		{"run --config-file=|", endings, "yaml yml json"},
		{"run --envoy |", asIs, ""},
		{"run --listen |", noFiles, ""},
		{"run --sim |", noFiles, ""},
		{"run --drain-timeout |", noFiles, ""},
		{"run |", noFiles, ""},
		{"gateway --log-format |", noFiles, "text json"},
		{"gateway --tls-dir |", folders, ""},
		{"gateway --kubeconfig |", asIs, ""},
		{"gateway --namespace |", noFiles, ""},
		{"epp --pool-group |", noFiles, "inference.networking.k8s.io inference.networking.x-k8s.io"},
		{"epp --zap-log-level |", noFiles, "debug info error panic"},
		{"epp --zap-encoder |", noFiles, "json console"},
		{"epp --tls-min-version |", noFiles, "VersionTLS12 VersionTLS13"},
		{"epp --tls-cipher-suites TLS_ECDHE_RSA_WITH_AES_1|", listGoes, "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA ..."},
		{"epp --feature-gates dataLayer,fl|", listGoes, "dataLayer,flowControl"},
		{"epp --cert-path |", folders, ""},
		{"epp --metrics-client-ca-file |", endings, "pem crt cer"},
		{"epp --tokenizer-file |", endings, "json"},
		{"epp --model-server-metrics-scheme |", noFiles, "http https"},
		{"epp -v |", noFiles, ""},
		{"sim --role |", noFiles, "prefill decode encode both"},
		{"sim --kv-events-format |", noFiles, "array map sglang"},
		{"bench |", noFiles, "egress gateway idle kvcache replay requests trace"},
		{"bench replay --generate |", noFiles, "agents retrieval unique bursts adapters"},
		{"bench replay --policy sticky,l|", listGoes, "sticky,llmd-blend sticky,lmetric sticky,least-request"},
		{"bench replay --policy sticky,st|", listGoes, ""},
		{"bench replay --index |", noFiles, "exact approximate"},
		{"bench replay --plot |", endings, "svg"},
		{"bench replay --trace |", endings, "jsonl json"},
		{"bench trace --generate a|", noFiles, "agents adapters"},
		{"config |", noFiles, "convert explain validate"},
		{"config validate |", endings, "yaml yml json"},
		{"config validate a.yaml |", endings, "yaml yml json"},
		{"config explain |", endings, "yaml yml json"},
		{"config explain a.yaml |", noFiles, ""},
		{"config convert -o |", endings, "yaml yml json"},
		{"conformance |", noFiles, "epp gaie"},
		{"conformance epp --run subset/n|", noFiles, "subset/none-eligible ..."},
		{"conformance gaie --epp |", noFiles, "reference fairway"},
		{"conformance gaie --run-test Fairway|", noFiles, "FairwayPickerGoneFailClose FairwayPickerGoneFailOpen"},
		{"conformance gaie --report |", endings, "yaml yml json"},
		{"version |", noFiles, ""},
		{"completion |", noFiles, "bash fish powershell zsh"},
		{"help conf|", noFiles, "config conformance"},
		{"c|", noFiles, "completion config conformance"},
	} {
		words := strings.Split(strings.TrimSuffix(tt.line, "|"), " ")
		got, directive := completed(t, words...)
		want, more := strings.CutSuffix(tt.want, "...")
		slices.Sort(got)
		wanted := strings.Fields(want)
		slices.Sort(wanted)
		same := slices.Equal(got, wanted)
		if more {
			same = len(wanted) > 0 && !slices.ContainsFunc(wanted, func(w string) bool { return !slices.Contains(got, w) })
		}
		if !same || directive != tt.directive {
			t.Errorf("fairway %s: %q %s, want %q %s", tt.line, got, directive, tt.want, tt.directive)
		}
	}
}

// TestCompletionOfRequests: explain offers the latest requests of the picker at --addr,
// and of their IDs, which clients choose, none that a shell would take for more.
func TestCompletionOfRequests(t *testing.T) {
	picker := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != explain.Path {
			t.Errorf("asked for %s", r.URL)
		}
		if err := json.NewEncoder(w).Encode([]explain.Decision{{ID: "b-2"}, {ID: "$(reboot)"}, {ID: "a\tb"}, {ID: "-f"}, {ID: ""}, {ID: "a-1"}}); err != nil {
			t.Error(err)
		}
	}))
	defer picker.Close()
	for line, want := range map[string]string{
		"explain --addr " + picker.URL + " |":     "b-2 a-1",
		"explain --addr " + picker.URL + " a|":    "a-1",
		"explain --addr " + picker.URL + " b-2 |": "",
		"explain --addr 127.0.0.1:1 |":            "",
		"explain --addr |":                        "",
	} {
		got, directive := completed(t, strings.Split(strings.TrimSuffix(line, "|"), " ")...)
		wantDirective := noFilesIn
		if strings.HasSuffix(line, "--addr |") {
			wantDirective = noFiles
		}
		if strings.Join(got, " ") != want || directive != wantDirective {
			t.Errorf("fairway %s: %q %s, want %q %s", line, got, directive, want, wantDirective)
		}
	}
}
