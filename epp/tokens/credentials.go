package tokens

import (
	"errors"
	"strings"
)

// maxAuthorization bounds the header that questions are asked with, in bytes.
const maxAuthorization = 16 << 10

// credentials are the Authorization header that a question can be asked with: "" for
// one that no HTTP request can have. A fault of it must not look like the endpoint's.
func credentials(header string) string {
	if len(header) > maxAuthorization {
		return ""
	}
	for i := range len(header) {
		if c := header[i]; c < ' ' && c != '\t' || c == 0x7f {
			return ""
		}
	}
	// A copy: what it is a part of may be large, and others may wait for this question.
	return strings.Clone(header)
}

// anothers reports whether f failed for credentials that are not those of p: what
// somebody else may not ask says nothing of who else may.
func (f *flight) anothers(p *prompt) bool {
	return errors.Is(f.err, ErrDenied) && f.prompt.authorization != p.authorization
}
