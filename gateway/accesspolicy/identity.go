package accesspolicy

import (
	"errors"
	"strings"
)

// Header is the one in which Envoy tells of client certificates.
const Header = "x-forwarded-client-cert"

const (
	scheme = "spiffe://"
	// maxID is how long a SPIFFE ID may be, and maxHeader a header with one, in bytes.
	maxID, maxHeader = 2048, 16 << 10
)

var (
	errNoIdentity = errors.New("the client has no certificate with a SPIFFE ID")
	errHeader     = errors.New("what is said of the client's certificate cannot be read")
	errNotSPIFFE  = errors.New("the client's certificate has no valid SPIFFE ID of this trust domain")
)

// Identity is the SPIFFE ID that the value of [Header] tells of. The certificate must
// have exactly one URI, as SPIFFE asks, of the trust domain; and it must be that of the
// client, with no proxy in between.
func Identity(header, trustDomain string) (string, error) {
	if header == "" {
		return "", errNoIdentity
	}
	if len(header) > maxHeader {
		return "", errHeader
	}
	id := ""
	for rest := header; ; {
		key, value, after, more, ok := pair(rest)
		if !ok {
			return "", errHeader
		}
		switch strings.ToLower(key) {
		case "uri":
			if id != "" || value == "" {
				return "", errNotSPIFFE
			}
			id = value
		case "by", "hash", "cert", "chain", "subject", "dns":
		default:
			return "", errHeader
		}
		if !more {
			break
		}
		rest = after
	}
	switch {
	case id == "":
		return "", errNoIdentity
	case !valid(id, trustDomain):
		return "", errNotSPIFFE
	}
	return id, nil
}

// pair takes one key=value off the start of one element of the header. A value may be in
// quotes, with a backslash before a quote in it. ok is false for anything else, a second
// element among it.
func pair(s string) (key, value, rest string, more, ok bool) {
	key, s, ok = strings.Cut(s, "=")
	if !ok {
		return "", "", "", false, false
	}
	if !strings.HasPrefix(s, `"`) {
		end := strings.IndexAny(s, `;,"`)
		switch {
		case end < 0:
			return key, s, "", false, true
		case s[end] != ';':
			return "", "", "", false, false
		}
		return key, s[:end], s[end+1:], true, true
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == '\\' && i+1 < len(s):
			i++
			b.WriteByte(s[i])
		case s[i] != '"':
			b.WriteByte(s[i])
		case i+1 == len(s):
			return key, b.String(), "", false, true
		case s[i+1] == ';':
			return key, b.String(), s[i+2:], true, true
		default:
			return "", "", "", false, false
		}
	}
	return "", "", "", false, false
}

// valid says whether id is the SPIFFE ID of a workload of the trust domain.
func valid(id, trustDomain string) bool {
	path, ok := strings.CutPrefix(id, scheme+trustDomain+"/")
	if !ok || len(id) > maxID {
		return false
	}
	for segment := range strings.SplitSeq(path, "/") {
		if segment == "" || segment == "." || segment == ".." {
			return false
		}
		for i := range len(segment) {
			c := segment[i]
			if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '.' && c != '-' && c != '_' {
				return false
			}
		}
	}
	return true
}
