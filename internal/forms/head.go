package forms

import (
	"bytes"
	"errors"
	"fmt"
	"mime"
	"strings"
)

// partName is the name in the headers of a part, without the blank line, and whether
// the part is a file. odd says that readers may differ about the name or about how the
// content is encoded.
func partName(head []byte) (name string, file, odd bool, err error) {
	seen := false
	for line := range bytes.SplitSeq(head, []byte("\r\n")) {
		if bytes.ContainsFunc(line, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
			return "", false, false, errors.New("a part's headers have a lone line break or a control character")
		}
		key, value, ok := bytes.Cut(line, []byte(":"))
		if !ok || !isToken(key) {
			return "", false, false, errors.New("a part has a header that cannot be read")
		}
		switch strings.ToLower(string(key)) {
		case "content-disposition":
			if seen {
				return "", false, false, errors.New("a part has two names")
			}
			seen = true
			var strange bool
			if name, file, strange, err = disposition(string(value)); err != nil {
				return "", false, false, err
			}
			odd = odd || strange
		case "content-transfer-encoding":
			v := strings.ToLower(strings.TrimSpace(string(value)))
			odd = odd || v != "7bit" && v != "8bit" && v != "binary"
		}
	}
	if !seen {
		return "", false, false, errors.New("a part has no name")
	}
	return name, file, odd, nil
}

// isToken reports whether a header's name is one.
func isToken(key []byte) bool {
	return len(key) > 0 && !bytes.ContainsFunc(key, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_'
	})
}

// disposition reads a content-disposition.
func disposition(v string) (name string, file, odd bool, err error) {
	kind, params, err := mime.ParseMediaType(v)
	if err != nil || kind != "form-data" {
		return "", false, false, errors.New("a part has a content-disposition that cannot be read")
	}
	name, ok := params["name"]
	if !ok {
		return "", false, false, errors.New("a part has no name")
	}
	_, file = params["filename"]
	// name* and name*0 are read by some only, and so are escapes of letters.
	lower := strings.ToLower(v)
	odd = strings.Contains(lower, "name*") && !strings.Contains(lower, "filename*") ||
		strings.Count(lower, "name*") != strings.Count(lower, "filename*") || escapes(name)
	return name, file, odd, nil
}

// escapes reports whether a name has an escape that some readers take off.
func escapes(name string) bool {
	for i := 0; i < len(name); i++ {
		if name[i] == '\\' || name[i] == '%' {
			return true
		}
	}
	return false
}

// Error is a body that is no form, or one that could be read in two ways.
type Error struct {
	// Offset is where, in bytes from the body's start.
	Offset int64
	// Msg says what is wrong, without the body's text.
	Msg string
}

func (e *Error) Error() string {
	return fmt.Sprintf("the body is no valid multipart/form-data, at byte %d: %s", e.Offset, e.Msg)
}
