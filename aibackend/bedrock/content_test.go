package bedrock

import (
	"strings"
	"testing"
)

func TestDocumentNames(t *testing.T) {
	names := map[string]int{}
	for _, tc := range [][2]string{
		{"a report (1).pdf", "a report (1) pdf"},
		{"a  report_(1)/pdf", "a report (1) pdf-2"},
		{"", "document"},
		{"☀", "document-2"},
		{strings.Repeat("x", 300), strings.Repeat("x", 180)},
	} {
		if got := documentName(tc[0], names); got != tc[1] {
			t.Errorf("%q became %q, want %q", tc[0], got, tc[1])
		}
	}
}
