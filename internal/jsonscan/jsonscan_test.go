package jsonscan

import (
	"encoding/json"
	"strings"
	"testing"
)

// FuzzValid compares with encoding/json.
func FuzzValid(f *testing.F) {
	for _, doc := range []string{
		`{"a":[1,{"b":"\\u00e9\\"}"}],"c":null,"d\n":-1.5e+3}`, ` [ ] `, `{ }`, `-0.0E-1`, `"\\ud800"`, `01`, `1.`, `1e`, `tru`, "\"\x1f\"",
		`[1,]`, `{"a":1,}`, `{"a"}`, `{1:2}`, `[}`, `"12345678\\x"`, `"1234567\u00e9\\n"`, `{}{}`, "\"\xff\"", "\"1234567\x80\x1f\"",
		strings.Repeat("[", 10_000) + strings.Repeat("]", 10_000), strings.Repeat("[", 10_001) + strings.Repeat("]", 10_001),
	} {
		f.Add([]byte(doc))
	}
	f.Fuzz(func(t *testing.T, doc []byte) {
		want := json.Valid(doc)
		if got := Valid(doc); got != want {
			t.Fatalf("%q: %v, want %v", doc, got, want)
		}
	})
}
