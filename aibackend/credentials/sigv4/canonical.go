package sigv4

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
)

// The errors of [Signer.Sign].
var (
	ErrHost        = errors.New("the host is empty or holds a character that no host has")
	ErrMethod      = errors.New("the method is not made of capital letters")
	ErrPath        = errors.New("the path does not begin with /, has an empty or dot segment, or a character that must be percent-encoded")
	ErrQuery       = errors.New("the query has a character that must be percent-encoded, or a + (write %20 or %2B)")
	ErrContentType = errors.New("the content type holds a control character")
	ErrToken       = errors.New("the session token holds a character that no token has")
)

// appendCanonical appends the canonical request.
func appendCanonical(b []byte, r Request, date, token string) ([]byte, error) {
	path, query, _ := strings.Cut(r.Path, "?")
	switch {
	case !validMethod(r.Method):
		return nil, ErrMethod
	case !validHost(r.Host):
		return nil, ErrHost
	case !validPath(path):
		return nil, ErrPath
	case !visible(r.ContentType, true):
		return nil, ErrContentType
	case !visible(token, false):
		return nil, ErrToken
	}
	b = append(b, r.Method...)
	b = append(b, '\n')
	b = appendEscaped(b, path, true)
	b = append(b, '\n')
	b, ok := appendQuery(b, query)
	if !ok {
		return nil, ErrQuery
	}
	b = append(b, '\n')
	if r.ContentType != "" {
		b = append(b, "content-type:"...)
		b = appendTrimmed(b, r.ContentType)
		b = append(b, '\n')
	}
	b = append(b, "host:"...)
	b = append(b, r.Host...)
	b = append(b, "\nx-amz-date:"...)
	b = append(b, date...)
	if token != "" {
		b = append(b, "\nx-amz-security-token:"...)
		b = append(b, token...)
	}
	b = append(b, "\n\n"...)
	b = appendSignedHeaders(b, r.ContentType != "", token != "")
	b = append(b, '\n')
	digest := sha256.Sum256(r.Body)
	return hex.AppendEncode(b, digest[:]), nil
}

func appendSignedHeaders(b []byte, contentType, token bool) []byte {
	if contentType {
		b = append(b, "content-type;"...)
	}
	b = append(b, "host;x-amz-date"...)
	if token {
		b = append(b, ";x-amz-security-token"...)
	}
	return b
}

// appendTrimmed appends s without blanks around it and with each run of blanks
// inside made one.
func appendTrimmed(b []byte, s string) []byte {
	s = strings.Trim(s, " \t")
	for i := 0; i < len(s); i++ {
		if s[i] == ' ' && i > 0 && s[i-1] == ' ' {
			continue
		}
		b = append(b, s[i])
	}
	return b
}

// appendQuery appends the query's parameters, each decoded and encoded again in
// the one way the signature knows, in the order of their encoded form.
func appendQuery(b []byte, query string) ([]byte, bool) {
	if query == "" {
		return b, true
	}
	type pair struct{ name, value string }
	var pairs []pair
	for part := range strings.SplitSeq(query, "&") {
		if part == "" {
			continue
		}
		name, value, _ := strings.Cut(part, "=")
		n, ok1 := reencode(name)
		v, ok2 := reencode(value)
		if !ok1 || !ok2 {
			return nil, false
		}
		pairs = append(pairs, pair{n, v})
	}
	slices.SortFunc(pairs, func(a, c pair) int {
		if d := strings.Compare(a.name, c.name); d != 0 {
			return d
		}
		return strings.Compare(a.value, c.value)
	})
	for i, p := range pairs {
		if i > 0 {
			b = append(b, '&')
		}
		b = append(b, p.name...)
		b = append(b, '=')
		b = append(b, p.value...)
	}
	return b, true
}

// reencode decodes %XX and encodes all but the unreserved characters. A "+" is
// refused: some decode it as a blank, others do not.
func reencode(s string) (string, bool) {
	raw := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '%':
			if i+2 >= len(s) || !isHex(s[i+1]) || !isHex(s[i+2]) {
				return "", false
			}
			raw = append(raw, unhex(s[i+1])<<4|unhex(s[i+2]))
			i += 2
		case c == '+' || c == ';' || c == '#' || c <= ' ' || c >= 0x7f:
			return "", false
		default:
			raw = append(raw, c)
		}
	}
	return string(appendEscaped(nil, string(raw), false)), true
}

// appendEscaped percent-encodes all but the unreserved characters, and "/" unless
// slash says to keep it.
func appendEscaped(b []byte, s string, slash bool) []byte {
	const digits = "0123456789ABCDEF"
	for i := 0; i < len(s); i++ {
		c := s[i]
		if unreserved(c) || c == '/' && slash {
			b = append(b, c)
			continue
		}
		b = append(b, '%', digits[c>>4], digits[c&15])
	}
	return b
}

// validPath refuses what a proxy or the service may normalise to another path
// than the signed one.
func validPath(p string) bool {
	if p == "" || p[0] != '/' || strings.Contains(p, "//") {
		return false
	}
	for i := 0; i < len(p); i++ {
		if p[i] <= ' ' || p[i] >= 0x7f || p[i] == '#' || p[i] == '\\' {
			return false
		}
		if p[i] == '%' && (i+2 >= len(p) || !isHex(p[i+1]) || !isHex(p[i+2])) {
			return false
		}
	}
	for segment := range strings.SplitSeq(p, "/") {
		if segment == "." || segment == ".." {
			return false
		}
	}
	return true
}

func validHost(h string) bool {
	for i := 0; i < len(h); i++ {
		if c := h[i]; !unreserved(c) && c != ':' && c != '[' && c != ']' {
			return false
		}
	}
	return h != ""
}

func validMethod(m string) bool {
	for i := 0; i < len(m); i++ {
		if m[i] < 'A' || m[i] > 'Z' {
			return false
		}
	}
	return m != ""
}

// visible says whether s is printable ASCII, with blanks if they are allowed.
func visible(s string, blanks bool) bool {
	for i := 0; i < len(s); i++ {
		if s[i] > 0x7e || s[i] < ' ' || s[i] == ' ' && !blanks {
			return false
		}
	}
	return true
}

func unreserved(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' ||
		c == '-' || c == '_' || c == '.' || c == '~'
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

func unhex(c byte) byte {
	switch {
	case c <= '9':
		return c - '0'
	case c <= 'F':
		return c - 'A' + 10
	default:
		return c - 'a' + 10
	}
}
