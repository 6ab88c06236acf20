package charts

import (
	"regexp"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// TestDocumentedValuesExist holds docs to values.yaml.
func TestDocumentedValuesExist(t *testing.T) {
	var values map[string]any
	if err := yaml.Unmarshal([]byte(readFile(t, chart+"/values.yaml")), &values); err != nil {
		t.Fatal(err)
	}
	exists := func(path string) bool {
		at := any(values)
		for part := range strings.SplitSeq(path, ".") {
			m, ok := at.(map[string]any)
			if !ok {
				return false
			}
			if at, ok = m[part]; !ok {
				return false
			}
		}
		return true
	}
	var tops []string
	for name := range values {
		tops = append(tops, name)
	}
	path := regexp.MustCompile("(?:`|--set )((?:" + strings.Join(tops, "|") + `)\.[A-Za-z.]+)\b`)
	n := 0
	for _, doc := range []string{"install.md", "monitoring.md", "sizing.md", "security.md", "migrate-envoy-ai-gateway.md"} {
		for _, m := range path.FindAllStringSubmatch(readFile(t, "../docs/"+doc), -1) {
			n++
			if !exists(m[1]) {
				t.Errorf("%s: there is no value %s", doc, m[1])
			}
		}
	}
	if n < 20 {
		t.Errorf("only %d values were found in the documentation", n)
	}
}

// TestAlertsAreDocumented: whoever is woken by one finds what to do.
func TestAlertsAreDocumented(t *testing.T) {
	doc := readFile(t, "../docs/monitoring.md")
	for _, m := range regexp.MustCompile(`alert: (\w+)`).FindAllStringSubmatch(readFile(t, chart+"/files/alerts.yaml"), -1) {
		if !strings.Contains(doc, "| `"+m[1]+"` |") {
			t.Errorf("docs/monitoring.md lacks %s", m[1])
		}
	}
}

// TestDocumentedFilesExist: the commands in docs/install.md name files of this repository.
func TestDocumentedFilesExist(t *testing.T) {
	doc := readFile(t, "../docs/install.md")
	files := regexp.MustCompile(`-f ((?:charts|examples)/\S+\.yaml)`).FindAllStringSubmatch(doc, -1)
	if len(files) < 3 {
		t.Fatalf("only %d files were found", len(files))
	}
	for _, m := range files {
		readFile(t, "../"+m[1])
	}
}
