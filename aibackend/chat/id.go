package chat

import (
	"fmt"
	"hash/fnv"
	"strings"
)

// SafeID is the ID itself if it consists of letters, digits, _ and - and is no longer
// than 64 bytes, as some providers require; else another one that is, the same for
// the same ID.
func SafeID(id string) string {
	const maxID = 64
	safe := func(r rune) rune {
		switch {
		case r == '_', r == '-', '0' <= r && r <= '9', 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z':
			return r
		}
		return '_'
	}
	s := strings.Map(safe, id)
	if s == id && len(id) <= maxID {
		return id
	}
	h := fnv.New64a()
	_, _ = h.Write([]byte(id))
	return fmt.Sprintf("%.32s_%016x", s, h.Sum64())
}
