package forms

import (
	"errors"
	"mime"
	"strings"
)

// maxBoundary is the longest boundary there is, by RFC 2046.
const maxBoundary = 70

// Is reports whether a content-type says that the body is a form of parts.
func Is(contentType string) bool {
	t, _, _ := strings.Cut(contentType, ";")
	return strings.EqualFold(strings.TrimSpace(t), "multipart/form-data")
}

// Boundary is what separates the parts of a body of this content-type.
func Boundary(contentType string) (string, error) {
	_, params, err := mime.ParseMediaType(contentType)
	if err != nil || strings.Contains(strings.ToLower(contentType), "boundary*") {
		return "", errors.New("the content-type cannot be read")
	}
	b := params["boundary"]
	foreign := func(r rune) bool { return !strings.ContainsRune(boundaryChars, r) }
	if b == "" || len(b) > maxBoundary || strings.ContainsFunc(b, foreign) || strings.HasSuffix(b, " ") {
		return "", errors.New("the content-type has no valid boundary")
	}
	return b, nil
}

const boundaryChars = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ'()+_,-./:=? "
