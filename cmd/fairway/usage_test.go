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
		"run --xyzzy":                           "unknown flag: --xyzzy; fairway run --help lists the flags",
		"run -f ../../examples/epp-config.yaml": `kind: "EndpointPickerConfig" is not read from this file: give it with --config-file`,
		"run --config-file ../../examples/fairway.yaml": `kind: is "InferencePool": must be EndpointPickerConfig`,
		"run --config-file nope.yaml":                   "--config-file: open nope.yaml: no such file or directory",
		"run --speed 0":                                 "--speed: 0 must be greater than 0",
		"epp llama":                                     `fairway epp takes no arguments, and got "llama"`,
		"epp --endpoint-selector app=x":                 "--endpoint-target-ports: there are 0; name 1 to 8",
		"explain a b":                                   `fairway explain takes one request ID, and got 2 arguments`,
		"explain -n 0":                                  "--count: 0 must be 1 or more",
		"sim extra":                                     `fairway sim takes no arguments, and got "extra"`,
		"sim --speed 0":                                 "--speed: 0 must be greater than 0",
		"bench reply":                                   `unknown command "reply" for "fairway bench"; did you mean replay?`,
		"bench replay":                                  "which workload? Name a trace with --trace, or a generated one with --generate",
		"bench replay --generate foo":                   `--generate: workload "foo": must be one of`,
		"config validat x":                              `unknown command "validat" for "fairway config"; did you mean validate?`,
		"config validate":                               "name the file, as in fairway config validate epp-config.yaml; there are 0",
		"config explain a b":                            "name the file, as in fairway config explain epp-config.yaml; there are 2",
		"config convert objects.yaml":                   `; write -f objects.yaml for a file`,
		"rnu":                                           `unknown command "rnu" for "fairway"; did you mean run?`,
		"xyzzy":                                         `unknown command "xyzzy" for "fairway"; fairway --help lists them`,
		"epp -x":                                        "unknown shorthand flag: 'x' in -x; fairway epp --help lists the flags",
		"run -f nope.yaml":                              "--file: reading the pools: open nope.yaml",
		"epp -f nope.yaml":                              "--file: reading the pools: open nope.yaml",
		"epp --endpoints-file nope.yaml":                "--endpoints-file: reading the pools: open nope.yaml",
		"epp --feature-gates foo -f x":                  `--feature-gates: unknown feature gate "foo"`,
		"epp --pool-name x --kubeconfig /nope":          "--kubeconfig: stat /nope",
		"config convert -f nope":                        "--filename: stat nope",
		"run --listen":                                  "--listen: the value is missing, as in --listen ADDRESS",
		"run --listen localhost":                        `--listen: "localhost" must be an IP address and a port`,
		"run --admin foo":                               `--admin: "foo" must be an address and a port`,
		"run --drain-timeout 5":                         `--drain-timeout: "5" must be a duration with its unit, as in 500ms`,
		"run --failure-mode x":                          `--failure-mode: "x" must be FailOpen or FailClose`,
		"run --log-level x":                             `--log-level: "x" must be one of debug, info, warn, error`,
		"run --concurrency -1":                          "--concurrency: -1 must not be negative",
		"run --max-body-bytes 0":                        "--max-body-bytes: 0 must be 1 to",
		"gateway --log-format x":                        `--log-format: "x" must be text or json`,
		"epp --pool-group x":                            `--pool-group: "x" must be inference.networking.k8s.io or inference.networking.x-k8s.io`,
		"epp --grpc-max-recv-msg-size x":                "--grpc-max-recv-msg-size: \"x\" is no size",
		"sim --port x":                                  `--port: "x" must be a whole number`,
		"sim --port 70000":                              "--port: 70000 is not a port",
		"sim --role x":                                  `--role: "x" must be prefill, decode, encode or both`,
		"sim --kv-events-format x":                      `--kv-events-format: "x" must be array, map or sglang`,
		"sim --error-rate 3":                            "--error-rate: 3 must be 0 to 1",
		"sim --speed x":                                 `--speed: "x" must be a number`,
		"sim --seed -1":                                 `--seed: "-1" must be a whole number that is not negative`,
		"sim --data-parallel-size 0":                    "--data-parallel-size: 0 must be 1 to",
		"sim --step-base -1s":                           "--step-base: -1s must not be negative",
		"sim --echo=maybe":                              `--echo: "maybe" must be true or false`,
		"bench requests --endpoints x":                  `--endpoints: "x" must be whole numbers, with commas between them`,
		"bench replay --generate agents --index x":      `--index: "x" must be exact or approximate`,
		"bench replay --generate agents --trace x":      "--trace and --generate: set only one",
		"bench replay --speed x":                        `--speed: "x" must be numbers, with commas between them`,
		"bench gateway --duration 9s --requests 1":      "--duration and --requests: set only one",
		"bench trace":                                   "--generate: is missing; name a workload: agents,",
		"conformance epp --target x --report r.txt":     `--report: "r.txt" must end in yaml, yml or json`,
	} {
		root := newRootCommand()
		args := strings.Fields(line)
		if strings.HasPrefix(line, "run -") && !strings.HasSuffix(line, "--listen") {
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
