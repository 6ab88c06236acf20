package accesspolicy

import (
	"os"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/fairway-ai/fairway/api/v1alpha1"
)

// TestExamples: the policies of the examples and the documentation are valid.
func TestExamples(t *testing.T) {
	for _, file := range []string{"../../examples/kubernetes/access-policy.yaml", "../../docs/access-policy.md"} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var all []*v1alpha1.AIAccessPolicy
		for doc := range strings.SplitSeq(strings.ReplaceAll(string(text), "```yaml\n", "\n---\n"), "\n---\n") {
			doc, _, _ = strings.Cut(doc, "\n```")
			if !strings.Contains(doc, "kind: AIAccessPolicy") {
				continue
			}
			x := new(v1alpha1.AIAccessPolicy)
			if err := yaml.UnmarshalStrict([]byte(doc), x); err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			all = append(all, x)
		}
		if len(all) != 1 {
			t.Errorf("%s has %d policies", file, len(all))
		}
		_, results := Compile(all)
		for name, r := range results {
			if len(r.Problems) > 0 {
				t.Errorf("%s: %s: %+v", file, name, r.Problems)
			}
		}
	}
}
