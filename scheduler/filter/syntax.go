package filter

import (
	"fmt"
	"strings"
)

// validKey reports what is wrong with a label key: [prefix/]name.
func validKey(key string) error {
	name := key
	if prefix, after, ok := strings.Cut(key, "/"); ok {
		name = after
		if len(prefix) > maxPrefix || !prefixPattern.MatchString(prefix) {
			return fmt.Errorf("label key %.80q has an invalid prefix: it must be a DNS name", key)
		}
	}
	if len(name) > maxName || !namePattern.MatchString(name) {
		return fmt.Errorf("label key %.80q is invalid: a name has 1 to 63 letters, digits, '-', '_' and '.', and begins and ends with a letter or digit", key)
	}
	return nil
}

// validValue reports what is wrong with a label value; it may be empty.
func validValue(v string) error {
	if v != "" && (len(v) > maxName || !namePattern.MatchString(v)) {
		return fmt.Errorf("label value %.80q is invalid: at most 63 letters, digits, '-', '_' and '.', begun and ended by a letter or digit", v)
	}
	return nil
}
