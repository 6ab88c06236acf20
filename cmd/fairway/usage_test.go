package main

import (
	"io"
	"strings"
	"testing"
)

// TestMistakes: what is most likely typed wrong is named, with what to write.
func TestMistakes(t *testing.T) {
	for line, want := range map[string]string{
		"run fairway.yaml":                      `fairway run takes no arguments, and got "fairway.yaml"; write -f fairway.yaml for a file`,
		"run here":                              `fairway run takes no arguments, and got "here"`,
		"run --modle x":                         "unknown flag: --modle; did you mean --model?",
		"run --xyzzy":                           "unknown flag: --xyzzy; fairway run --help lists them",
		"run -f ../../examples/epp-config.yaml": `kind: "EndpointPickerConfig" is not read from this file: give it with --config-file`,
		"run --config-file ../../examples/fairway.yaml": `kind: is "InferencePool": must be EndpointPickerConfig`,
		"run --config-file nope.yaml":                   "--config-file: open nope.yaml: no such file or directory",
		"run --speed 0":                                 "--speed 0: must be greater than 0",
		"epp llama":                                     `fairway epp takes no arguments, and got "llama"`,
		"epp --endpoint-selector app=x":                 "--endpoint-target-ports: there are 0; name 1 to 8",
		"explain a b":                                   `fairway explain takes one request ID, and got 2 arguments`,
		"explain -n 0":                                  "--count 0: must be 1 or more",
		"sim extra":                                     `fairway sim takes no arguments, and got "extra"`,
		"sim --speed 0":                                 "--speed 0: must be greater than 0",
		"bench reply":                                   `unknown command "reply" for "fairway bench"; did you mean replay?`,
		"bench replay":                                  "which workload? Name a trace with --trace, or a generated one with --generate",
		"bench replay --generate foo":                   `--generate: workload "foo": must be one of`,
		"config validat x":                              `unknown command "validat" for "fairway config"; did you mean validate?`,
		"config validate":                               "name the file, as in fairway config validate epp-config.yaml; there are 0",
		"config explain a b":                            "name the file, as in fairway config explain epp-config.yaml; there are 2",
		"config convert objects.yaml":                   `; write -f objects.yaml for a file`,
	} {
		root := newRootCommand()
		args := strings.Fields(line)
		if strings.HasPrefix(line, "run -") {
			args = append(args, "--envoy", "/proc/self/exe") // any file: it is not come to
		}
		root.SetArgs(args)
		root.SetOut(io.Discard)
		root.SetErr(io.Discard)
		if err := root.ExecuteContext(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("fairway %s: %v, want %s", line, err, want)
		} else if strings.Count(err.Error(), "--config-file:") > 1 {
			t.Errorf("fairway %s: %v says where twice", line, err)
		}
	}
}
