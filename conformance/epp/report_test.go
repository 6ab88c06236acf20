package epp

import (
	"bytes"
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

func TestReport(t *testing.T) {
	t.Parallel()
	var text bytes.Buffer
	r, err := Run(t.Context(), Options{
		Timeout: patience,
		Target:  servePicker(t, fault{metadata: func(string) string { return "10.0.0.9:\x1b[1m" }}), Run: regexp.MustCompile("^pick/(agree|header|pool)$"),
	}, NewTextReporter(&text))
	if err != nil {
		t.Fatal(err)
	}
	if r.Conformant() || r.Summary.Must != (Count{Passed: 1, Failed: 1, Skipped: 1}) {
		t.Errorf("summary %+v, want one of each", r.Summary)
	}
	for _, want := range []string{
		"ok    MUST    pick/header\n", "FAIL  MUST    pick/agree\n", "skip  MUST    pick/pool\n",
		"sent    POST /v1/chat/completions with a body of 200 bytes in 1 message\n",
		`metadata "10.0.0.9:\x1b[1m"`, "want    the same value",
	} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("text lacks %q:\n%s", want, &text)
		}
	}
	var j, y bytes.Buffer
	if err := r.WriteJSON(&j); err != nil {
		t.Fatal(err)
	}
	if err := r.WriteYAML(&y); err != nil {
		t.Fatal(err)
	}
	var fromJSON, fromYAML struct {
		Summary struct{ Must Count }
		Results []struct {
			ID, Level, Status string
			Failure           *Failure
		}
	}
	if err := json.Unmarshal(j.Bytes(), &fromJSON); err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(y.Bytes(), &fromYAML); err != nil {
		t.Fatal(err)
	}
	for _, got := range []any{fromJSON, fromYAML} {
		b, _ := json.Marshal(got)
		if !bytes.Contains(b, []byte(`{"ID":"pick/agree","Level":"MUST","Status":"failed","Failure":{"sent":"POST`)) {
			t.Errorf("report %s", b)
		}
	}
}

// TestCasesAreDocumented holds docs/conformance.md to the cases.
func TestCasesAreDocumented(t *testing.T) {
	t.Parallel()
	doc, err := os.ReadFile("../../docs/conformance.md")
	if err != nil {
		t.Fatal(err)
	}
	var table bytes.Buffer
	if err := WriteCases(&table, Cases()); err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(doc, table.Bytes()) {
		t.Error("the table in docs/conformance.md is not what fairway conformance epp --list prints")
	}
}
