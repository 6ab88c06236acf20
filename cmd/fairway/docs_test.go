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
		ending := strings.TrimPrefix(strings.TrimPrefix(name, "llm_d_epp_"), "llm_d_router_epp_")
		if !strings.Contains(doc, "`"+ending+"`") {
			t.Errorf("docs/metrics.md lacks %s", name)
		}
	}
}

// typesIn are the plugin types in the first cells of a page's tables.
func typesIn(doc string) []string {
	typ := regexp.MustCompile("`([a-z0-9]+(?:-[a-z0-9]+)+|by-label|tokenizer)`")
	var out []string
	for line := range strings.Lines(doc) {
		if cells := strings.Split(line, "|"); len(cells) > 2 {
			for _, m := range typ.FindAllStringSubmatch(cells[1], -1) {
				out = append(out, m[1])
			}
		}
	}
	return out
}

// TestPluginTypesAreDocumented holds docs/llm-d-plugins.md to what the loader says of
// each type it names.
func TestPluginTypesAreDocumented(t *testing.T) {
	available, refused, found := strings.Cut(readDoc(t, "../../docs/llm-d-plugins.md"), "\n## Refused")
	if !found {
		t.Fatal("docs/llm-d-plugins.md has no section of refused types")
	}
	load := func(name string) string {
		_, _, err := config.Options{Experimental: true}.Load([]byte("plugins: [{type: " + name + "}]"))
		if err == nil {
			return ""
		}
		return err.Error()
	}
	can, cannot := typesIn(available), typesIn(refused)
	for _, typ := range can {
		if err := load(typ); strings.Contains(err, "plugins[0].type") {
			t.Errorf("%s is said to be available: %s", typ, err)
		}
	}
	for _, typ := range cannot {
		if err := load(typ); !strings.Contains(err, "is not available in Fairway") {
			t.Errorf("%s is said to be refused: %q", typ, err)
		}
	}
	if seen := len(can) + len(cannot); seen < 85 {
		t.Errorf("found only %d types in docs/llm-d-plugins.md", seen)
	}
}
