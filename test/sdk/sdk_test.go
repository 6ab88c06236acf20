package sdk

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fairway-ai/fairway/internal/testkit"
	"github.com/fairway-ai/fairway/test/realenvoy"
)

const (
	keyID  = "AKIDEXAMPLE"
	secret = "not-a-secret"
	// patience bounds every wait; nothing waits that long unless it fails.
	patience = 30 * time.Second
)

// config leads the models of the Python programs to the fakes.
const config = `
apiVersion: v1
kind: Secret
metadata: {name: keys}
stringData:
  apiKey: sk-fake
  credentials: |
    [default]
    aws_access_key_id = ` + keyID + `
    aws_secret_access_key = ` + secret + `
---
{{backend openai OpenAI apikey}}
---
{{backend anthropic Anthropic apikey}}
---
{{backend bedrock AWSBedrock aws}}
---
apiVersion: fairway.dev/v1alpha1
kind: AIRoute
metadata: {name: models}
spec:
  rules:
    - {matches: [{model: {value: gpt}}], backendRefs: [{name: openai}]}
    - {matches: [{model: {value: hear}}], backendRefs: [{name: openai, model: gpt-4o-transcribe}]}
    - {matches: [{model: {value: claude}}], backendRefs: [{name: anthropic}]}
    - {matches: [{model: {value: nova}}], backendRefs: [{name: bedrock, model: "amazon.nova-lite-v1:0"}]}
    - {matches: [{model: {value: titan}}], backendRefs: [{name: bedrock, model: "amazon.titan-embed-text-v2:0"}]}
`

func backend(name, schema, credentials, addr string) string {
	a := netip.MustParseAddrPort(addr)
	c := "{type: APIKey, apiKey: {secretRef: {name: keys}}}"
	if credentials == "aws" {
		c = "{type: AWS, aws: {region: eu-west-1, secretRef: {name: keys}}}"
	}
	return fmt.Sprintf(`apiVersion: fairway.dev/v1alpha1
kind: AIBackend
metadata: {name: %s}
spec:
  schema: {name: %s}
  destination: {type: Hostname, hostname: {host: %s, port: %d}}
  tls: {mode: None}
  credentials: %s`, name, schema, a.Addr(), a.Port(), c)
}

// python is the interpreter with the packages.
func python(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("../../hack/pysdk").CombinedOutput()
	if err == nil {
		path, e := filepath.Abs("../../bin/pysdk/bin/python")
		if e != nil {
			t.Fatal(e)
		}
		return path
	}
	if os.Getenv("CI") != "" || os.Getenv("FAIRWAY_ENVOY") != "" {
		t.Fatalf("Python's SDKs cannot be installed: %v\n%s", err, out)
	}
	t.Skipf("Python's SDKs cannot be installed: %v\n%s", err, out)
	return ""
}

func TestPythonSDKs(t *testing.T) {
	envoy := realenvoy.Path(t)
	interpreter := python(t)
	openai, anthropic, bedrock := newFake(t, openAIFails), newFake(t, anthropicFails), newFake(t, bedrockFails)
	url := start(t, envoy, strings.NewReplacer(
		"{{backend openai OpenAI apikey}}", backend("openai", "OpenAI", "apikey", openai.addr),
		"{{backend anthropic Anthropic apikey}}", backend("anthropic", "Anthropic", "apikey", anthropic.addr),
		"{{backend bedrock AWSBedrock aws}}", backend("bedrock", "AWSBedrock", "aws", bedrock.addr),
	).Replace(config))
	run := func(t *testing.T, script string, env ...string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 3*patience)
		defer cancel()
		cmd := exec.CommandContext(ctx, interpreter, "-B", filepath.Join("python", script))
		cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "FAIRWAY=" + url, "PYTHONUNBUFFERED=1"}, env...)
		out, err := cmd.CombinedOutput()
		t.Logf("%s", out)
		if err != nil {
			t.Errorf("%s: %v", script, err)
		}
	}
	t.Run("openai", func(t *testing.T) { run(t, "openai_sdk.py") })
	t.Run("form", func(t *testing.T) {
		if body := openai.lastBody(); !strings.Contains(body, "\r\n\r\ngpt-4o-transcribe\r\n") || strings.Contains(body, "hear") {
			t.Errorf("the last request was to be a form with another model, and is %q", body)
		}
	})
	t.Run("anthropic", func(t *testing.T) { run(t, "anthropic_sdk.py") })
	t.Run("botocore", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "bedrock.json")
		bedrock.write(file)
		run(t, "bedrock_wire.py", "EXCHANGED="+file, "KEY_ID="+keyID, "SECRET="+secret)
	})
}

// output is what a process says, safe to read meanwhile.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// start runs the program with a file until the test ends, and returns its address.
func start(t *testing.T, envoy, text string) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "fw")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	bin, file := filepath.Join(dir, "fairway"), filepath.Join(dir, "fairway.yaml")
	if out, err := exec.Command("go", "build", "-o", bin, "../../cmd/fairway").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	listen := testkit.Refused(t)
	out := &output{}
	cmd := exec.Command(bin, "run", "-f", file, "--envoy", envoy, "--listen", listen, "--admin", testkit.Refused(t), "--concurrency", "1")
	cmd.Env = append(os.Environ(), "TMPDIR="+dir)
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { _ = cmd.Wait(); close(done) }()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		select {
		case <-done:
		case <-time.After(patience):
			_ = cmd.Process.Kill()
			<-done
		}
		if t.Failed() {
			t.Logf("the gateway said\n%s", out)
		}
	})
	realenvoy.Eventually(t, patience, "ready", func() error {
		if !strings.Contains(out.String(), `is ready" address=`) {
			return fmt.Errorf("not ready:\n%s", out)
		}
		return nil
	})
	return "http://" + listen
}
