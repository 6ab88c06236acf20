package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const (
	convertTests = "../../gateway/convert/testdata"
	wholeInput   = convertTests + "/openai/in.yaml"
	otherInput   = convertTests + "/aws/in.yaml"
)

// runConvert runs config convert.
func runConvert(t *testing.T, stdin string, args ...string) (out, report string, err error) {
	t.Helper()
	cmd := newRootCommand()
	var o, e bytes.Buffer
	cmd.SetIn(strings.NewReader(stdin))
	cmd.SetOut(&o)
	cmd.SetErr(&e)
	cmd.SetArgs(append([]string{"config", "convert"}, args...))
	err = cmd.ExecuteContext(t.Context())
	return o.String(), e.String(), err
}

func TestConvert(t *testing.T) {
	in, want := readDoc(t, wholeInput), readDoc(t, convertTests+"/openai/out.yaml")
	out, report, err := runConvert(t, in)
	if err != nil || out != want || !strings.Contains(report, "-:2: AIGatewayRoute ai/chat: ") || !strings.HasSuffix(report, "1 AIRoutes and 1 AIBackends; 0 not carried over, 1 to check\n") {
		t.Errorf("from standard input: %v\n%s\n%s", err, report, out)
	}
	dir := t.TempDir()
	for i, doc := range strings.Split(in, "---\n") {
		if err := os.WriteFile(filepath.Join(dir, string(rune('a'+i))+".yaml"), []byte(doc), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	target := filepath.Join(dir, "out")
	if out, report, err := runConvert(t, "", "-f", dir, "-o", target, "--strict"); err != nil || out != "" || readDoc(t, target) != want {
		t.Errorf("from a folder: %v\n%s\n%s", err, report, out)
	}
	if out, _, err := runConvert(t, in, "-f", "-", "-f", otherInput, "--passthrough"); err != nil || !strings.Contains(out, "kind: Secret") || strings.Count(out, "kind: AIRoute") != 2 {
		t.Errorf("of two: %v\n%s", err, out)
	}
}

func TestConvertExitCodes(t *testing.T) {
	for _, tt := range []struct {
		args []string
		code int
	}{
		{[]string{"-f", otherInput}, 0},
		{[]string{"-f", wholeInput, "--strict"}, 0},
		{[]string{"-f", convertTests + "/nasty/in.yaml", "--strict"}, 3},
		{[]string{"-f", "no-such-file", "--strict"}, 1},
		{[]string{"-f", t.TempDir()}, 1},
	} {
		_, report, err := runConvert(t, "", tt.args...)
		code := 0
		if err != nil {
			code = exitCode(err)
		}
		if code != tt.code {
			t.Errorf("%q: exit code %d (%v), want %d\n%s", tt.args, code, err, tt.code, report)
		}
	}
	if exitCode(errors.New("a")) != 1 {
		t.Error("an ordinary error has an exit code of its own")
	}
}
