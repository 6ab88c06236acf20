package main

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/fairway-ai/fairway/epp/config"
)

func readDoc(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestMetricsAreDocumented(t *testing.T) {
	doc := readDoc(t, "../../docs/metrics.md")
	for line := range strings.Lines(readDoc(t, "../../epp/metrics/testdata/names-legacy.txt")) {
		name := strings.Fields(line)[0]
		if !strings.Contains(doc, "`"+strings.TrimPrefix(name, "llm_d_epp_")+"`") {
			t.Errorf("docs/metrics.md lacks %s", name)
		}
	}
}

// TestPluginTypesAreDocumented holds docs/llm-d.md to what the loader says of each
// type it names.
func TestPluginTypesAreDocumented(t *testing.T) {
	doc := readDoc(t, "../../docs/llm-d.md")
	_, doc, _ = strings.Cut(doc, "### Available")
	available, doc, _ := strings.Cut(doc, "### Refused")
	refused, _, _ := strings.Cut(doc, "\nA type in neither list")
	typ := regexp.MustCompile("`([a-z0-9]+(?:-[a-z0-9]+)+|tokenizer)`")
	load := func(name string) string {
		_, _, err := config.Options{Experimental: true}.Load([]byte("plugins: [{type: " + name + "}]"))
		if err == nil {
			return ""
		}
		return err.Error()
	}
	seen := 0
	for _, m := range typ.FindAllStringSubmatch(available, -1) {
		seen++
		if err := load(m[1]); strings.Contains(err, "plugins[0].type") {
			t.Errorf("%s is said to be available: %s", m[1], err)
		}
	}
	for line := range strings.Lines(refused) {
		cells := strings.Split(line, "|") // the first one has the types
		if len(cells) < 3 {
			continue
		}
		for _, m := range typ.FindAllStringSubmatch(cells[1], -1) {
			seen++
			if err := load(m[1]); !strings.Contains(err, "is not available in Fairway") {
				t.Errorf("%s is said to be refused: %q", m[1], err)
			}
		}
	}
	if seen < 80 {
		t.Errorf("found only %d types in docs/llm-d.md", seen)
	}
}
